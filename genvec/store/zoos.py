"""The zoo on disk, the interface between training a zoo and reading one.

manifest.json  format version and names of the cells, each a family with one architecture
<cell>/        manifest.json, members.parquet, segments/ (see `genvec.store.cells`)

A zoo of format version 1 is one cell that lies in the zoo's folder itself.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from genvec import trees
from genvec.store.atomic import set_aside
from genvec.store.cells import (
    FORMAT_VERSION,
    check_identity,
    read_manifest,
    read_members,
    read_versioned,
    refuse_unfinished,
    segment_path,
    segment_rows,
)
from genvec.store.checkpoints import load_tree
from genvec.store.errors import DamageError, StoreError, is_missing
from genvec.store.files import write_json
from genvec.types import Zoo

# "sum": the third members of composition triplets; "unseen": of mixtures with held-out classes
SPLITS = ("train", "val", "test", "sum", "unseen")
CELL_NAME = re.compile(r"\w[\w.-]*")  # of a folder, and of none elsewhere


def create_zoo(path: Path, cells: Sequence[str]) -> None:
    """Writes down which cells the zoo is to have; the same again changes nothing, a damaged list is
    written again.

    Args:
      path: of the zoo's folder.
      cells: names, in order; they become folders.

    Raises:
      StoreError: the zoo is there with other cells.
      ValueError: a name that is none for a folder, or one that stands there twice.
    """
    for name in cells:
        if not CELL_NAME.fullmatch(name) or list(cells).count(name) > 1:
            raise ValueError(f"cell {name!r}: names are letters, digits, '_', '-', each once")
    path = Path(path).absolute()
    there = _cells_there(path)
    if not there:
        header = {"format_version": FORMAT_VERSION, "cells": list(cells)}
        write_json(path / "manifest.json", header)
    elif set(there) != set(cells):
        raise StoreError(
            f"{path} has the cells {', '.join(there)}, not {', '.join(cells)}; "
            "choose another folder"
        )


def _cells_there(path: Path) -> list[str]:
    """Names of the zoo's cells; none where it has yet to be made, or its list was damaged and is
    moved away."""
    manifest = path / "manifest.json"
    if is_missing(manifest):
        return []
    for _ in range(2):
        try:
            return list(cell_paths(path))
        except DamageError:
            if not is_missing(path / "segments"):  # of version 1: the manifest is more than a list
                raise
    set_aside(path, manifest)
    return []


def cell_paths(path: str | Path) -> dict[str, Path]:
    """Name of each cell → its folder, in order.

    A folder that is a cell itself, as a zoo of version 1 is, is named after its family.

    Raises:
      DamageError: a name in the manifest is none for a folder in the zoo's.
      StoreError: there is no zoo, or it is of a newer format version.
    """
    path = Path(path).absolute()
    header = read_versioned(path)
    names = header.get("cells")
    if names is None:
        names = [read_manifest(path).get("family", path.name)]
    if not isinstance(names, list) or not names or len(set(map(str, names))) < len(names):
        raise DamageError(f"{path / 'manifest.json'} is damaged: its cells are {names!r}")
    for name in names:
        if not isinstance(name, str) or not CELL_NAME.fullmatch(name):
            raise DamageError(f"{path / 'manifest.json'} is damaged: a cell is called {name!r}")
    return {name: path / name for name in names} if "cells" in header else {names[0]: path}


def load_zoo(
    path: str | Path,
    split: str | Sequence[str] | None = None,
    members: Sequence[int] | np.ndarray | None = None,
    finite_only: bool = False,
    cell: str | None = None,
) -> Zoo:
    """Reads trained members of one cell from disk.

    Args:
      path: the zoo's folder, such as `runs/digits/zoo`, or that of a cell.
      split: one of `SPLITS`, or several of them; all by default.
      members: what is wanted, in the order given and as often as given: indices, or a mask [N]; all
        by default. With `split`, those of them in the split.
      finite_only: leave out members that diverged, whose parameters, state or losses are not
        finite; they are kept, and flagged, by default.
      cell: its name; not needed where there is one only.

    Returns:
      `Zoo`: parameters and state as nested dicts of numpy arrays [N, ...], addressed by name; the
      members table (N rows, same order); the manifest.

    Raises:
      StoreError: the zoo is missing, unfinished, damaged or of a newer format version; or only
        finite members are wanted, and all diverged.
      TypeError: members that are neither indices nor a mask.
      ValueError: an unknown cell or split, or members that the cell does not have.
    """
    path = Path(path).absolute()
    cells = cell_paths(path)
    known = ", ".join(cells)
    if cell is None and len(cells) > 1:
        raise ValueError(f"{path} holds the cells {known}; name one: cell=…")
    if cell is not None and cell not in cells:
        raise ValueError(f"{path} has no cell {cell!r}; known: {known}")
    folder = next(iter(cells.values())) if cell is None else cells[cell]
    return _load_cell(folder, split, members, finite_only)


def load_cells(
    path: str | Path,
    split: str | Sequence[str] | None = None,
    members: Sequence[int] | np.ndarray | None = None,
    finite_only: bool = False,
) -> dict[str, Zoo]:
    """Reads trained members of every cell: name → `Zoo`; arguments and errors as in `load_zoo`."""
    return {
        name: _load_cell(folder, split, members, finite_only)
        for name, folder in cell_paths(Path(path).absolute()).items()
    }


def _load_cell(cell: Path, split, members, finite_only) -> Zoo:
    manifest = read_manifest(cell)
    if not manifest["complete"]:
        refuse_unfinished(cell)
        raise StoreError(f"{cell} is unfinished: run its experiment again to complete it")
    with _mended_by("write it again"):
        table = read_members(cell, manifest)
    rows = _select(table, split, members, finite_only)
    if not len(rows) and finite_only:
        _refuse_diverged(cell, table, len(_select(table, split, members, False)))
    if not len(rows):
        raise ValueError(f"no member of {cell} is asked for: split={split!r}, members={members!r}")

    in_order, place = np.unique(rows, return_inverse=True)

    def parts() -> Iterator[dict]:
        for number, segment in enumerate(segment_rows(manifest)):
            inside = in_order[(in_order >= segment.start) & (in_order < segment.stop)]
            if len(inside):
                yield trees.take(_load_segment(cell, manifest, number), inside - segment.start)

    whole = trees.gather(parts(), len(in_order))
    if len(in_order) < len(rows) or np.any(np.diff(rows) < 0):
        whole = trees.take(whole, place)
    return Zoo(whole["params"], whole["state"], table.iloc[rows].reset_index(drop=True), manifest)


def _load_segment(cell: Path, manifest: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Parameters and state of the members of one segment."""
    path, rows = segment_path(cell, number), segment_rows(manifest)[number]
    with _mended_by("train the damaged segment again"):
        tree = load_tree(path, manifest["segments"][number])
        check_identity(path, manifest, number, tree)
        wanted = {"params": tree.get("params"), "state": tree.get("state", {})}
        lengths = {len(leaf) if leaf.ndim else 0 for leaf in jax.tree.leaves(wanted)}
        if wanted["params"] is None or lengths != {rows.stop - rows.start}:
            raise DamageError(
                f"{path} is damaged: its record is of {lengths or 'no'} members, not of "
                f"{rows.stop - rows.start}"
            )
    return wanted


