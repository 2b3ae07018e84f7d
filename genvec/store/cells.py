"""One homogeneous cell of a zoo on disk: the members of one family with one architecture.

manifest.json       format version, family and its architecture, symmetry spec, seeds, package
                    versions, vmap width; SHA-256 of itself and of members.parquet; once complete
                    also the shapes by name and the SHA-256 of every leaf
members.parquet     a row a member: split, mixture, hyper-parameters; its metrics once complete
segments/00000/     Orbax: params, state and metrics of consecutive members, leading axis n
segments/00000.json its record; a segment without one was interrupted and is trained again
segments/.00000.sha256  SHA-256 of its files and its record
damaged/<time>/     what was damaged, each file where it lay, before it was made again
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genvec import trees
from genvec.store.atomic import write_atomically
from genvec.store.checkpoints import load_tree, read_record, record_path, save_tree
from genvec.store.errors import DamageError, StoreError, is_missing
from genvec.store.files import json_text, parse_table, read_json, table_bytes, write_json
from genvec.store.sums import read_bytes

FORMAT_VERSION = 2
# what the members of a cell follow from, as far as the writer of its manifest tells
MADE_BY = ("family", "architecture", "dataset", "classes", "seed", "config", "num_members")
MOST_SEGMENTS = 1_000_000  # each is a folder: a manifest that speaks of more is none of ours


def create_cell(path: Path, manifest: Mapping[str, Any], members: pd.DataFrame) -> None:
    """Writes down what the cell is to be: its members with their mixtures and splits.

    Segments that are already there are kept, so that a damaged table can be written again.

    Args:
      path: of the cell's folder.
      manifest: needs "segment_size"; the format version and the number of members are added.
      members: a row a member, in order.
    """
    content = table_bytes(members)
    write_atomically(path / "members.parquet", lambda p: p.write_bytes(content))
    header = {"format_version": FORMAT_VERSION, "complete": False, "num_members": len(members)}
    write_manifest(path, {**header, **manifest, "members_sha256": _sha256(content)})


def write_manifest(cell: Path, manifest: Mapping[str, Any]) -> None:
    """Replaces the manifest; the SHA-256 of its contents is added."""
    contents = {name: value for name, value in manifest.items() if name != "sha256"}
    write_json(
        cell / "manifest.json", {**contents, "sha256": _sha256_of_json(contents)}, sums=False
    )


def read_manifest(cell: Path) -> dict[str, Any]:
    """The manifest of a cell, complete or not.

    Raises:
      StoreError: there is none, it is damaged, of a newer format version, or of a whole zoo.
    """
    manifest = read_versioned(cell)
    path = cell / "manifest.json"
    if "cells" in manifest:
        raise StoreError(f"{cell} is a zoo of the cells {', '.join(manifest['cells'])}, not a cell")
    needed = ["complete", "num_members", "segment_size"]
    needed += ["segments"] if manifest.get("complete") else []
    needed += ["sha256"] if manifest["format_version"] > 1 else []
    if lost := [name for name in needed if name not in manifest]:
        raise DamageError(f"{path} is damaged: it lacks {', '.join(lost)}")
    contents = {name: value for name, value in manifest.items() if name != "sha256"}
    if manifest["format_version"] > 1 and manifest["sha256"] != _sha256_of_json(contents):
        raise DamageError(f"{path} is damaged: not the SHA-256 that it carries")
    _check_counts(path, manifest)
    return manifest


def _check_counts(path: Path, manifest: Mapping[str, Any]) -> None:
    """Numbers from the disk, before anything is as large as they say."""
    num, size = manifest["num_members"], manifest["segment_size"]
    if type(manifest["complete"]) is not bool:
        raise DamageError(f"{path} is damaged: complete is {manifest['complete']!r}")
    if type(num) is not int or type(size) is not int or not 0 <= num <= MOST_SEGMENTS * size:
        raise DamageError(f"{path} is damaged: {num!r} members in segments of {size!r}")
    if not manifest["complete"]:
        return
    records = manifest["segments"]
    if not isinstance(records, list) or len(records) != len(segment_rows(manifest)):
        raise DamageError(f"{path} is damaged: not a record for each of its segments")


def read_versioned(path: Path) -> dict[str, Any]:
    """The manifest.json of a zoo or a cell, once its format version is known to be readable."""
    if is_missing(path / "manifest.json"):
        raise StoreError(f"{path} holds no zoo: manifest.json is missing")
    manifest = read_json(path / "manifest.json")
    if not isinstance(manifest, dict) or type(manifest.get("format_version")) is not int:
        raise DamageError(f"{path / 'manifest.json'} is damaged: it has no format version")
    if manifest["format_version"] > FORMAT_VERSION:
        raise StoreError(
            f"{path} has format version {manifest['format_version']}, this genvec reads up to "
            f"{FORMAT_VERSION}; install a newer genvec"
        )
    return manifest


def read_members(cell: Path, manifest: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """The members table of a cell, a row a member in their order, held against the manifest.

    Raises:
      DamageError: it is missing, or two readings are not the one that was written.
    """
    manifest = read_manifest(cell) if manifest is None else manifest
    path = cell / "members.parquet"
    if is_missing(path):
        raise DamageError(f"{path} is missing")
    for _ in range(2):
        content = read_bytes(path)
        if _sha256(content) in (known := _members_sums(manifest) or [_sha256(content)]):
            break
    if _sha256(content) not in known:
        raise DamageError(f"{path} is damaged: not the SHA-256 of the manifest")
    table = parse_table(path, content)
    numbers = table["member"].tolist() if "member" in table else []
    if numbers != list(range(manifest["num_members"])):
        raise DamageError(
            f"{path} is damaged: {len(table)} rows, not one for each of "
            f"{manifest['num_members']} members in their order"
        )
    return table


def _members_sums(manifest: Mapping[str, Any]) -> list[str]:
    """SHA-256 of the table, of both versions while it is replaced; none in version 1."""
    sums = manifest.get("members_sha256")
    return [] if sums is None else [sums] if isinstance(sums, str) else list(sums)


def segment_rows(manifest: Mapping[str, Any]) -> list[slice]:
    """The members of each segment."""
    num, size = manifest["num_members"], manifest["segment_size"]
    return [slice(start, min(start + size, num)) for start in range(0, num, size)]


def segment_path(cell: Path, number: int) -> Path:
    """The checkpoint of one segment."""
    return cell / "segments" / f"{number:05d}"


def missing_segments(cell: Path) -> list[int]:
    """Numbers of the segments that are still to be trained."""
    total = len(segment_rows(read_manifest(cell)))
    return [n for n in range(total) if is_missing(record_path(segment_path(cell, n)))]


def write_segment(cell: Path, number: int, trained: Any) -> None:
    """Commits one segment: a `Trained`-like NamedTuple with leading axis n."""
    # an empty state is left out: there is nothing to save of it
    tree = {name: part for name, part in trained._asdict().items() if part}
    identity = _identity(read_manifest(cell), number)
    save_tree(segment_path(cell, number), {**tree, "identity": identity})


def check_identity(path: Path, manifest: Mapping[str, Any], number: int, tree: Any) -> None:
    """Holds a segment against the cell and the place in which it lies; earlier versions kept none.

    Raises:
      DamageError: it is of another zoo, or of another place.
    """
    kept = tree.get("identity")
    if kept is not None and kept.tolist() != _identity(manifest, number).tolist():
        raise DamageError(f"{path} is damaged: it holds members of another zoo or segment")


def _identity(manifest: Mapping[str, Any], number: int) -> np.ndarray:
    """SHA-256, as bytes [32], of what the members of a segment follow from."""
    made_by = {name: manifest[name] for name in MADE_BY if name in manifest}
    digest = hashlib.sha256(json_text([made_by, number], indent=None).encode()).digest()
    return np.frombuffer(digest, np.uint8)


def complete_cell(cell: Path) -> None:
    """Once every segment is there: metrics into the members table, hashes into the manifest.

    Raises:
      StoreError: a segment is missing or damaged, or the members table is.
    """
    manifest = read_manifest(cell)
    if manifest["complete"]:
        return
    refuse_unfinished(cell)
    records, metrics = _collect(cell, manifest)
    members, path = read_members(cell, manifest), cell / "members.parquet"
    columns = {k: list(v) if v.ndim > 1 else v for k, v in sorted(metrics.items())}
    kept = [name for name in members.columns if name not in columns]
    content = table_bytes(members[kept].assign(**columns))
    sums = [_sha256(read_bytes(path)), _sha256(content)]
    write_manifest(cell, {**manifest, "members_sha256": sums})  # while the table changes
    write_atomically(path, lambda p: p.write_bytes(content))
    shapes = {
        name: leaf["shape"][1:] for name, leaf in records[0].items() if name.startswith("params/")
    }
    finished = {
        "complete": True,
        "shapes": {name.removeprefix("params/"): shape for name, shape in shapes.items()},
        "members_sha256": sums[1],
        "segments": records,
    }
    write_manifest(cell, {**manifest, **finished})


def _collect(
    cell: Path, manifest: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Records of all segments, and metrics [N, ...]; parameters of one segment at a time."""
    records, metrics = [], []
    for number, part in enumerate(segment_rows(manifest)):
        path = segment_path(cell, number)
        records.append(read_record(path))
        if not any(name.startswith("metrics/") for name in records[-1]):
            raise DamageError(f"{path} is damaged: its record is of no metrics")
        tree = load_tree(path, records[-1])
        check_identity(path, manifest, number, tree)
        metrics.append(tree["metrics"])
        if lengths := {len(leaf) for leaf in metrics[-1].values()} - {part.stop - part.start}:
            raise StoreError(f"{path} holds {lengths.pop()} members, not {part.stop - part.start}")
    return records, trees.concatenate(metrics)


def refuse_unfinished(cell: Path) -> None:
    """Raises where segments are missing, and tells how many."""
    if missing := missing_segments(cell):
        total = len(segment_rows(read_manifest(cell)))
        raise StoreError(
            f"{cell} is unfinished: {total - len(missing)} of {total} segments are there; "
            "run its experiment again to go on where it was"
        )


def _sha256_of_json(contents: Mapping[str, Any]) -> str:
    return _sha256(json_text(contents, indent=None).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
