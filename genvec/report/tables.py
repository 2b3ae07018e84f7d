"""The page's smaller tables: facts of the run, its three numbers, class distances, details."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from genvec.report.contents import Contents
from genvec.report.palette import HEAT, blend, class_colors
from genvec.report.results import count_members, results

MAX_DISTANCE_CLASSES = 30  # of the heat table; the chosen ones first


class Fact(NamedTuple):
    """A line of the header, or one of its large numbers."""

    label: str
    value: str


def facts(contents: Contents) -> list[Fact]:
    """What a reader must know to judge the numbers."""
    metrics, manifest, members = contents.metrics, contents.manifest, contents.members
    counts = members["split"].value_counts().to_dict()
    environment = metrics.get("environment") or {}
    hardware = [str(environment[key]) for key in ("device", "processor") if key in environment]
    found = {
        "Dataset": metrics.get("dataset") or _dig(contents.config, "data", "name"),
        "Classes": ", ".join(contents.class_names),
        "Chosen": {
            "auto": "automatically, the farthest apart",
            "explicit": "by hand",
        }.get(contents.classes.get("chosen_by", "")),
        "Family": metrics.get("family") or manifest.get("family"),
        "Init": metrics.get("init") or manifest.get("init"),
        "Members": count_members(
            {s: counts[s] for s in ("train", "val", "test", "sum") if s in counts}
        ),
        "Diverged": _diverged(contents),
        "Time": _durations(metrics.get("timings_s") or {}),
        "Hardware": ", ".join(hardware),
        "Date": str(environment.get("date") or f"{contents.date:%Y-%m-%d %H:%M} UTC"),
    }
    return [Fact(label, str(value)) for label, value in found.items() if value]


def _dig(tree: Any, *keys: str) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _diverged(contents: Contents) -> str:
    if "finite" not in contents.members:
        return ""
    diverged = int(np.sum(~contents.members["finite"].to_numpy(bool)))
    return f"{diverged:,} of {len(contents.members):,}" if diverged else "none"


def _durations(timings: Mapping[str, float]) -> str:
    return " · ".join(f"{stage}\xa0{_duration(seconds)}" for stage, seconds in timings.items())


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f}\xa0s"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes}\xa0min\xa0{rest}\xa0s"
        if minutes < 60
        else f"{minutes // 60}\xa0h\xa0{minutes % 60}\xa0min"
    )


def headline(contents: Contents) -> list[Fact]:
    """The run in three numbers: the best encoder, the best control, knowing nothing."""
    columns, rows = results(contents.metrics)
    if not columns or columns[0].key != "angle_deg_mean":
        return []
    controls = [row for row in rows if row.kind == "control"]
    found = {
        "best encoder": next((r for r in rows if r.best and r.kind == "encoder"), None),
        "best control": next(iter(controls), None),
        "constant guess": next((r for r in controls if r.name == "constant"), None),
    }
    return [
        Fact(f"{label} · {row.label}" if row.name not in label else label, f"{row.cells[0]}°")
        for label, row in found.items()
        if row
    ]


class ClassKey(NamedTuple):
    """A class of the zoo in the legend."""

    name: str
    color: str


def class_keys(contents: Contents) -> list[ClassKey]:
    """The K classes and the colour that each has on the whole page."""
    names = contents.class_names
    return [ClassKey(*pair) for pair in zip(names, class_colors(len(names)), strict=True)]


class DistanceCell(NamedTuple):
    """A pair of classes."""

    text: str
    background: str
    light: bool  # text must be light on it
    chosen: bool  # both classes are of the zoo


class Distances(NamedTuple):
    """Distances between class embeddings as a heat table."""

    names: list[str]
    chosen: list[bool]
    rows: list[list[DistanceCell]]
    num_left_out: int
    accuracy: str  # of the classifiers that embedded the classes


def distances(contents: Contents) -> Distances | None:
    """None where no classifier was trained."""
    classes = contents.classes
    if not classes.get("distances"):
        return None
    table, names = np.array(classes["distances"], float), classes["class_names"]
    chosen = [int(i) for i in classes["indices"]]
    others = [i for i in range(len(names)) if i not in chosen]
    shown = sorted([*chosen, *others][: max(MAX_DISTANCE_CLASSES, len(chosen))])
    table = table[np.ix_(shown, shown)]
    share = np.nan_to_num(table / (np.nanmax(table) or 1))
    rows = []
    for i, row in enumerate(table):
        backgrounds = blend(np.stack([1 - share[i], share[i]], axis=1), HEAT)
        rows.append(
            [
                DistanceCell(
                    "" if i == j else f"{value:.1f}" if value < 1000 else f"{value:.3g}",
                    "transparent" if i == j else backgrounds[j],
                    share[i, j] > 0.75,
                    i != j and shown[i] in chosen and shown[j] in chosen,
                )
                for j, value in enumerate(row)
            ]
        )
    accuracy = classes.get("classifier_accuracy") or {}
    return Distances(
        names=[str(names[i]) for i in shown],
        chosen=[i in chosen for i in shown],
        rows=rows,
        num_left_out=len(names) - len(shown),
        accuracy=", ".join(f"{name} {100 * value:.1f} %" for name, value in accuracy.items()),
    )


def details(contents: Contents) -> dict[str, str]:
    """Everything to be unfolded, as JSON: title → text."""
    found = {
        "Config": contents.config,
        "Environment": contents.metrics.get("environment"),
        "Zoo manifest": {
            key: value
            for key, value in contents.manifest.items()
            if len(json.dumps(value)) < 2000  # without the checksums of every segment
        },
    }
    return {
        title: json.dumps(value, indent=2, ensure_ascii=False)
        for title, value in found.items()
        if value
    }
