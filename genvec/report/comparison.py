"""Every representation against every objective, as a heat table of angles."""

from typing import NamedTuple

import numpy as np

from genvec.report.contents import Contents
from genvec.report.palette import HEAT, blend
from genvec.report.results import RUNS


class ComparedCell(NamedTuple):
    """One encoder: its angle on unseen members, large, and on those it was trained on, small."""

    test: str
    train: str
    background: str
    light: bool  # text must be light on it
    best: bool  # of its column


class Comparison(NamedTuple):
    """Rows are representations with their encoders, columns objectives."""

    objectives: list[str]
    readers: list[str]
    rows: list[list[ComparedCell]]


def comparison(contents: Contents) -> Comparison | None:
    """None where fewer than two objectives, or fewer than two readers, were trained."""
    encoders = contents.metrics.get("encoders", {})
    found = {
        tuple(name.rsplit("/", 1)): values
        for name, values in encoders.items()
        if " + " not in name  # ensembles
    }
    readers, objectives = (list(dict.fromkeys(pair[i] for pair in found)) for i in range(2))
    if min(len(readers), len(objectives)) < 2:
        return None
    angle, train = (
        np.array([[found.get((r, o), {}).get(key, np.nan) for o in objectives] for r in readers])
        for key in ("angle_deg_mean", "train_angle_deg_mean")
    )
    # colours by the logarithm: 1° and 2° differ as much as 10° and 20°
    size = np.log(np.maximum(angle, 1e-3))
    low, high = np.nanmin(size), np.nanmax(size)
    share = np.nan_to_num((high - size) / max(high - low, 1e-9))
    best = angle == np.nanmin(angle, axis=0, initial=np.inf, where=~np.isnan(angle))
    rows = [
        [
            ComparedCell(
                "–" if np.isnan(angle[i, j]) else f"{angle[i, j]:.2f}°",
                "" if np.isnan(train[i, j]) else f"train {train[i, j]:.2f}°",
                color,
                share[i, j] > 0.75,
                bool(best[i, j]),
            )
            for j, color in enumerate(blend(np.stack([1 - share[i], share[i]], axis=1), HEAT))
        ]
        for i in range(len(readers))
    ]
    runs_member = {r for (r, _), values in found.items() if values.get("runs_member")}
    names = [f"{reader} {RUNS}" if reader in runs_member else reader for reader in readers]
    return Comparison(objectives, names, rows)
