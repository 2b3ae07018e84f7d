"""Controls and encoders in one table, as rows for the page and as text for the terminal."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from genvec.report.contents import best_encoder

MISSING = "–"
RUNS = "▸"  # behind the name of what has to run the member


class Column(NamedTuple):
    """A metric of the results table."""

    key: str  # in METRICS of metrics.json
    title: str
    unit: str
    digits: int
    better: int  # -1 smaller, 1 larger, 0 neither
    explanation: str
    scale: float = 1.0  # shown value / stored value


COLUMNS = (
    Column("angle_deg_mean", "angle", "mean °", 2, -1, "Angle between a test member's embedding "
           "and its dataset vector, mean over members; ± standard deviation over encoder seeds"),
    Column("angle_deg_median", "angle", "median °", 2, -1, "The same angle, median over members"),
    Column("train_angle_deg_mean", "angle", "train °", 2, 0, "The same mean angle on the members "
           "that the encoder was trained on; a wide gap is over-fitting"),
    Column("mixture_mae", "mixture", "MAE pp", 2, -1, "Mean absolute error of a class's share in "
           "the mixture, in percentage points", scale=100),
    Column("distance_spearman", "distances", "Spearman", 3, 1, "Rank correlation of the distances "
           "between pairs of models with the distances between their mixtures"),
    Column("distance_mae", "distances", "MAE", 3, -1, "Mean absolute difference of those "
           "distances, on the unit sphere"),
    Column("retrieval_r1", "retrieval", "R@1 %", 1, 1, "How often the nearest of all test "
           "dataset vectors is the member's own", scale=100),
    Column("retrieval_mrr", "retrieval", "MRR", 3, 1, "Mean reciprocal rank of the member's own "
           "dataset vector among all test ones; 1 is perfect"),
    Column("n_leaked", "leaked", "labels", 0, 1, "Number of labelled draws from the true mixture "
           "whose proportions are off by the same mean angle: what the weights give away"),
    Column("composition_deg_mean", "composition", "mean °", 2, 0, "Angle between the dataset "
           "vector of the mean of two members' proportions and the embedding of a third member, "
           "trained on both data sets; a constant has 0 here and for random partners alike"),
    Column("composition_random_deg_mean", "composition", "random °", 2, 0, "The same angle with "
           "one part taken from another triplet: what the mean must be well below"),
    Column("composition_sum_deg_mean", "composition", "sum °", 2, 0, "Angle between the literal "
           "sum of two members' embeddings, normalised, and the third one's embedding"),
    Column("composition_sum_exact_deg_mean", "composition", "exact sum °", 2, 0, "The same angle "
           "for exact dataset vectors: what an encoder without error has, since the vector of a "
           "union is not the sum of two vectors"),
)  # fmt: skip


class Row(NamedTuple):
    """An encoder or a control."""

    name: str  # as in metrics.json
    runs_member: bool
    kind: str  # "encoder" or "control"
    cells: list[str]  # formatted, in the order of the columns
    best_cells: list[bool]  # the column's best value
    best: bool  # the best encoder, chosen on validation; without encoders the best control
    bar: float  # mean angle as a fraction of the largest one

    @property
    def label(self) -> str:
        """The name, marked where the member is run."""
        return f"{self.name} {RUNS}" if self.runs_member else self.name


class Results(NamedTuple):
    """The whole table, formatted."""

    columns: list[Column]  # those with a value
    rows: list[Row]  # by mean angle, the smallest first

    def groups(self) -> list[tuple[str, int]]:
        """Titles and how many neighbouring columns share each."""
        return [(title, len([*group])) for title, group in groupby(c.title for c in self.columns)]


def results(metrics: Mapping[str, Any]) -> Results:
    """Controls and encoders of `metrics.json` in one table."""
    entries = [
        (name, kind, values)
        for kind in ("encoder", "control")
        for name, values in (metrics.get(f"{kind}s") or {}).items()
    ]
    entries.sort(key=lambda entry: _value(entry[2], "angle_deg_mean", math.inf))
    columns = [c for c in COLUMNS if any(_value(v, c.key) is not None for *_, v in entries)]
    top = {c.key: _best(c, [values for *_, values in entries]) for c in columns}
    largest = max((_value(v, "angle_deg_mean", 0.0) for *_, v in entries), default=0) or 1
    best_name = best_encoder(metrics) or (entries[0][0] if entries else None)
    rows = [
        Row(
            name=name,
            runs_member=bool(values.get("runs_member")),
            kind=kind,
            cells=[_cell(column, values) for column in columns],
            best_cells=[
                top[c.key] is not None and _value(values, c.key) == top[c.key] for c in columns
            ],
            best=name == best_name and (kind == "encoder" or not metrics.get("encoders")),
            bar=_value(values, "angle_deg_mean", 0.0) / largest,
        )
        for name, kind, values in entries
    ]
    return Results(columns, rows)


def results_table(metrics: Mapping[str, Any]) -> str:
    """The results as aligned plain text, the smallest mean angle first, the best row starred.

    Args:
      metrics: as in `metrics.json`; a metric that an entry lacks is shown as "–".
    """
    columns, rows = results(metrics)
    if not rows:
        return "no results yet"
    titles = [
        title
        for title, group in groupby(c.title for c in columns)
        for title in [title, *[""] * (len([*group]) - 1)]
    ]
    header = [["", "", *titles], ["", "", *(c.unit for c in columns)]]
    body = [[row.label, row.kind, *row.cells] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*header, *body, strict=True)]
    marks = ["  ", "  ", *("* " if row.best else "  " for row in rows)]
    lines = []
    for mark, (name, kind, *cells) in zip(marks, header + body, strict=True):
        numbers = (cell.rjust(width) for cell, width in zip(cells, widths[2:], strict=True))
        lines.append(
            "  ".join([mark + name.ljust(widths[0]), kind.ljust(widths[1]), *numbers]).rstrip()
        )
    lines.insert(2, "  " + "─" * (max(map(len, lines)) - 2))
    chosen = "best encoder, chosen on validation" if metrics.get("encoders") else "best control"
    notes = [f"* {chosen}"]
    if any(row.runs_member for row in rows):
        notes.append(f"{RUNS} runs the member, where the others see its weights alone")
    return "\n".join([_caption(metrics), *lines, *notes]).lstrip()


def _caption(metrics: Mapping[str, Any]) -> str:
    parts = [str(metrics["dataset"])] if "dataset" in metrics else []
    if "classes" in metrics:
        parts.append("classes " + ", ".join(map(str, metrics["classes"])))
    if "init" in metrics:
        parts.append(f"{metrics['init']} init")
    if "num_members" in metrics:
        parts.append(count_members(metrics["num_members"]))
    return " · ".join(parts)


def count_members(counts: Mapping[str, int]) -> str:
    """Members by split, and their sum, in words."""
    return (
        f"{sum(counts.values()):,} members ("
        + ", ".join(f"{count:,} {split}" for split, count in counts.items())
        + ")"
    )


def _value(values: Mapping[str, Any], key: str, default: Any = None) -> Any:
    value = values.get(key)
    return default if value is None or not math.isfinite(value) else float(value)


def _best(column: Column, entries: Sequence[Mapping[str, Any]]) -> float | None:
    found = [v for v in (_value(values, column.key) for values in entries) if v is not None]
    if not found or not column.better:
        return None
    return max(found) if column.better > 0 else min(found)


def _cell(column: Column, values: Mapping[str, Any]) -> str:
    value = _value(values, column.key)
    if value is None:
        return MISSING
    text = f"{value * column.scale:,.{column.digits}f}"
    std = _value(values, "angle_deg_std")
    return f"{text} ± {std:.2f}" if column.key == "angle_deg_mean" and std is not None else text
