"""The table of models and data sets in one space."""

from collections.abc import Mapping
from typing import Any

from genvec.report.families import markdown

COLUMNS = {"r1": "R@1 %", "r5": "R@5 %", "mrr": "MRR"}


def matched_entries(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The encoder, named after what it reads of a member, and the controls: name → metrics.

    Where controls have been measured alone there is no encoder.
    """
    reads = " + ".join(metrics.get("reads", ["weights"]))
    encoder = {f"encoder of {reads}": metrics["encoder"]} if "encoder" in metrics else {}
    return {**encoder, **metrics["controls"]}


def matching_table(metrics: Mapping[str, Any]) -> str:
    """A Markdown table: the encoder and its controls, on data sets of known and of unseen classes.

    Args:
      metrics: as in `matching/metrics.json`, or of the controls alone, as in
        `matching/controls.json`.
    """
    entries = matched_entries(metrics)
    first = next(iter(entries.values()))
    parts = [name for name in ("seen", "unseen") if f"retrieval_{name}" in first]
    rows = [["", *(f"{part} {c}" for part in parts for c in (*COLUMNS.values(), "Spearman"))]]
    for name, values in entries.items():
        cells = []
        for part in parts:
            found = values[f"retrieval_{part}"]
            cells += [_with_spread(found, "r1", 100, 1), _with_spread(found, "r5", 100, 1)]
            cells += [_with_spread(found, "mrr", 1, 3)]
            cells += [_with_spread(values[f"distances_{part}"], "spearman", 1, 3)]
        rows.append([name, *cells])
    if "encoder" not in metrics:
        return markdown(rows)
    sums, own = metrics["encoder"]["composition"], metrics["encoder"]["angles_seen"]
    note = (
        f"sum of two models to the model of both data sets: "
        f"{_with_spread(sums, 'composition_deg_median', 1, 2)}° (median), with a stranger "
        f"{_with_spread(sums, 'composition_random_deg_median', 1, 2)}°; model to its own data set "
        f"{_with_spread(own, 'own_deg_median', 1, 2)}°"
    )
    return f"{markdown(rows)}\n\n{note}"


def _with_spread(values: Mapping[str, float], key: str, scale: float, digits: int) -> str:
    text = f"{scale * values[key]:.{digits}f}"
    spread = values.get(f"{key}_std")
    return text if spread is None else f"{text} ± {scale * spread:.{digits}f}"
