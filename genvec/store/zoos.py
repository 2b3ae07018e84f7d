"""The zoo on disk, the interface between training a zoo and reading one.

manifest.json  format version and names of the cells, each a family with one architecture
<cell>/        manifest.json, members.parquet, segments/ (see `genvec.store.cells`)

A zoo of format version 1 is one cell that lies in the zoo's folder itself.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from genvec import trees
from genvec.store.atomic import DamageError, StoreError
from genvec.store.cells import (
    FORMAT_VERSION,
    read_manifest,
    read_members,
    read_versioned,
    refuse_unfinished,
    segment_path,
    segment_rows,
)
from genvec.store.checkpoints import load_tree
from genvec.store.files import write_json
from genvec.types import Zoo

# "sum": the third members of composition triplets; "unseen": of mixtures with held-out classes
SPLITS = ("train", "val", "test", "sum", "unseen")


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
        if not re.fullmatch(r"\w[\w.-]*", name) or list(cells).count(name) > 1:
            raise ValueError(f"cell {name!r}: names are letters, digits, '_', '-', each once")
    there = _cells_there(path)
    if not there:
        header = {"format_version": FORMAT_VERSION, "cells": list(cells)}
        write_json(path / "manifest.json", header)
    elif set(there) != set(cells):
        raise StoreError(
            f"{path} has the cells {', '.join(there)}, not {', '.join(cells)}; "
            "choose another --workdir"
        )


def _cells_there(path: Path) -> list[str]:
    """Names of the zoo's cells; none where it has yet to be made, or its list is damaged."""
    if not (path / "manifest.json").exists():
        return []
    try:
        return list(cell_paths(path))
    except DamageError:
        if (path / "segments").exists():  # of version 1: the manifest is more than a list
            raise
        return []


def cell_paths(path: Path) -> dict[str, Path]:
    """Name of each cell → its folder, in order.

    A folder that is a cell itself, as a zoo of version 1 is, is named after its family.

    Raises:
      StoreError: there is no zoo, or it is of a newer format version.
    """
    header = read_versioned(path)
    if "cells" in header:
        return {name: path / name for name in header["cells"]}
    return {read_manifest(path).get("family", path.name): path}


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
      members: indices of the members wanted; all by default. With `split`, those in both.
      finite_only: leave out members that diverged, whose parameters, state or losses are not
        finite; they are kept, and flagged, by default.
      cell: its name; not needed where there is one only.

    Returns:
      `Zoo`: parameters and state as nested dicts of numpy arrays [N, ...], addressed by name; the
      members table (N rows, same order); the manifest.

    Raises:
      StoreError: the zoo is missing, unfinished, damaged or of a newer format version; or only
        finite members are wanted, and all diverged.
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

    def parts() -> Iterator[dict]:
        for number, segment in enumerate(segment_rows(manifest)):
            inside = rows[(rows >= segment.start) & (rows < segment.stop)]
            if len(inside):
                with _mended_by("train the damaged segment again"):
                    tree = load_tree(segment_path(cell, number), manifest["segments"][number])
                wanted = {"params": tree["params"], "state": tree.get("state", {})}
                yield trees.take(wanted, inside - segment.start)

    whole = trees.gather(parts(), len(rows))
    return Zoo(whole["params"], whole["state"], table.iloc[rows].reset_index(drop=True), manifest)


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
    wanted = SPLITS if split is None else (split,) if isinstance(split, str) else tuple(split)
    if unknown := set(wanted) - set(SPLITS):
        raise ValueError(f"unknown split {sorted(unknown)}; known: {', '.join(SPLITS)}")
    keep = table["split"].isin(wanted).to_numpy(copy=True)
    if members is not None:
        members = np.asarray(members)
        if outside := [int(m) for m in members if not 0 <= m < len(table)]:
            raise ValueError(f"members {outside} are not in 0..{len(table) - 1}")
        keep &= np.isin(np.arange(len(table)), members)
    if finite_only:
        keep &= table["finite"].to_numpy(bool)
    return np.flatnonzero(keep)
