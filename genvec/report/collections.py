"""The page of collections: vectors of groups of objects, how good they are, and their bounds."""

import json
from pathlib import Path

from genvec.report import collections_tables as tables
from genvec.report.collections_figures import draw_bounds, draw_groups
from genvec.report.collections_tables import MEANS, MEDOIDS, MRR, NEGATIVE, R1, Values
from genvec.report.families import MISSING, markdown
from genvec.report.figures import embed
from genvec.report.pages import write_page
from genvec.report.tables import Fact
from genvec.store import RunFolder, read_arrays, read_json, read_table

HEIGHT = 460  # of the plot of bounds of the means
SMALL_HEIGHT = 330


def write_collections(run: RunFolder) -> Path:
    """Writes `run.report`, one HTML page that needs no network.

    It reads `run.metrics`, and of the encoder "shown" in them `groups.npz` and `bounds.parquet`.

    Returns:
      The path of the page.

    Raises:
      StoreError: one of these files is missing or damaged.
    """
    metrics = read_json(run.metrics)
    arrays = read_arrays(run.path / "groups.npz")
    pairs = read_table(run.path / "bounds.parquet")
    names = [str(name) for name in arrays["group_names"]]
    rows = tables.bound_rows(metrics["bounds"])
    panels = {
        of: draw_bounds(pairs, upper, of, names, height=HEIGHT if of == MEANS else SMALL_HEIGHT)
        for of in (MEANS, MEDOIDS, NEGATIVE)
        if (upper := {row.name: row.side == "upper" for row in rows if row.of == of})
    }
    drawn = {
        "map": [draw_groups(arrays)],
        "bounds": [panel for of, panel in panels.items() if of == MEANS],
        "others": [panel for of, panel in panels.items() if of != MEANS],
    }
    return write_page(
        run.report,
        "collections.html",
        metrics=metrics,
        headline=headline(metrics),
        scores=tables.scores(metrics),
        rows=rows,
        num_pairs=len(pairs),
        examples=tables.examples(pairs, arrays, rows),
        facts=facts(metrics),
        details=details(metrics),
        **embed(drawn),
    )


def headline(metrics: Values) -> list[Fact]:
    """The run in three numbers: the best vectors of groups, their objects, the best control."""
    objectives, controls = metrics["objectives"], metrics["controls"]
    single, ways = tables.one_shot_key(metrics)
    best = tables.best(objectives, R1)
    found = [
        (f"R@1 on groups never seen · {best}", objectives[best], R1),
        (f"{ways}-way one-shot accuracy · {best.rsplit('/', 1)[0]}", objectives[best], single),
    ]
    if controls:
        best = tables.best(controls, R1)
        found.append((f"R@1 of the best control · {best}", controls[best], R1))
    return [Fact(label, f"{tables.text(v, key, 100, 1)} %") for label, v, key in found]


def facts(metrics: Values) -> list[Fact]:
    """What the numbers were made of."""
    counts = metrics["num_groups"]
    groups = f"{counts['train']:,} to learn from, {counts['test']:,} of other classes to judge by"
    found = {
        "Data set": metrics["dataset"],
        "Groups": groups,
        "Network": metrics["network"],
        "Seeds": f"{metrics['num_seeds']} of each objective",
    }
    return [Fact(*fact) for fact in found.items()]


def details(metrics: Values) -> dict[str, str]:
    """What is to be unfolded: title → text."""
    found = {
        "Environment": metrics.get("environment"),
        "Seconds of each stage": metrics.get("timings_s"),
    }
    texts = {k: json.dumps(v, indent=2, ensure_ascii=False) for k, v in found.items() if v}
    return {"The results as text": collections_table(metrics), **texts}


def collections_table(metrics: Values) -> str:
    """A Markdown table: every objective with its best aggregation, the controls; the bounds.

    Args:
      metrics: as in `metrics.json` of a run on collections; what is missing is shown as "–".
    """
    single, ways = tables.one_shot_key(metrics)
    columns = ((R1, 100, 1), (MRR, 1, 3), (single, 100, 1))
    rows = [["", "R@1 %", "MRR", f"{ways}-way one-shot %", "within / between"]]
    chosen = {}
    for objective, own in tables.by_objective(metrics).items():
        aggregation = tables.best(own, MRR)
        chosen[f"{objective}/{aggregation}"] = own[aggregation]
    for name, values in {**chosen, **metrics["controls"]}.items():
        numbers = (tables.with_spread(values, *column) for column in columns)
        rows.append([name, *numbers, _ratio(values)])
    bounds = [
        f"{row.name}: {row.of} {'≤' if row.side == 'upper' else '≥'} {row.formula}; "
        f"median ratio {row.ratio}, {row.violations:,} violations"
        for row in tables.bound_rows(metrics["bounds"])
    ]
    return "\n".join([markdown(rows), "", *bounds])


def _ratio(values: Values) -> str:
    """The distance of a group's halves over that of groups of two classes."""
    within, between = (tables.number(values, k) for k in ("within_character", "between_alphabets"))
    return f"{within / between:.3f}" if within >= 0 and between > 0 else MISSING
