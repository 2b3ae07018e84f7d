"""Damage to one file of a run: bytes, JSON and Parquet, whole folders, and what does not belong."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.faults.actions import pick
from genvec.store.files import json_text

Edit = Callable[[np.random.Generator, Path], str]  # spoils the file → what was done


def flip(rng, path):
    """One bit."""
    content = bytearray(path.read_bytes() or b"\0")
    at, bit = int(rng.integers(len(content))), int(rng.integers(8))
    content[at] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {at} flipped"


def overwrite(rng, path):
    """A burst of up to 64 bytes: zeros, as after a power failure, or random."""
    content = bytearray(path.read_bytes() or b"\0")
    at, num = int(rng.integers(len(content))), int(rng.integers(1, 65))
    value = bytes(num) if rng.random() < 0.5 else rng.bytes(num)
    content[at : at + num] = value[: len(content) - at]
    path.write_bytes(content)
    return f"{num} bytes at {at} overwritten"


def cut(rng, path):
    """The end is missing; now and then all of it."""
    content = path.read_bytes()
    size = int(rng.integers(len(content) or 1)) * bool(rng.random() < 0.8)
    path.write_bytes(content[:size])
    return f"cut from {len(content)} to {size} bytes"


def lengthen(rng, path):
    """Bytes added at the end."""
    num = int(rng.integers(1, 100))
    path.write_bytes(path.read_bytes() + rng.bytes(num))
    return f"{num} bytes added"


def insert(rng, path):
    """Bytes added or taken in the middle."""
    content = path.read_bytes()
    at, num = int(rng.integers(len(content) or 1)), int(rng.integers(1, 9))
    more = rng.random() < 0.5
    path.write_bytes(
        content[:at] + (rng.bytes(num) + content[at:] if more else content[at + num :])
    )
    return f"{num} bytes {'inserted' if more else 'taken'} at {at}"


def remove(rng, path):
    """Gone."""
    path.unlink()
    return "removed"


def into_folder(rng, path):
    """A folder of the same name."""
    path.unlink()
    path.mkdir()
    return "a folder stands there"


def dangling(rng, path):
    """A link to nothing."""
    path.unlink()
    path.symlink_to("nowhere")
    return "a link to nothing stands there"


def exchange(rng, path):
    """The content of another file of the same kind."""
    others = [p for p in path.parents[1].rglob(f"*{path.suffix}") if p.is_file() and p != path]
    if not others:
        return remove(rng, path)
    other = pick(rng, sorted(others))
    path.write_bytes(other.read_bytes())
    return f"holds what {other.relative_to(path.parents[1])} holds"


BYTES: tuple[Edit, ...] = (flip, flip, overwrite, cut, lengthen, insert, remove, exchange)
ODD: tuple[Edit, ...] = (into_folder, dangling)


def edit_json(rng, path):
    """Strict JSON that says something else."""
    value = json.loads(path.read_text())
    how = pick(rng, ("{}", "[]", "null", "3", "leaf", "leaf", "key", "key", "twice"))
    if how in ("{}", "[]", "null", "3"):
        value, told = json.loads(how), f"is {how}"
    elif how == "twice":
        path.write_text(path.read_text() * 2)
        return "stands there twice"
    else:
        told = _edit_leaf(rng, value, how)
    path.write_text(json.dumps(value, indent=2) + "\n")
    return told


def _edit_leaf(rng, value: Any, how: str) -> str:
    """Walks down at random and changes or removes what it comes to."""
    node, name = value, "?"
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return "nothing changed"
        key = pick(rng, keys)
        name, inside = f"{name}/{key}", node[key]
        if not isinstance(inside, (dict, list)) or not inside or rng.random() < 0.1:
            break
        node = inside
    if how == "key":
        del node[key]
        return f"{name[2:]} removed"
    node[key] = pick(rng, OTHER_VALUES)
    if isinstance(inside, (int, float)) and rng.random() < 0.5:
        node[key] = inside * 2 + 1
    return f"{name[2:]} is {json.dumps(node[key])}, not {json.dumps(inside)[:40]}"


OTHER_VALUES = (None, -1, 0, 10**15, 1e300, float("nan"), "x", "../x", "/etc", [], {}, True)


def edit_manifest(rng, path):
    """A foreign manifest: its own SHA-256 is right, what it claims is not."""
    manifest = json.loads(path.read_text())
    name, value = pick(rng, FOREIGN_ZOO if "cells" in manifest else FOREIGN_CELL)
    if name == "shapes" and manifest.get("segments"):
        leaves = manifest["segments"][0]
        leaf = pick(rng, sorted(leaves))
        leaves[leaf] = {**leaves[leaf], "shape": value}
        name = f"shape of {leaf}"
    else:
        manifest[name] = value
    contents = {key: item for key, item in manifest.items() if key != "sha256"}
    digest = hashlib.sha256(json_text(contents, indent=None).encode()).hexdigest()
    path.write_text(json_text({**contents, "sha256": digest}))
    return f"a manifest whose {name} is {json.dumps(value)}"


FOREIGN_ZOO = (
    ("cells", ["../x"]),
    ("cells", ["/tmp"]),
    ("cells", ["vae", "../../x"]),
    ("cells", []),
    ("cells", ["vae", "vae"]),
    ("cells", [3]),
    ("cells", "vae"),
    ("cells", {"a": 1}),
    ("format_version", 99),
    ("format_version", -1),
    ("format_version", True),
)
FOREIGN_CELL = (
    ("num_members", 10**12),
    ("num_members", -5),
    ("num_members", 3),
    ("num_members", 26.5),
    ("num_members", "26"),
    ("segment_size", 0),
    ("segment_size", -8),
    ("segment_size", 10**13),
    ("segment_size", 1),
    ("segments", []),
    ("segments", None),
    ("segments", {}),
    ("shapes", [10**13, 4]),
    ("shapes", [-1]),
    ("shapes", "x"),
    ("format_version", 99),
    ("complete", "yes"),
)


def edit_table(rng, path):
    """A readable table with other rows."""
    table = pd.read_parquet(path)
    how = pick(rng, ("swapped", "mixed", "doubled", "dropped", "column", "nan"))
    if how == "swapped":
        table = table.iloc[rng.permutation(len(table))]
    elif how == "mixed":
        column = pick(rng, [c for c in table.columns if table[c].dtype.kind in "fO"])
        table[column] = table[column].to_numpy()[::-1]
    elif how == "doubled":
        table = pd.concat([table, table])
    elif how == "dropped":
        table = table.iloc[int(rng.integers(1, len(table))) :]
    elif how == "column":
        table = table.drop(columns=pick(rng, list(table.columns)))
    else:
        numbers = [c for c in table.columns if table[c].dtype.kind == "f"]
        table.loc[table.index[0], pick(rng, numbers)] = np.nan
    table.to_parquet(path, index=False)
    unhashed = how in ("doubled", "dropped") and rng.random() < 0.5
    manifest = path.with_name("manifest.json")
    if unhashed and path.name == "members.parquet" and manifest.exists():
        _forget_hash(manifest)
    return f"rows or columns {how}{', its hash is forgotten' * unhashed}"


def _forget_hash(path: Path) -> None:
    manifest = {**json.loads(path.read_text()), "members_sha256": None}
    contents = {key: item for key, item in manifest.items() if key != "sha256"}
    digest = hashlib.sha256(json_text(contents, indent=None).encode()).hexdigest()
    path.write_text(json_text({**contents, "sha256": digest}))


def lose_folder(rng, path):
    """The whole folder that the file is in is gone."""
    shutil.rmtree(path.parent)
    return f"{path.parent.name}/ removed"


def swap_folders(rng, path):
    """Two checkpoints have each other's place."""
    folders = sorted(p for p in path.parent.iterdir() if p.is_dir())
    if len(folders) < 2:
        return lose_folder(rng, path)
    first, second = folders[0], folders[1]
    os.rename(first, path.parent / "aside")
    os.rename(second, first)
    os.rename(path.parent / "aside", second)
    return f"{first.name} and {second.name} exchanged"
