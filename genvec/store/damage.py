"""Damage on disk: found by reading all of a cell, and on request moved away, never deleted."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genvec.store.atomic import discard_leftovers, set_aside, write_atomically
from genvec.store.cells import (
    check_identity,
    read_manifest,
    read_members,
    segment_path,
    segment_rows,
    write_manifest,
)
from genvec.store.checkpoints import checkpoint_parts, load_tree, read_record, record_path
from genvec.store.errors import DamageError, StoreError, entries, is_missing
from genvec.store.files import json_text
from genvec.store.sums import sums_path

MEMBERS = -1  # stands for members.parquet and manifest.json, as numbers do for segments


def verify_cell(cell: str | os.PathLike, *, repair: bool = False) -> dict[int, str]:
    """Reads all of a cell and tells what is damaged, which two readings must prove.

    Segments are held against their records and, in a complete cell, against the manifest, whose
    records count.

    Args:
      cell: the cell's folder.
      repair: move what is damaged, and checkpoints without a record, to `damaged/<time>/` in the
        cell's folder, so that they count as missing; remove what the store's own interrupted writes
        left. A complete cell becomes unfinished: its manifest first, so that a cell claims nothing
        it does not have, wherever this is interrupted.

    Returns:
      Number of each damaged segment → the reason in a line; -1 → what is wrong with members.parquet
      or manifest.json, for the caller to write them again by `create_cell`.

    Raises:
      StoreError: no cell, a newer format version, or files that cannot be read for a reason that
        is no damage, such as too many open ones or a lack of permission; or every one of several
        segments fails, which is hardly the fault of the files.
    """
    cell = Path(cell).absolute()
    manifest, lost = _manifest(cell)
    records = _expected(cell, manifest)
    reasons = {number: _damage(cell, manifest, number, records[number]) for number in records}
    damaged = {number: reason for number, reason in sorted(reasons.items()) if reason}
    if len(damaged) == len(records) > 1:
        raise StoreError(
            f"every segment of {cell} fails, so the cause is probably not the files "
            f"({damaged[min(damaged)]}); nothing was changed. If they are damaged, move {cell} "
            "away and run its experiment again"
        )
    lost = lost or _proved(lambda: read_members(cell, manifest))
    if repair:
        _repair(cell, manifest, records, damaged, lost)
    return ({MEMBERS: lost} if lost else {}) | damaged


def retire(
    root: Path, path: Path, read_fn: Callable[[Path], Any], *, checkpoint: bool = False
) -> str | None:
    """Moves a file or a checkpoint away (see `set_aside`) where `read_fn(path)` finds it damaged,
    twice; so that it counts as not there, and can be made again.

    Returns:
      What is wrong with it and where it is now, in a line; None where it is whole.
    """
    if reason := _proved(lambda: read_fn(path)):
        parts = checkpoint_parts(path) if checkpoint else (path, sums_path(path))
        return f"{reason}; moved to {set_aside(root, *parts)}"
    return None


def _manifest(cell: Path) -> tuple[dict[str, Any], str | None]:
    """The manifest, or one that claims nothing with what is wrong with the one that is there."""
    if reason := _proved(lambda: read_manifest(cell)):
        return {"complete": False}, reason
    return read_manifest(cell), None


def _expected(cell: Path, manifest: Mapping[str, Any]) -> dict[int, Any]:
    """Segments that should be whole → their records in the manifest, which an unfinished cell has
    none of."""
    if manifest["complete"]:
        return dict(enumerate(manifest["segments"]))
    records = [path for path in entries(cell / "segments") if path.suffix == ".json"]
    numbers = {int(path.stem) for path in records if path.stem.isdecimal()}
    if "num_members" in manifest:
        numbers &= set(range(len(segment_rows(manifest))))
    return dict.fromkeys(sorted(numbers))


def _damage(cell: Path, manifest: Mapping[str, Any], number: int, expected: Any) -> str | None:
    """What is wrong with a segment; in a complete cell the manifest has its record."""
    path = segment_path(cell, number)

    def read() -> None:
        tree = load_tree(path, read_record(path) if expected is None else expected)
        if "num_members" in manifest:
            check_identity(path, manifest, number, tree)

    return _proved(read)


def _proved(read_fn: Callable[[], Any]) -> str | None:
    """The damage that two readings both find, in a line; None where one of them finds none."""
    for _ in range(2):
        try:
            read_fn()
            return None
        except DamageError as error:
            reason = str(error)
    return reason


def _repair(cell, manifest, records, damaged, lost) -> None:
    if damaged and manifest["complete"]:
        opened = {k: v for k, v in manifest.items() if k not in ("segments", "shapes")}
        write_manifest(cell, {**opened, "complete": False})
    for number, record in records.items():
        if record is not None and number not in damaged:
            _restore_record(segment_path(cell, number), record)
    spoilt = [part for n in damaged for part in checkpoint_parts(segment_path(cell, n))]
    if lost:
        known = "num_members" in manifest
        spoilt.append(cell / ("members.parquet" if known else "manifest.json"))
    if spoilt := spoilt + _interrupted(cell, manifest):
        set_aside(cell, *spoilt)
    discard_leftovers(cell)
    discard_leftovers(cell / "segments")


def _restore_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes the record of a whole segment again where it is not what the manifest repeats."""
    if is_missing(record_path(path)) or _proved(lambda: read_record(path)):
        write_atomically(record_path(path), lambda p: p.write_text(json_text(record)))


def _interrupted(cell: Path, manifest: Mapping[str, Any]) -> list[Path]:
    """Segments whose writing was interrupted before there was a record."""
    rows = segment_rows(manifest) if "num_members" in manifest else ()
    paths = [segment_path(cell, number) for number in range(len(rows))]
    return [path for path in paths if is_missing(record_path(path)) and not is_missing(path)]
