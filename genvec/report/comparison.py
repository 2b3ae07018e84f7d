"""Every representation against every objective: heat tables of the page, and the same as text."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from genvec.report.families import MISSING, markdown
from genvec.report.palette import HEAT, blend
from genvec.report.results import RUNS


class Measure(NamedTuple):
    """What is compared, smaller is better: on test members and on those that were learned from."""

    title: str
    test: str  # keys in an encoder's metrics
    train: str
    unit: str
    digits: int


MEASURES = (
    Measure("Angle to the dataset vector", "angle_deg_mean", "train_angle_deg_mean", "°", 2),
    Measure("Error of the distance of two models", "distance_mae", "train_distance_mae", "", 3),
)


class ComparedCell(NamedTuple):
    """One encoder: its number on unseen members, large, and on those it was trained on, small."""

    test: str
    train: str
    background: str
    light: bool  # text must be light on it
    best: bool  # of its column


class Comparison(NamedTuple):
    """Rows are representations with their encoders, columns objectives."""

    title: str
    objectives: list[str]
    readers: list[str]
    rows: list[list[ComparedCell]]

    def as_markdown(self) -> str:
        """The same as a Markdown table: test (train), the best of a column in bold."""
        rows = [[self.title, *self.objectives]]
        for reader, cells in zip(self.readers, self.rows, strict=True):
            bold = (f"**{cell.test}**" if cell.best else cell.test for cell in cells)
            train = (
                f" ({cell.train.removeprefix('train ')})" if cell.train else "" for cell in cells
            )
            rows.append([reader, *map("".join, zip(bold, train, strict=True))])
        return markdown(rows)


def comparisons(metrics: Mapping[str, Any]) -> list[Comparison]:
    """A table for each measure; none where fewer than two objectives or readers were trained."""
    found = {
        tuple(name.rsplit("/", 1)): values
        for name, values in (metrics.get("encoders") or {}).items()
        if " + " not in name  # ensembles
    }
    readers, objectives = (list(dict.fromkeys(pair[i] for pair in found)) for i in range(2))
    if min(len(readers), len(objectives)) < 2:
        return []
    return [_compared(measure, found, readers, objectives) for measure in MEASURES]


def _compared(measure: Measure, found, readers, objectives) -> Comparison:
    test, train = (
        np.array([[found.get((r, o), {}).get(key, np.nan) for o in objectives] for r in readers])
        for key in (measure.test, measure.train)
    )
    # colours by the logarithm: 1° and 2° differ as much as 10° and 20°
    size = np.log(np.maximum(test, 1e-3))
    low, high = np.nanmin(size), np.nanmax(size)
    share = np.nan_to_num((high - size) / max(high - low, 1e-9))
    best = test == np.nanmin(test, axis=0, initial=np.inf, where=~np.isnan(test))

    def shown(value: float) -> str:
        return f"{value:.{measure.digits}f}{measure.unit}"

    rows = [
        [
            ComparedCell(
                MISSING if np.isnan(test[i, j]) else shown(test[i, j]),
                "" if np.isnan(train[i, j]) else f"train {shown(train[i, j])}",
                color,
                share[i, j] > 0.6,
                bool(best[i, j]),
            )
            for j, color in enumerate(blend(np.stack([1 - share[i], share[i]], axis=1), HEAT))
        ]
        for i in range(len(readers))
    ]
    runs_member = {r for (r, _), values in found.items() if values.get("runs_member")}
    names = [f"{reader} {RUNS}" if reader in runs_member else reader for reader in readers]
    columns = [name.replace("+", " + ") for name in objectives]  # so that long ones break
    return Comparison(measure.title, columns, names, rows)
