"""Trees of arrays on disk: an Orbax checkpoint with a record of shapes and SHA-256 beside it.

name/          the checkpoint
.name.sha256   SHA-256 of its files and of the record: they prove damage without Orbax
name.json      the record: leaf name → {"shape", "dtype", "sha256"}

The record comes last, so a checkpoint without one was interrupted and does not count; what is read
is compared with the record, since the storage itself does not notice a flipped byte.
"""

import hashlib
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from genvec.store.alone import load_alone, save_alone
from genvec.store.atomic import (
    REPLACED,
    flush,
    flush_entry,
    hidden_beside,
    remove,
    set_aside,
    temporary_beside,
)
from genvec.store.errors import (
    DamageError,
    StoreError,
    entries,
    is_missing,
    naming_write_errors,
    reason_of,
)
from genvec.store.files import json_text, read_json
from genvec.store.sums import changed_files, read_sums, sha256_of, sums_of_files, sums_path
from genvec.trees import flatten_names, unflatten_names

MOST_BYTES = 2**40  # of a leaf that a record speaks of; beyond it the record is no record of ours


def record_path(path: Path) -> Path:
    """Where the record of the checkpoint at `path` lies."""
    return path.with_name(f"{path.name}.json")


def checkpoint_parts(path: Path) -> tuple[Path, Path, Path]:
    """All that a checkpoint is on disk; the record, which makes it count, first."""
    return record_path(path), sums_path(path), path


def is_saved(path: Path) -> bool:
    """True where a checkpoint was committed; one whose replacement was killed is put back first."""
    if is_missing(record_path(path)):
        for old in _replaced(path):
            _put_back(path, old)
    return not is_missing(record_path(path))


