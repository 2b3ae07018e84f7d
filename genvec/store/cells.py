"""One homogeneous cell of a zoo on disk: the members of one family with one architecture.

manifest.json       format version, family and its architecture, symmetry spec, seeds, package
                    versions, vmap width; SHA-256 of itself and of members.parquet; once complete
                    also the shapes by name and the SHA-256 of every leaf
members.parquet     a row a member: split, mixture, hyper-parameters; its metrics once complete
segments/00000/     Orbax: params, state and metrics of consecutive members, leading axis n
segments/00000.json its record; a segment without one was interrupted and is trained again
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from genvec import trees
from genvec.store.atomic import DamageError, StoreError
from genvec.store.checkpoints import load_tree, record_path, save_tree
from genvec.store.files import json_text, read_json, read_table, sha256_of, write_json, write_table

FORMAT_VERSION = 2


def create_cell(path: Path, manifest: Mapping[str, Any], members: pd.DataFrame) -> None:
    """Writes down what the cell is to be: its members with their mixtures and splits.

    Segments that are already there are kept, so that a damaged table can be written again.

    Args:
      path: of the cell's folder.
      manifest: needs "segment_size"; the format version and the number of members are added.
      members: a row a member, in order.
    """
    write_table(path / "members.parquet", members)
    header = {"format_version": FORMAT_VERSION, "complete": False, "num_members": len(members)}
    hashes = {"members_sha256": sha256_of(path / "members.parquet")}
    write_manifest(path, {**header, **manifest, **hashes})


def write_manifest(cell: Path, manifest: Mapping[str, Any]) -> None:
    """Replaces the manifest; the SHA-256 of its contents is added."""
    contents = {name: value for name, value in manifest.items() if name != "sha256"}
    write_json(cell / "manifest.json", {**contents, "sha256": _sha256(contents)})


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
    if manifest.get("sha256", _sha256(contents)) != _sha256(contents):
        raise DamageError(f"{path} is damaged: not the SHA-256 that it carries")
    return manifest


def read_versioned(path: Path) -> dict[str, Any]:
    """The manifest.json of a zoo or a cell, once its format version is known to be readable."""
    if not (path / "manifest.json").exists():
        raise StoreError(f"{path} holds no zoo: manifest.json is missing")
    manifest = read_json(path / "manifest.json")
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format_version"), int):
        raise DamageError(f"{path / 'manifest.json'} is damaged: it has no format version")
    if manifest["format_version"] > FORMAT_VERSION:
        raise StoreError(
            f"{path} has format version {manifest['format_version']}, this genvec reads up to "
            f"{FORMAT_VERSION}; install a newer genvec"
        )
    return manifest


def read_members(cell: Path, manifest: Mapping[str, Any]) -> pd.DataFrame:
    """The members table of a cell, [N rows]; manifests of version 1 may have no hash of it.

    Raises:
      DamageError: it is missing, or not the one that was written.
    """
    path = cell / "members.parquet"
    if not path.exists():
        raise DamageError(f"{path} is missing")
    expected = manifest.get("members_sha256")
    if expected is not None and sha256_of(path) != expected:
        raise DamageError(f"{path} is damaged: not the SHA-256 of the manifest")
    return read_table(path)


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
    return [n for n in range(total) if not record_path(segment_path(cell, n)).exists()]


def write_segment(cell: Path, number: int, trained: Any) -> None:
    """Commits one segment: a `Trained`-like NamedTuple with leading axis n."""
    # an empty state is left out: there is nothing to save of it
    save_tree(segment_path(cell, number), {k: v for k, v in trained._asdict().items() if v})


def complete_cell(cell: Path) -> None:
    """Once every segment is there: metrics into the members table, hashes into the manifest.

    Raises:
      StoreError: a segment is missing or damaged, or the members table is.
    """
    manifest = read_manifest(cell)
    if manifest["complete"]:
        return
    refuse_unfinished(cell)
    records, metrics = _collect(cell, segment_rows(manifest))
    members = read_members(cell, manifest)
    columns = {k: list(v) if v.ndim > 1 else v for k, v in sorted(metrics.items())}
    kept = [name for name in members.columns if name not in columns]
    # no hash of the table while it changes: either version of it is then a good one
    write_manifest(cell, {**manifest, "members_sha256": None})
    write_table(cell / "members.parquet", members[kept].assign(**columns))
    shapes = {
        name: leaf["shape"][1:] for name, leaf in records[0].items() if name.startswith("params/")
    }
    finished = {
        "complete": True,
        "shapes": {name.removeprefix("params/"): shape for name, shape in shapes.items()},
        "members_sha256": sha256_of(cell / "members.parquet"),
        "segments": records,
    }
    write_manifest(cell, {**manifest, **finished})


def _collect(cell: Path, rows: list[slice]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Records of all segments, and metrics [N, ...]; parameters of one segment at a time."""
    records, metrics = [], []
    for number, part in enumerate(rows):
        path = segment_path(cell, number)
        records.append(read_json(record_path(path)))
        metrics.append(load_tree(path, records[-1])["metrics"])
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


def _sha256(contents: Mapping[str, Any]) -> str:
    return hashlib.sha256(json_text(contents, indent=None).encode()).hexdigest()
