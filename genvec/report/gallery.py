"""The gallery: one page of pictures of all families, and their table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genvec.report import gallery_figures as drawn
from genvec.report.families import COLUMNS, formatted
from genvec.report.figures import embed
from genvec.report.pages import write_page
from genvec.report.palette import class_colors
from genvec.report.samples import png, strip
from genvec.report.tables import ClassKey, Fact
from genvec.store import RunFolder, read_arrays, read_json

Arrays = Mapping[str, np.ndarray]
# key of `COLUMNS` → what it says
EXPLANATIONS = {
    "fid": "Fréchet distance of a classifier's features, generated to real images; small is good",
    "fid_untrained": "The same of members before training",
    "wasserstein": "Sliced Wasserstein distance between generated and real pixels; small is good",
    "mode_coverage": "Share of the mixture's classes that a member generates: 1 without collapse",
    "covering_members": "Share of the members that generate all classes of their mixture",
    "angle_deg_mean": "Mean angle between embedding and mixture on test members; small is good",
    "sampling512_angle_deg_mean": "The same by classifying 512 generated images",
    "sampling512_calibrated_angle_deg_mean": "The same with the classifier's errors corrected",
    "joint_angle_deg_mean": "The same by one encoder that is trained on all families",
    "leave_out_angle_deg_mean": "The same by an encoder that has never seen this family",
    "class_percent": "Share of the test members whose class is told, where each has but one",
    "train": "Members that the encoder is trained on",
    "val": "Validation members, by which the encoder's step is chosen",
    "test": "Test members, on which the angles stand",
    "seconds_256_members": "Seconds of training for 256 members",
}
SAMPLING = ("sampling512_angle_deg_mean", "sampling512_calibrated_angle_deg_mean")


def write_gallery(run: RunFolder) -> Path:
    """Writes `run.gallery_page`, one HTML page that needs no network, from what there is.

    What has not been made yet (metrics, any of the pictures) leaves a sentence in its section.

    Returns:
      The path of the page.

    Raises:
      StoreError: a file of the run is damaged.
    """
    arrays = read_arrays(run.gallery) if run.gallery.exists() else {}
    metrics, config = (read_json(p) if p.exists() else {} for p in (run.metrics, run.config))
    names = _class_names(run, arrays, metrics)
    manifold, modes = part(arrays, "manifold"), _parts(arrays, "modes")
    field, curves = part(arrays, "field"), _parts(arrays, "curves")
    figures = {
        "codes": [drawn.draw_codes(manifold, names)] if manifold else [],
        "field": drawn.draw_field(field) if field else [],
        "modes": [drawn.draw_modes(modes)] if modes else [],
        "curves": drawn.draw_curves(curves),
    }
    return write_page(
        run.gallery_page,
        "gallery.html",
        name=run.path.name,
        facts=_facts(metrics, config, names),
        classes=[ClassKey(*key) for key in zip(names, class_colors(len(names)), strict=True)],
        families=families(metrics),
        samples=samples(part(arrays, "samples")),
        manifold=png(sheet(manifold["images"], gap=1)) if manifold else "",
        ways=ways(part(arrays, "interpolation"), names),
        arithmetic=arithmetic(part(arrays, "arithmetic"), names),
        noise=f"{float(field['noise']):g}" if field else "",
        looks=looks(modes),
        players=[ClassKey(*item) for item in drawn.PLAYER_COLORS.items()],
        num_followed=max((a["coverage"].shape[1] for a in modes.values()), default=0),
        num_classified=max((int(a["num_classified"]) for a in modes.values()), default=0),
        **embed(figures),
    )


def part(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    """What stands under `<name>/`; empty where that picture was not made."""
    start = f"{name}/"
    return {key[len(start) :]: value for key, value in arrays.items() if key.startswith(start)}


def _parts(arrays: Arrays, name: str) -> dict[str, dict[str, np.ndarray]]:
    inside = part(arrays, name)
    return {cell: part(inside, cell) for cell in dict.fromkeys(k.split("/")[0] for k in inside)}


def _class_names(run: RunFolder, arrays: Arrays, metrics: Mapping[str, Any]) -> list[str]:
    if "classes" in arrays:
        return [str(name) for name in arrays["classes"]]
    if "classes" in metrics:
        return list(metrics["classes"])
    return list(read_json(run.classes)["classes"]) if run.classes.exists() else []


def _facts(metrics: Mapping[str, Any], config: Mapping[str, Any], names) -> list[Fact]:
    environment = metrics.get("environment") or {}
    hardware = [str(environment[key]) for key in ("device", "processor") if key in environment]
    cells = metrics.get("families") or config.get("zoo", {}).get("cells") or {}
    found = {
        "Dataset": metrics.get("dataset") or config.get("data", {}).get("name"),
        "Classes": ", ".join(names),
        "Families": f"{len(cells)}" if cells else "",
        "Hardware": ", ".join(hardware),
        "Date": environment.get("date"),
        "Commit": environment.get("commit"),
    }
    return [Fact(label, str(value)) for label, value in found.items() if value]


class Heading(NamedTuple):
    """A column of the table of families."""

    text: str
    explanation: str


class FamilyRow(NamedTuple):
    """A cell of the zoo in the table of families."""

    name: str
    values: list[str]
    ahead: bool  # its encoder is nearer than classifying samples


class Families(NamedTuple):
    """The table of families."""

    headings: list[Heading]
    rows: list[FamilyRow]
    encoder: int  # which column is the encoder's


def families(metrics: Mapping[str, Any]) -> Families | None:
    """The table that `families_table` prints; None where there are no numbers yet."""
    if not metrics.get("families"):
        return None
    rows = []
    for name, values in metrics["families"].items():
        own = values.get("angle_deg_mean")
        rivals = [values[key] for key in SAMPLING if values.get(key) is not None]
        ahead = own is not None and bool(rivals) and own < min(rivals)
        rows.append(FamilyRow(name, formatted(values), ahead))
    headings = [
        Heading(text.replace(" °", "\xa0°"), EXPLANATIONS.get(key, text))
        for key, (text, _) in COLUMNS.items()
    ]
    return Families(headings, rows, list(COLUMNS).index("angle_deg_mean"))


def sheet(images: np.ndarray, gap: int) -> np.ndarray:
    """Images uint8 [R, S, H, W, C] as rows and columns of one, `gap` white pixels apart."""
    rows, columns, height, width, channels = images.shape
    wide = [(0, 0), (0, 0), (0, gap), (0, gap), (0, 0)]
    padded = np.pad(images, wide, constant_values=255).swapaxes(1, 2)
    whole = padded.reshape(rows * (height + gap), columns * (width + gap), channels)
    return whole[: len(whole) - gap, : whole.shape[1] - gap]


class Column(NamedTuple):
    """A member of every cell."""

    member: int
    mixture: list[float]


class SampleRow(NamedTuple):
    """What the members of one cell generate."""

    name: str
    family: str  # "" where the cell is named after it
    strips: list[str]  # "" where the member diverged


class Samples(NamedTuple):
    """Images of all cells by the same members."""

    columns: list[Column]
    real: list[str]
    rows: list[SampleRow]
    whole: list[str]  # cells whose members are one image each


def samples(arrays: Arrays) -> Samples | None:
    """None where none were drawn."""
    if not arrays:
        return None
    names, kinds = ([str(n) for n in arrays[key]] for key in ("cells", "families"))
    rows = [
        SampleRow(
            name,
            kind if kind != name else "",
            [strip(x) if ok else "" for x, ok in zip(images, finite, strict=True)],
        )
        for name, kind, images, finite in zip(
            names, kinds, arrays["images"], arrays["finite"], strict=True
        )
    ]
    columns = [
        Column(int(member), [float(share) for share in mixture])
        for member, mixture in zip(arrays["member"], arrays["mixture"], strict=True)
    ]
    whole = [name for name, kind in zip(names, kinds, strict=True) if kind == "inr"]
    return Samples(columns, [strip(x) for x in arrays["real"]], rows, whole)


class Way(NamedTuple):
    """From one image to another."""

    first: str  # the image
    last: str
    title: str
    lines: list[tuple[str, str, list[str]]]  # kind, its images, lengths of their codes


def ways(arrays: Arrays, names: Sequence[str]) -> list[Way]:
    """Straight and spherical ways; empty where there are none."""
    if not arrays:
        return []
    found = []
    for (a, b), ends, images, norms in zip(
        *(arrays[key] for key in ("classes", "ends", "images", "norms")), strict=True
    ):
        first, last = (strip(end[None]) for end in ends)
        lines = [
            (kind, strip(own), [f"{length:.2f}" for length in lengths])
            for kind, own, lengths in zip(("linear", "spherical"), images, norms, strict=True)
        ]
        found.append(Way(first, last, f"{names[a]} → {names[b]}", lines))
    return found


class Move(NamedTuple):
    """Images of one class, and what they become."""

    name: str
    lines: list[tuple[str, str, str]]  # what it is, its images, how often it is the class wanted


class Arithmetic(NamedTuple):
    """Sums of codes."""

    moves: list[Move]
    sums: list[list[str]]  # x₁, x₂, x₃ and the decoded z₁ − z₂ + z₃


def arithmetic(arrays: Arrays, names: Sequence[str]) -> Arithmetic | None:
    """None where there is none."""
    if not arrays:
        return None
    moves = []
    for a, (rows, hits) in enumerate(zip(arrays["moved"], arrays["hits"], strict=True)):
        lines = [("held out", strip(rows[0]), "")]
        for b, (images, hit) in enumerate(zip(rows[1:], hits, strict=True)):
            text = "decoded" if a == b else f"− {names[a]} + {names[b]}"
            lines.append((text, strip(images), f"{100 * hit:.0f} %"))
        moves.append(Move(names[a], lines))
    sums = [[strip(image[None]) for image in terms] for terms in arrays["sums"]]
    return Arithmetic(moves, sums)


class Look(NamedTuple):
    """A cell in training."""

    name: str
    lines: list[tuple[int, str, str]]  # step, images, mode coverage


def looks(modes: Mapping[str, Arrays]) -> list[Look]:
    """Images of the first member of every followed cell at all looks."""
    return [
        Look(
            name,
            [
                (int(step), strip(images), f"{covered.mean():.2f}")
                for step, images, covered in zip(
                    *(arrays[key] for key in ("steps", "images", "coverage")), strict=True
                )
            ],
        )
        for name, arrays in modes.items()
    ]
