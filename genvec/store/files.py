"""Small files: JSON, JSON lines, tables and arrays, each written whole or not at all.

Each has its SHA-256 beside it (see `genvec.store.sums`) and is held against it when it is read,
except where the writer says that the file is for somebody else: `sums=False`.
"""

import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genvec.store.atomic import real_file, write_atomically
from genvec.store.errors import StoreError, is_missing, naming_parse_errors
from genvec.store.sums import read_bytes, sums_path, write_known

CELL_FILES = ("manifest.json", "members.parquet")


def write_json(path: Path, value: Any, *, sums: bool = True) -> None:
    """Strict JSON: numpy numbers become plain ones, and what is not finite becomes null."""
    _write(path, json_text(value).encode(), sums)


def json_text(value: Any, indent: int | None = 2) -> str:
    """What `write_json` writes."""
    return json.dumps(_plain(value), indent=indent, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_json(path: Path) -> Any:
    """What `write_json` wrote."""
    content = read_bytes(path)
    with naming_parse_errors(path):
        return json.loads(content)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One strict JSON object a line."""
    text = "".join(json.dumps(_plain(row), allow_nan=False) + "\n" for row in rows)
    _write(path, text.encode(), True)


def read_jsonl(path: Path) -> pd.DataFrame:
    """What `write_jsonl` wrote, a row a line."""
    content = read_bytes(path)
    with naming_parse_errors(path):
        return pd.DataFrame([json.loads(line) for line in content.splitlines()])


def write_table(path: Path, table: pd.DataFrame, *, sums: bool = True) -> None:
    """Parquet, without the index."""
    _write(path, table_bytes(table), sums)


def table_bytes(table: pd.DataFrame) -> bytes:
    """What `write_table` writes."""
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    return content.getvalue()


def read_table(path: Path) -> pd.DataFrame:
    """What `write_table` wrote."""
    return parse_table(path, read_bytes(path))


def parse_table(path: Path, content: bytes) -> pd.DataFrame:
    """A table from the bytes that were read from `path`."""
    with naming_parse_errors(path):
        return pd.read_parquet(io.BytesIO(content))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Plain arrays as `.npz`; nothing pickled."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    _write(path, content.getvalue(), True)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `write_arrays` wrote."""
    content = read_bytes(path)
    with naming_parse_errors(path), np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def check_output(path: Path) -> None:
    """Refuses a path at which a file for somebody else would take the place of one of a run's.

    Raises:
      StoreError: a file of a run or a zoo lies there, or something that is no file.
    """
    path = real_file(Path(path))
    in_cell = not is_missing(path.parent / "manifest.json")
    if not is_missing(sums_path(path)) or (in_cell and path.name in CELL_FILES):
        raise StoreError(f"{path} belongs to a run or a zoo; give another name")


def _write(path: Path, content: bytes, sums: bool) -> None:
    if sums:
        write_known(path, content)
    else:
        write_atomically(path, lambda temporary: temporary.write_bytes(content))
