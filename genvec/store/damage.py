"""Damage on disk: found by reading all of a cell, and taken away so that it counts as missing."""

from pathlib import Path
from typing import Any

from genvec.store.atomic import DamageError, discard_leftovers, remove
from genvec.store.cells import read_manifest, read_members, segment_path, write_manifest
from genvec.store.checkpoints import discard_tree, load_tree, record_path
from genvec.store.files import read_json

MEMBERS = -1  # stands for members.parquet and manifest.json, as numbers do for segments


def verify_cell(cell: Path) -> dict[int, str]:
    """Reads all of a cell, discards damaged segments and what interrupted writes have left.

    Segments are held against their records and, in a complete cell, against the manifest. Where
    one is discarded, a complete cell becomes unfinished: its manifest first, so that a cell claims
    nothing it does not have, wherever this is interrupted.

    Returns:
      Number of each discarded segment → the reason in a line; -1 → what is wrong with
      members.parquet or manifest.json, for the caller to write them again by `create_cell`.

    Raises:
      StoreError: no cell, a newer format version, or files that cannot be read for a reason that
        is no damage, such as too many open ones or a lack of permission.
    """
    manifest, lost = _manifest(cell)
    records = dict(enumerate(manifest["segments"])) if manifest["complete"] else _committed(cell)
    reasons = {number: _damage(segment_path(cell, number), records[number]) for number in records}
    damaged = {number: reason for number, reason in sorted(reasons.items()) if reason}
    if damaged and manifest["complete"]:
        opened = {k: v for k, v in manifest.items() if k not in ("segments", "shapes")}
        write_manifest(cell, {**opened, "complete": False})
    for number in damaged:
        discard_tree(segment_path(cell, number))
    _clean(cell)
    lost = lost or _lost_members(cell, manifest)
    return ({MEMBERS: lost} if lost else {}) | damaged


def _manifest(cell: Path) -> tuple[dict[str, Any], str | None]:
    """The manifest, or one that claims nothing with what is wrong with the one that is there."""
    try:
        return read_manifest(cell), None
    except DamageError as error:
        return {"complete": False}, str(error)


def _committed(cell: Path) -> dict[int, None]:
    """The segments that an unfinished cell has records of."""
    records = (cell / "segments").glob("*.json")
    return dict.fromkeys(sorted(int(path.stem) for path in records if path.stem.isdigit()))


def _damage(path: Path, expected: dict[str, Any] | None) -> str | None:
    """What is wrong with a segment, whose record a complete cell's manifest repeats."""
    if not record_path(path).exists():
        return f"{path} is damaged: its record is missing"
    try:
        record = read_json(record_path(path))
        if expected is not None and record != expected:
            return f"{record_path(path)} is damaged: not the record in the manifest"
        load_tree(path, record)
    except DamageError as error:
        return str(error)
    return None


def _lost_members(cell: Path, manifest: dict[str, Any]) -> str | None:
    try:
        read_members(cell, manifest)
    except DamageError as error:
        return str(error)
    return None


def _clean(cell: Path) -> None:
    """Removes what does not count: temporary files, and checkpoints without a record."""
    segments = cell / "segments"
    discard_leftovers(cell)
    discard_leftovers(segments)
    for path in segments.iterdir() if segments.exists() else ():
        if path.is_dir() and not record_path(path).exists():
            remove(path)
