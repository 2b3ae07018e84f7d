"""The table of all families: quality of the generators and what an encoder reads from weights."""

from collections.abc import Mapping
from typing import Any

MISSING = "–"

# key in metrics.json → heading, digits
COLUMNS = {
    "fid": ("FID", 2),
    "fid_untrained": ("untrained", 1),
    "wasserstein": ("sliced W₂", 3),
    "mode_coverage": ("modes", 2),
    "covering_members": ("all modes", 2),
    "angle_deg_mean": ("encoder °", 2),
    "sampling512_angle_deg_mean": ("512 samples °", 2),
    "sampling512_calibrated_angle_deg_mean": ("calibrated °", 2),
    "joint_angle_deg_mean": ("one for all °", 2),
    "leave_out_angle_deg_mean": ("left out °", 2),
    "class_percent": ("class %", 0),
    "train": ("trained on", 0),
    "val": ("chosen on", 0),
    "test": ("tested on", 0),
    "seconds_256_members": ("s / 256", 0),
}


def families_table(metrics: Mapping[str, Any]) -> str:
    """A Markdown table, a row a cell of the zoo.

    Angles stand on the test members, "tested on"; their encoder's step was chosen on the validation
    members, "chosen on". "class %" is of cells whose members have learned a single class each.

    Args:
      metrics: as in `metrics.json` of `configs/families.py`; what a cell lacks is shown as "–".
    """
    rows = [["", *(heading for heading, _ in COLUMNS.values())]]
    for name, values in metrics["families"].items():
        rows.append([f"`{name}`", *formatted(values)])
    return markdown(rows)


def formatted(values: Mapping[str, Any]) -> list[str]:
    """What a cell of the zoo has in `COLUMNS`."""
    accuracy = values.get("class_accuracy")
    percent = None if accuracy is None else 100 * accuracy
    values = {**values, **(values.get("num_members") or {}), "class_percent": percent}
    shown = [(values.get(key), digits) for key, (_, digits) in COLUMNS.items()]
    return [MISSING if value is None else f"{value:,.{digits}f}" for value, digits in shown]


def markdown(rows: list[list[str]]) -> str:
    """A Markdown table, aligned: the first row is its heading, the first column its names."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
        for row in (rows[0], rule, *rows[1:])
    ]
    return "\n".join(f"| {line} |" for line in lines)
