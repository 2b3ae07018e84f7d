"""Small files: JSON, JSON lines, tables and arrays, each written whole or not at all."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genvec.store.atomic import StoreError, read_error, write_atomically


def write_json(path: Path, value: Any) -> None:
    """Strict JSON: numpy numbers become plain ones, and what is not finite becomes null."""
    text = json_text(value)
    write_atomically(path, lambda p: p.write_text(text))


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
    with _naming(path):
        return json.loads(path.read_text())


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One strict JSON object a line."""
    text = "".join(json.dumps(_plain(row), allow_nan=False) + "\n" for row in rows)
    write_atomically(path, lambda p: p.write_text(text))


def read_jsonl(path: Path) -> pd.DataFrame:
    """What `write_jsonl` wrote, a row a line."""
    with _naming(path):
        return pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Parquet, without the index."""
    write_atomically(path, lambda p: table.to_parquet(p, index=False))


def read_table(path: Path) -> pd.DataFrame:
    """What `write_table` wrote."""
    with _naming(path):
        return pd.read_parquet(path)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Plain arrays as `.npz`; nothing pickled."""

    def write_fn(temporary):
        with open(temporary, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    write_atomically(path, write_fn)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `write_arrays` wrote."""
    with _naming(path), np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with _naming(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """What goes wrong while reading becomes one line that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"{path} does not exist; the stage that writes it has not run") from error
    except Exception as error:  # each format has its own kinds
        raise read_error(path, error) from error