def _refuse_diverged(cell: Path, table, num: int) -> None:
    """Raises where there are members, `num` of them, and none that is finite."""
    if num:
        rates = [name for name in table.columns if name.endswith("learning_rate")]
        used = ", ".join(f"{name} {table[name].min():g} to {table[name].max():g}" for name in rates)
        raise StoreError(
            f"all {num} members of {cell} that are asked for diverged: their parameters or losses "
            f"are NaN or infinite. The likely cause is a learning rate that is too large"
            f"{f' (theirs: {used})' if used else ''}, or another hyper-parameter that is out of "
            "range; train the zoo again, in another folder, with smaller ones"
        )


@contextmanager
def _mended_by(what: str) -> Iterator[None]:
    """Damage is told with how to mend it."""
    try:
        yield
    except DamageError as error:
        raise DamageError(
            f"{error}; run its experiment again (experiments.zoo) to {what}"
        ) from error


def _select(table, split, members, finite_only) -> np.ndarray:
    if split is not None and not isinstance(split, (str, Iterable)):
        raise TypeError(f"split is {split!r}; give one of {', '.join(SPLITS)}, or several")
    wanted = SPLITS if split is None else (split,) if isinstance(split, str) else tuple(split)
    if unknown := [name for name in wanted if name not in SPLITS]:
        raise ValueError(f"unknown split {unknown}; known: {', '.join(SPLITS)}")
    keep = table["split"].isin(wanted).to_numpy(copy=True)
    if finite_only:
        keep &= table["finite"].to_numpy(bool)
    rows = np.arange(len(table)) if members is None else _indices(members, len(table))
    return rows[keep[rows]]


def _indices(members: Any, num: int) -> np.ndarray:
    """Indices or a mask [N] → int indices, in their order and with their repeats."""
    members = np.asarray(members)
    if members.ndim == 1 and members.dtype == bool:
        if len(members) != num:
            raise ValueError(f"members is a mask of {len(members)}, the cell has {num} members")
        return np.flatnonzero(members)
    if members.ndim != 1 or (members.dtype.kind not in "iu" and members.size):
        raise TypeError(
            f"members is an array {members.dtype}{list(members.shape)}; give indices in "
            f"0..{num - 1}, such as [5, 3], or a mask of {num} booleans"
        )
    if outside := [int(m) for m in members if not 0 <= m < num]:
        raise ValueError(f"members {outside} are not in 0..{num - 1}")
    return members.astype(np.int64)