def save_tree(path: Path, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Saves nested dicts of arrays; replaces what is there once the new one is whole.

    Returns:
      The record: leaf name → {"shape", "dtype", "sha256"}.

    Raises:
      StoreError: it cannot be written; what was there before still is.
      ValueError: a dict inside it is empty, which would not come back.
    """
    path = Path(path).absolute()
    tree = jax.tree.map(np.asarray, jax.device_get(dict(tree)))
    if jax.tree.structure(tree) != jax.tree.structure(unflatten_names(flatten_names(tree))):
        raise ValueError(f"a dict inside the tree of {path} is empty; leave it out")
    if jax.process_count() > 1:
        return save_alone(path, tree)
    record = {
        name: {"shape": leaf.shape, "dtype": leaf.dtype.name, "sha256": _sha256(leaf)}
        for name, leaf in flatten_names(tree).items()
    }
    with naming_write_errors(path), temporary_beside(path) as folder:
        if path.exists() and not path.is_dir():
            raise StoreError(f"{path} is a file, not a checkpoint; give another name")
        new = folder / path.name
        folder.mkdir()
        record_path(new).write_text(json_text(record))
        with naming_write_errors(path, Exception), _quiet(linger=0.2):
            ocp.save(str(new), tree)
        sums = [*sums_of_files(new), (sha256_of(record_path(new)), record_path(new).name)]
        sums_path(new).write_text("".join(f"{digest}  {name}\n" for digest, name in sums))
        flush(folder)
        _replace(path, new)
    return record


def _replace(path: Path, new: Path) -> None:
    """Puts a whole new checkpoint in the place of the old one, which stays if that fails."""
    old, placed = hidden_beside(path, ".old"), []
    if is_missing(record_path(path)):  # what lies there was never committed, or is not ours
        set_aside(path.parent, *checkpoint_parts(path))
    try:
        for part in checkpoint_parts(path):  # from the moment its record is away it does not count
            if not is_missing(part):
                old.mkdir(exist_ok=True)
                os.rename(part, old / part.name)
        for part in reversed(checkpoint_parts(new)):
            os.rename(part, path.parent / part.name)
            placed.append(part)
    except BaseException:
        for part in placed:
            os.rename(path.parent / part.name, part)
        _put_back(path, old)
        raise
    flush_entry(path.parent)
    remove(old)


def _put_back(path: Path, old: Path) -> None:
    """Undoes the first half of `_replace`, the record last; what has none does not count."""
    for part in reversed(checkpoint_parts(path)):
        if not is_missing(old / part.name):
            set_aside(path.parent, part)
            os.rename(old / part.name, part)
    if not entries(old):
        remove(old)


def _replaced(path: Path) -> list[Path]:
    """Folders into which replacements that were killed had moved the checkpoint at `path`."""
    named = ((old, REPLACED.fullmatch(old.name)) for old in entries(path.parent))
    return [old for old, match in named if match and match[1] == path.name]


def load_tree(path: Path, record: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Loads what `save_tree` saved, as nested dicts of numpy arrays.

    Args:
      path: of the checkpoint.
      record: of its leaves; the one beside the checkpoint by default.

    Raises:
      DamageError: the checkpoint is missing, or its bytes are not those recorded.
      StoreError: the record is missing, or it cannot be read for a reason that is no damage.
    """
    path = Path(path).absolute()
    if record is None:
        is_saved(path)  # puts back what a failed replacement could not
    leaves = read_record(path) if record is None else record
    target = _target(path, leaves)
    if jax.process_count() > 1:
        return load_alone(path, leaves)
    try:
        with _quiet():
            loaded = flatten_names(ocp.load(str(path), unflatten_names(target)))
        if loaded.keys() != target.keys():
            raise ValueError(f"Orbax loaded {sorted(loaded)}, not {sorted(target)}")
        other = [name for name, leaf in loaded.items() if _sha256(leaf) != leaves[name]["sha256"]]
    except Exception as error:  # Orbax and TensorStore raise many kinds, some of thirty lines
        raise _read_error(path, error) from error
    if other:
        raise DamageError(f"{path} is damaged: {other[0]} has not the SHA-256 of its record")
    return unflatten_names(loaded)


def read_record(path: Path) -> dict[str, Any]:
    """The record of the checkpoint at `path`: leaf name → {"shape", "dtype", "sha256"}.

    Raises:
      DamageError: it is not what was written.
      StoreError: there is none, or it cannot be read.
    """
    record = record_path(path)
    leaves = read_json(record)
    sums = read_sums(sums_path(path))
    known = sums is None or any(name == record.name for _, name in sums)
    if not known or changed_files(path, record.name):
        raise DamageError(f"{record} is damaged: it is not the file that was written")
    _target(path, leaves)
    return leaves


def _target(path: Path, leaves: Any) -> dict[str, np.ndarray]:
    """Empty arrays of the shapes in a record, which came from the disk and is not believed."""
    try:
        target = {}
        for name, leaf in leaves.items():
            dtype = np.dtype(leaf["dtype"])
            shape = tuple(leaf["shape"])
            sized = all(type(n) is int and n >= 0 for n in shape)
            if not sized or dtype.hasobject or not isinstance(leaf["sha256"], str):
                raise ValueError(f"{name} has shape {shape} and type {dtype}")
            if dtype.itemsize * np.prod(shape, dtype=float) > MOST_BYTES:
                raise ValueError(f"{name} has shape {shape}, more than {MOST_BYTES} bytes")
            target[name] = np.empty(shape, dtype)
        unflatten_names(target)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{record_path(path)} is damaged: no record of a checkpoint"
        raise DamageError(f"{reason} ({reason_of(error)})") from error
    except MemoryError as error:
        raise StoreError(f"{path} cannot be read: {reason_of(error)}") from error
    return target


def _read_error(path: Path, error: Exception) -> StoreError:
    """Damage if the files themselves prove it; whatever Orbax says is no proof."""
    if is_missing(path):
        return DamageError(f"{path} is damaged: the checkpoint is not there")
    if path.is_symlink() and not path.exists():
        return StoreError(f"{path} cannot be read: it is a link that leads nowhere")
    if changed := changed_files(path, f"{path.name}/"):
        return DamageError(f"{path} is damaged: {changed[0]} is not the file that was written")
    reason = f"{path} cannot be read: {reason_of(error)}"
    if read_sums(sums_path(path)) is None:  # of an earlier version
        reason += "; if its files are damaged, move it away and run its experiment again"
    return StoreError(reason)


def discard_tree(path: Path) -> None:
    """Removes a checkpoint that was only kept for the time being, its record first; what has no
    record is none."""
    if is_saved(path):
        for part in (*checkpoint_parts(path), *_replaced(path)):
            remove(part)


def _sha256(leaf: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(leaf).data).hexdigest()


@contextmanager
def _quiet(linger: float = 0.0) -> Iterator[None]:
    """Keeps to itself what Orbax's threads print of a failure, which is raised as well.

    Args:
      linger: seconds to wait after a failure, for threads that tell of it late.
    """
    loggers = [logging.getLogger(name) for name in ("absl", "concurrent.futures")]
    before, hook = [logger.disabled for logger in loggers], sys.unraisablehook

    def unraisable(unraised):
        if str(unraised.exc_value) != "Event loop is closed":
            hook(unraised)

    sys.unraisablehook = unraisable
    try:
        for logger in loggers:
            logger.disabled = True
        yield
    except Exception:
        time.sleep(linger)
        raise
    finally:
        sys.unraisablehook = hook
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled
