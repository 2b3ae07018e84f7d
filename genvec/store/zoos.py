"""The zoo on disk, the interface between training a zoo and reading one.

manifest.json       format version, family and its architecture, symmetry spec, shapes by name,
                    seeds, package versions, vmap width; SHA-256 of every leaf once complete
members.parquet     a row a member: split, mixture, hyper-parameters; its metrics once complete
segments/00000/     Orbax: params, state and metrics of consecutive members, leading axis n
segments/00000.json its record; a segment without one was interrupted and is trained again
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genvec import trees
from genvec.store.checkpoints import load_tree, record_path, save_tree
from genvec.store.files import (
    StoreError,
    read_json,
    read_table,
    sha256_of,
    write_json,
    write_table,
)
from genvec.types import Zoo

FORMAT_VERSION = 1
SPLITS = ("train", "val", "test", "sum")  # "sum": the third members of composition triplets


def create_zoo(path: Path, manifest: Mapping[str, Any], members: pd.DataFrame) -> None:
    """Writes down what the zoo is to be: its members with their mixtures and splits.

    Args:
      path: of the zoo's folder.
      manifest: needs "segment_size"; the format version and the number of members are added.
      members: a row a member, in order.
    """
    write_table(path / "members.parquet", members)
    header = {"format_version": FORMAT_VERSION, "complete": False, "num_members": len(members)}
    write_json(path / "manifest.json", {**header, **manifest})


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a zoo, complete or not.

    Raises:
      StoreError: there is none, or it is of a newer format version.
    """
    if not (path / "manifest.json").exists():
        raise StoreError(f"{path} holds no zoo: manifest.json is missing")
    manifest = read_json(path / "manifest.json")
    if manifest["format_version"] > FORMAT_VERSION:
        raise StoreError(
            f"{path} has format version {manifest['format_version']}, this genvec reads up to "
            f"{FORMAT_VERSION}; install a newer genvec"
        )
    return manifest


def segment_rows(manifest: Mapping[str, Any]) -> list[slice]:
    """The members of each segment."""
    num, size = manifest["num_members"], manifest["segment_size"]
    return [slice(start, min(start + size, num)) for start in range(0, num, size)]


def segment_path(path: Path, number: int) -> Path:
    """The checkpoint of one segment."""
    return path / "segments" / f"{number:05d}"


def missing_segments(path: Path) -> list[int]:
    """Numbers of the segments that are still to be trained."""
    total = len(segment_rows(read_manifest(path)))
    return [n for n in range(total) if not record_path(segment_path(path, n)).exists()]


def write_segment(path: Path, number: int, trained: Any) -> None:
    """Commits one segment: a `Trained`-like NamedTuple with leading axis n."""
    # an empty state is left out: there is nothing to save of it
    save_tree(segment_path(path, number), {k: v for k, v in trained._asdict().items() if v})


def complete_zoo(path: Path) -> None:
    """Once every segment is there: metrics into the members table, hashes into the manifest.

    Raises:
      StoreError: a segment is missing or damaged.
    """
    manifest = read_manifest(path)
    if manifest["complete"]:
        return
    _refuse_unfinished(path)
    numbers = range(len(segment_rows(manifest)))
    records = [read_json(record_path(segment_path(path, number))) for number in numbers]
    metrics = trees.concatenate([load_tree(segment_path(path, n))["metrics"] for n in numbers])
    columns = {k: list(v) if v.ndim > 1 else v for k, v in sorted(metrics.items())}
    members = read_table(path / "members.parquet")
    kept = [name for name in members.columns if name not in columns]
    write_table(path / "members.parquet", members[kept].assign(**columns))
    shapes = {
        name: leaf["shape"][1:] for name, leaf in records[0].items() if name.startswith("params/")
    }
    finished = {
        "complete": True,
        "shapes": {name.removeprefix("params/"): shape for name, shape in shapes.items()},
        "members_sha256": sha256_of(path / "members.parquet"),
        "segments": records,
    }
    write_json(path / "manifest.json", {**manifest, **finished})


def load_zoo(
    path: str | Path,
    split: str | Sequence[str] | None = None,
    members: Sequence[int] | np.ndarray | None = None,
    finite_only: bool = False,
) -> Zoo:
    """Reads trained members from disk.

    Args:
      path: the zoo's folder, such as `runs/digits/zoo`.
      split: "train", "val", "test" or "sum" (the third members of composition triplets), or several
        of them; all by default.
      members: indices of the members wanted; all by default. With `split`, those in both.
      finite_only: leave out members that diverged; they are kept, and flagged, by default.

    Returns:
      `Zoo`: parameters and state as nested dicts of numpy arrays [N, ...], addressed by name; the
      members table (N rows, same order); the manifest.

    Raises:
      StoreError: the zoo is missing, unfinished, damaged or of a newer format version.
      ValueError: an unknown split, or members that the zoo does not have.
    """
    path = Path(path).absolute()
    manifest = read_manifest(path)
    if not manifest["complete"]:
        _refuse_unfinished(path)
        raise StoreError(f"{path} is unfinished: run its experiment again to complete it")
    if sha256_of(path / "members.parquet") != manifest["members_sha256"]:
        raise StoreError(f"{path / 'members.parquet'} is damaged: not the SHA-256 of the manifest")
    table = read_table(path / "members.parquet")
    rows = _select(table, split, members, finite_only)
    parts = []
    for number, segment in enumerate(segment_rows(manifest)):
        inside = rows[(rows >= segment.start) & (rows < segment.stop)]
        if len(inside):
            tree = load_tree(segment_path(path, number), manifest["segments"][number])
            parts.append(trees.take({"state": {}, **tree}, inside - segment.start))
    if not parts:
        raise ValueError(f"no member of {path} is asked for: split={split!r}, members={members!r}")
    whole = trees.concatenate([{k: part[k] for k in ("params", "state")} for part in parts])
    return Zoo(whole["params"], whole["state"], table.iloc[rows].reset_index(drop=True), manifest)


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


def _refuse_unfinished(path: Path) -> None:
    if missing := missing_segments(path):
        total = len(segment_rows(read_manifest(path)))
        raise StoreError(
            f"{path} is unfinished: {total - len(missing)} of {total} segments are there; "
            "run its experiment again to go on where it was"
        )
