"""Trees of arrays on disk: an Orbax checkpoint with a record of shapes and SHA-256 beside it.

The record is written last, so a checkpoint without one was interrupted and does not count; what is
read is compared with the record, since the storage itself does not notice a flipped byte.
"""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from genvec.store.files import StoreError, read_json, write_json
from genvec.trees import flatten_names, unflatten_names


def record_path(path: Path) -> Path:
    """Where the record of the checkpoint at `path` lies."""
    return path.with_name(f"{path.name}.json")


def save_tree(path: Path, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Saves nested dicts of arrays; replaces what an interrupted save left.

    Returns:
      The record: leaf name → {"shape", "dtype", "sha256"}.
    """
    tree = jax.tree.map(np.asarray, jax.device_get(dict(tree)))
    record_path(path).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    ocp.save(str(path), tree)
    record = {
        name: {"shape": leaf.shape, "dtype": leaf.dtype.name, "sha256": _sha256(leaf)}
        for name, leaf in flatten_names(tree).items()
    }
    write_json(record_path(path), record)
    return record


def load_tree(path: Path, record: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Loads what `save_tree` saved, as nested dicts of numpy arrays.

    Args:
      path: of the checkpoint.
      record: of its leaves; the one beside the checkpoint by default.

    Raises:
      StoreError: the checkpoint is missing or unreadable, or its bytes are not those recorded.
    """
    leaves: Mapping[str, Any] = read_json(record_path(path)) if record is None else record
    target = {
        name: np.empty(leaf["shape"], np.dtype(leaf["dtype"])) for name, leaf in leaves.items()
    }
    try:
        tree = ocp.load(str(path), unflatten_names(target))
    except Exception as error:  # Orbax and TensorStore raise many kinds, some of thirty lines
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise StoreError(f"{path} cannot be read: {reason[0][:200]}") from error
    for name, leaf in flatten_names(tree).items():
        if _sha256(leaf) != leaves[name]["sha256"]:
            raise StoreError(f"{path} is damaged: {name} has not the SHA-256 of its record")
    return tree


def _sha256(leaf: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(leaf).data).hexdigest()
