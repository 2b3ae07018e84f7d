"""Trees of arrays on disk: an Orbax checkpoint with a record of shapes and SHA-256 beside it.

The record is written last, so a checkpoint without one was interrupted and does not count; what is
read is compared with the record, since the storage itself does not notice a flipped byte.
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
    DamageError,
    flush,
    naming_write_errors,
    read_error,
    remove,
    replacing,
    temporary_beside,
)
from genvec.store.files import json_text, read_json
from genvec.trees import flatten_names, unflatten_names


def record_path(path: Path) -> Path:
    """Where the record of the checkpoint at `path` lies."""
    return path.with_name(f"{path.name}.json")


def save_tree(path: Path, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Saves nested dicts of arrays; replaces what is there once the new one is whole.

    Returns:
      The record: leaf name → {"shape", "dtype", "sha256"}.

    Raises:
      StoreError: it cannot be written; what was there before still is.
      ValueError: a dict inside it is empty, which would not come back.
    """
    tree = jax.tree.map(np.asarray, jax.device_get(dict(tree)))
    if jax.tree.structure(tree) != jax.tree.structure(unflatten_names(flatten_names(tree))):
        raise ValueError(f"a dict inside the tree of {path} is empty; leave it out")
    if jax.process_count() > 1:
        return save_alone(path, tree)
    record = {
        name: {"shape": leaf.shape, "dtype": leaf.dtype.name, "sha256": _sha256(leaf)}
        for name, leaf in flatten_names(tree).items()
    }
    with replacing(record_path(path)) as record_file, temporary_beside(path) as folder:
        record_file.write_text(json_text(record))
        with naming_write_errors(path, Exception), _quiet(linger=0.2):
            ocp.save(str(folder / path.name), tree)
        flush(folder)
        remove(record_path(path))
        remove(path)
        os.replace(folder / path.name, path)
    return record


def load_tree(path: Path, record: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Loads what `save_tree` saved, as nested dicts of numpy arrays.

    Args:
      path: of the checkpoint.
      record: of its leaves; the one beside the checkpoint by default.

    Raises:
      DamageError: the checkpoint is missing, or its bytes are not those recorded.
      StoreError: the record is missing, or it cannot be read for a reason that is no damage.
    """
    leaves: Mapping[str, Any] = read_json(record_path(path)) if record is None else record
    if jax.process_count() > 1:
        return load_alone(path, leaves)
    try:
        target = {
            name: np.empty(leaf["shape"], np.dtype(leaf["dtype"])) for name, leaf in leaves.items()
        }
        with _quiet():
            tree = ocp.load(str(path), unflatten_names(target))
        other = [n for n, x in flatten_names(tree).items() if _sha256(x) != leaves[n]["sha256"]]
    except Exception as error:  # Orbax and TensorStore raise many kinds, some of thirty lines
        raise read_error(path, error) from error
    if other:
        raise DamageError(f"{path} is damaged: {other[0]} has not the SHA-256 of its record")
    return tree


def discard_tree(path: Path) -> None:
    """Removes a checkpoint, its record first: between the two it counts as interrupted."""
    remove(record_path(path))
    remove(path)


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
