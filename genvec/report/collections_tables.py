"""The tables of collections: objectives × aggregations, bounds, and pairs of groups as examples."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from genvec.registry import lookup
from genvec.report.families import MISSING
from genvec.report.palette import HEAT, blend
from genvec.report.samples import strip

R1, MRR = "retrieval_r1", "retrieval_mrr"
MEANS, MEDOIDS, NEGATIVE = "‖μ₁ − μ₂‖", "‖c₁ − c₂‖", "‖μ₁ − μ₃‖"
NUM_EXAMPLES = 5
FEWEST_MISTAKES = 1e-3  # what is better than 99.9 % is as dark
LIGHT_FROM = 0.75  # of the way to the darkest colour: from there white is read better than ink

Values = Mapping[str, Any]


class ScoreCell(NamedTuple):
    """A share of right answers, in percent."""

    text: str
    spread: str  # over seeds; "" where there is none
    background: str
    light: bool  # text must be light on it
    best: bool  # of its column


class Scores(NamedTuple):
    """Of objectives a cell an aggregation, then one-shot; of controls these two cells."""

    aggregations: list[str]
    ways: int  # of one-shot
    objectives: dict[str, list[ScoreCell]]
    controls: dict[str, list[ScoreCell]]


def scores(metrics: Values) -> Scores:
    """The table of objectives × aggregations; objectives and controls each the best first."""
    found, controls = by_objective(metrics), metrics["controls"]
    everything = [*metrics["objectives"].values(), *controls.values()]
    aggregations = list(dict.fromkeys(a for own in found.values() for a in own))
    names = sorted(found, key=lambda o: rank(found[o][best(found[o], R1)], R1), reverse=True)
    others = sorted(controls, key=lambda c: rank(controls[c], R1), reverse=True)
    single, ways = one_shot_key(metrics)
    # an objective's aggregations are of the same objects, so one-shot accuracy has one column
    objects = [found[o][best(found[o], single)] for o in names]
    columns = [
        *(_column([found[o].get(a, {}) for o in names], R1, everything) for a in aggregations),
        _column(objects, single, everything),
    ]
    below = [_column([controls[c] for c in others], key, everything) for key in (R1, single)]
    return Scores(
        aggregations,
        ways,
        {name: [column[i] for column in columns] for i, name in enumerate(names)},
        {name: [column[i] for column in below] for i, name in enumerate(others)},
    )


def one_shot_key(metrics: Values) -> tuple[str, int]:
    """The metric of single objects, and among how many groups they are told apart."""
    for values in metrics["objectives"].values():
        for key in values:
            if found := re.fullmatch(r"one_shot_(\d+)way", key):
                return key, int(found[1])
    raise KeyError(f"no one_shot_<n>way among the metrics of {', '.join(metrics['objectives'])}")


def by_objective(metrics: Values) -> dict[str, dict[str, Values]]:
    """Objective → aggregation → its metrics."""
    found: dict[str, dict[str, Values]] = {}
    for name, values in metrics["objectives"].items():
        objective, aggregation = name.rsplit("/", 1)
        found.setdefault(objective, {})[aggregation] = values
    return found


def _column(entries: Sequence[Values], key: str, everything: Sequence[Values]) -> list[ScoreCell]:
    """Cells whose colours can be compared with those of all that has a score by `key`."""
    mistakes, all_mistakes = (
        # by the logarithm: from 80 % to 90 % is as far as from 98 % to 99 %
        np.log(np.maximum(1 - np.array([number(v, key, np.nan) for v in part]), FEWEST_MISTAKES))
        for part in (entries, everything)
    )
    known = all_mistakes[np.isfinite(all_mistakes)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    share = np.nan_to_num((high - mistakes) / max(high - low, 1e-9))
    backgrounds = blend(np.stack([1 - share, share], axis=1), HEAT)
    top = max((number(values, key) for values in entries), default=0.0)
    return [
        ScoreCell(
            text(values, key, 100, 1),
            text(values, f"{key}_std", 100, 1).removeprefix(MISSING),
            background,
            bool(shade > LIGHT_FROM),
            math.isfinite(top) and number(values, key) == top,
        )
        for values, shade, background in zip(entries, share, backgrounds, strict=True)
    ]


class BoundText(NamedTuple):
    """A bound in words: of what, and whether from above."""

    formula: str
    of: str
    upper: bool


# as in `genvec.collections.bounds.BOUNDS`, with its symbols
BOUND_TEXTS = {
    "theorem": BoundText("2 max{m, max d(a, n)}", MEANS, True),
    "margin_and_nearest": BoundText("m + mean over a of min over n of d(a, n)", MEANS, True),
    "mean_distance": BoundText("mean d(x, y)", MEANS, True),
    "wasserstein": BoundText("W₁(x, y)", MEANS, True),
    "from_all_distances": BoundText(
        "√(mean d²(x, y) − ½ mean d²(x, x′) − ½ mean d²(y, y′))", MEANS, True
    ),
    "largest_gap": BoundText("max over x, y of d(x, y) − ‖x − μ₁‖ − ‖y − μ₂‖", MEANS, False),
    "negative_wasserstein": BoundText("W₁(x, z)", NEGATIVE, True),
    "negative_margin": BoundText(
        "√(mean over a of max(0, max over p of d(a, p) − m)² − var x − var z), p in x as well",
        NEGATIVE,
        False,
    ),
    "medoid_theorem": BoundText("2 max{m, max d(a, n)}", MEDOIDS, True),
    "medoid_nearest": BoundText("m + min over n of d(c₁, n)", MEDOIDS, True),
    "medoid_wasserstein": BoundText("W₁(x, y) + mean d(c₁, x) + mean d(c₂, y)", MEDOIDS, True),
    "medoid_gap": BoundText("mean d(x, y) − mean d(c₁, x) − mean d(c₂, y)", MEDOIDS, False),
}


class BoundRow(NamedTuple):
    """A bound in its table."""

    name: str
    formula: str
    of: str
    side: str  # "upper" or "lower"
    ratio: str  # median of bound / true
    violations: int


def bound_rows(bounds: Values) -> list[BoundRow]:
    """The bounds that were measured, those of one distance together.

    Raises:
      KeyError: a bound that `BOUND_TEXTS` does not know.
    """
    rows = []
    for name, values in bounds.items():
        formula, of, upper = lookup(BOUND_TEXTS, name, kind="bound")
        ratio = text(values, "median_ratio", 1, 2)
        side = "upper" if upper else "lower"
        rows.append(BoundRow(name, formula, of, side, ratio, values["violations"]))
    return sorted(rows, key=lambda row: (MEANS, NEGATIVE, MEDOIDS).index(row.of))


class Example(NamedTuple):
    """A pair of groups and the group that is negative to them."""

    groups: list[tuple[str, str]]  # name and first drawing of x, y, z
    numbers: list[str]


class Examples(NamedTuple):
    """The distance of two means beside all that bounds it from above."""

    headings: list[str]
    rows: list[Example]


def examples(pairs: pd.DataFrame, arrays: Values, rows: Sequence[BoundRow]) -> Examples:
    """Some pairs of groups, evenly taken from the nearest to the farthest."""
    upper = [row.name for row in rows if row.of == MEANS and row.side == "upper"]
    columns = [f"true_{upper[0]}", "largest_negative", *(f"bound_{name}" for name in upper)]
    order = np.argsort(pairs[columns[0]].to_numpy(), kind="stable")
    taken = np.unique(np.linspace(0, len(order) - 1, NUM_EXAMPLES).round().astype(int))
    found = []
    for index in order[taken]:
        groups = [
            (str(arrays["group_names"][g]), strip(255 - arrays["drawings"][g, :1]))
            for g in pairs[["x", "y", "z"]].to_numpy()[index]
        ]
        numbers = [f"{pairs[column].iloc[index]:#.4g}".rstrip(".") for column in columns]
        found.append(Example(groups, numbers))
    return Examples([MEANS, "max d(a,\xa0n)", *upper], found)


def number(values: Values, key: str, otherwise: float = -math.inf) -> float:
    """A metric; `otherwise` where it is missing or was not finite."""
    value = values.get(key)
    return float(value) if value is not None and math.isfinite(value) else otherwise


def text(values: Values, key: str, scale: float, digits: int) -> str:
    """A metric to be read."""
    value = number(values, key)
    return f"{scale * value:.{digits}f}" if math.isfinite(value) else MISSING


def with_spread(values: Values, key: str, scale: float, digits: int) -> str:
    """A metric and its standard deviation over seeds, where there is one."""
    spread = text(values, f"{key}_std", scale, digits)
    value = text(values, key, scale, digits)
    return value if spread == MISSING else f"{value} ± {spread}"


def rank(values: Values, key: str) -> tuple[float, float]:
    """What entries are ordered by: a metric, among equals the mean reciprocal rank."""
    return number(values, key), number(values, MRR)


def best(entries: Mapping[str, Values], key: str) -> str:
    """The name of the largest."""
    return max(entries, key=lambda name: rank(entries[name], key))
