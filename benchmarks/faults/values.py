"""What a run folder says, as flat tables of values to be held against those without a fault."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genvec import load_zoo
from genvec.trees import flatten_names
from genvec.types import Zoo

VOLATILE = re.compile(  # they tell of the machine and the day, not of the result
    r"(^|/)(environment|timings_s|versions|packages|platform|trials|plan|vmap_width|sha256"
    r"|members_sha256|num_processes|num_devices)(/|$)"
)
Values = dict[str, Any]


def zoo_values(zoo: Zoo) -> Values:
    """Parameters, state, members and manifest of a loaded zoo."""
    found: Values = {f"params/{k}": v for k, v in flatten_names(zoo.params).items()}
    found |= {f"state/{k}": v for k, v in flatten_names(zoo.state).items()}
    return {**found, **_table("members", zoo.members), **flat("manifest", zoo.manifest)}


def run_values(run: Path) -> Values:
    """Every number of a finished run, its zoo and its report."""
    found = {f"zoo/{name}": value for name, value in zoo_values(load_zoo(run / "zoo")).items()}
    found |= report_values(run)
    told = [run / name for name in ("classes.json", "controls.json", "metrics.json")]
    for path in [*told, *sorted(run.glob("encoders/*/metrics.json"))]:
        found |= flat(str(path.relative_to(run)), json.loads(path.read_text()))
    for path in sorted(run.glob("encoders/*/embeddings.parquet")):
        found |= _table(str(path.relative_to(run)), pd.read_parquet(path))
    with np.load(run / "samples.npz") as arrays:
        found |= {f"samples.npz/{name}": array for name, array in arrays.items()}
    return found


def report_values(run: Path) -> Values:
    """The text of the report, and the data of its plots, but for times and bokeh's own names."""
    html = (run / "report.html").read_text(encoding="utf-8")
    html = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "uuid", html)
    html = re.sub(r"\bp\d+\b", "p", html)
    html = re.sub(r"<dt>(Time|Date|Hardware)</dt><dd>.*?</dd>", "", html)
    html = re.sub(r"(?s)<summary>(Environment|Zoo manifest).*?</details>", "", html)
    return {f"report.html/{i}": line for i, line in enumerate(html.splitlines())}


def flat(name: str, value: Any) -> Values:
    """Nested JSON → flat name → value, without what is volatile."""
    if isinstance(value, Mapping):
        parts = [flat(f"{name}/{key}", item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [flat(f"{name}/{i}", item) for i, item in enumerate(value)]
        parts.append({f"{name}/length": len(value)})
    else:
        return {} if VOLATILE.search(name) else {name: value}
    return {key: item for part in parts for key, item in part.items()}


def _table(name: str, table: pd.DataFrame) -> Values:
    columns = {f"{name}/{column}": table[column].to_numpy() for column in table.columns}
    return {
        key: np.stack(list(x)) if x.dtype == object and _nested(x) else x
        for key, x in columns.items()
    }


def _nested(column: np.ndarray) -> bool:
    return len(column) > 0 and isinstance(column[0], np.ndarray)


def difference(expected: Values, found: Values) -> str | None:
    """The first value that is not as expected, in a line; None where all are.

    Numbers may differ by rounding: a program compiled anew need not round alike.
    """
    if odd := expected.keys() ^ found.keys():
        return f"{min(odd)} is {'missing' if min(odd) in expected else 'new'}"
    for name, value in expected.items():
        if not same(value, found[name]):
            return f"{name}: {_short(found[name], value)}, not {_short(value, found[name])}"
    return None


def same(a: Any, b: Any, tolerance: float = 1e-4) -> bool:
    """Whether two values are equal but for rounding; NaN equals NaN."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return False
    if all(np.issubdtype(x.dtype, np.number) for x in (a, b)):
        return np.allclose(a, b, rtol=tolerance, atol=tolerance / 10, equal_nan=True)
    return bool(np.all(a == b))


def _short(value: Any, other: Any) -> str:
    """The part of a text that differs from another, or the beginning of anything else."""
    if isinstance(value, str) and isinstance(other, str):
        pairs = enumerate(zip(value, other, strict=False))
        value = value[max(0, next((i for i, (a, b) in pairs if a != b), 0) - 30) :]
    return " ".join(repr(value).split())[:80]
