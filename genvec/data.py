"""Data sets as arrays: name → `Dataset`, decoded once and kept as uint8.

The division into a train part and a held-out part belongs to a data set's definition: it is the
official one where there is one, else a stratified fifth drawn with the fixed seed below, and no
argument changes it.
"""

import operator
import os
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from genvec.cached import cache_folder, fingerprint, read_cache, write_cache
from genvec.prepared import (
    Progress,
    names_of_classes,
    open_set,
    open_split,
    prepared_folder,
    read_images,
)
from genvec.registry import UnknownNameError, lookup
from genvec.types import Dataset
from genvec.validity import check_dataset, check_labels

HELDOUT_FRACTION = 0.2
HELDOUT_SEED = 0
# raise it when decoding or the held-out division changes: old files are then ignored
CACHE_FORMAT = 2


def load_dataset(
    name: str,
    *,
    data_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
    **args: Any,
) -> Dataset:
    """Loads a data set of `DATASETS`; images are uint8 [M, H, W, C], labels int32 [M].

    Args:
      name: key of `DATASETS`.
      data_dir: folder of prepared TFDS sets; without it $TFDS_DATA_DIR, else ~/tensorflow_datasets.
      progress: called with (images decoded, images in all) while a set is decoded the first time.
      **args: further arguments of the set's loader.

    Raises:
      KeyError: unknown name; the message lists the known ones.
      DatasetNotPrepared: the set is not in its folder; the message holds the command that
        prepares it there.
      ValueError: the set is damaged, or it is not what `check_dataset` allows.
    """
    loader = lookup(DATASETS, name, kind="dataset")
    return check_dataset(loader(data_dir=data_dir, progress=progress, **args))


def class_indices(dataset: Dataset, classes: Sequence[str | int]) -> tuple[int, ...]:
    """Class names (str) or indices (int) → indices into `dataset.class_names`, in the order given.

    Raises:
      KeyError: an unknown class; the message lists the known ones.
      TypeError: neither a name nor an index.
      ValueError: a class is given twice.
    """
    by_name = {name: index for index, name in enumerate(dataset.class_names)}
    indices = []
    for entry in classes:
        if isinstance(entry, str):
            index = lookup(by_name, entry, kind=f"class of {dataset.name}")
        else:
            if isinstance(entry, bool) or not hasattr(entry, "__index__"):
                raise TypeError(
                    f"class {entry!r} of {dataset.name}; give a name, {', '.join(by_name)}, or an "
                    f"index in 0..{len(by_name) - 1}"
                )
            index = operator.index(entry)
            if not 0 <= index < len(by_name):
                raise UnknownNameError(
                    f"unknown class index {index} of {dataset.name}; "
                    f"known: {', '.join(f'{i} ({name})' for name, i in by_name.items())}"
                )
        if index in indices:
            raise ValueError(f"class {dataset.class_names[index]!r} is given twice in {classes!r}")
        indices.append(index)
    return tuple(indices)


def load_digits(
    *, data_dir: str | os.PathLike | None = None, progress: Progress | None = None
) -> Dataset:
    """The 1,797 scanned digits that come with scikit-learn: 8×8×1, sixteen gray levels.

    Held out: a stratified fifth. Nothing is read from `data_dir`; there is no progress to report.
    Reference: Alpaydin & Kaynak 1998, UCI "Optical Recognition of Handwritten Digits" (test part).
    """
    del data_dir, progress
    return _hold_out("digits", [str(digit) for digit in range(10)], *scanned_digits())


def scanned_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [1797, 8, 8, 1] and digits int [1797] of `load_digits`, in the file's order."""
    from sklearn.datasets import load_digits as load_sklearn_digits

    bunch: Any = load_sklearn_digits()
    return np.round(bunch.images / 16 * 255).astype(np.uint8)[..., None], bunch.target


def load_tfds(
    name: str,
    *,
    data_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
    label_feature: str = "label",
    heldout_split: str | None = "test",
    gray_copies: bool = False,
) -> Dataset:
    """A prepared TFDS set, read without TensorFlow and without ever downloading.

    Decoded arrays are kept in `genvec.cached.cache_folder` (mnist 55 MB, cifar10 185 MB, omniglot
    213 MB), under a name that holds a digest of the set's files; `data_dir` is only read. A cache
    that cannot be read or written is told by a warning, and the set is decoded.

    Args:
      name: folder of the set inside `data_dir`; the highest version prepared there is read.
      data_dir: see `load_dataset`.
      progress: see `load_dataset`.
      label_feature: the feature that gives the class.
      heldout_split: split that is held out; None holds out a stratified fifth of "train", and keeps
        only the classes that "train" has images of.
      gray_copies: the channels are copies of one; keep one.

    Raises:
      DatasetNotPrepared, ValueError: see `load_dataset`; or the set lacks a split or the feature.
    """
    folder = prepared_folder(name, data_dir)
    options = [CACHE_FORMAT, name, label_feature, heldout_split, gray_copies]
    cache = cache_folder() / f"{name}-{folder.name}-{fingerprint(folder, options)[:16]}.npz"
    dataset = read_cache(cache)
    if dataset is not None:
        return dataset
    builder = open_set(folder)
    class_names = names_of_classes(builder, label_feature)
    splits = ["train"] if heldout_split is None else ["train", heldout_split]
    sources = [open_split(builder, split) for split in splits]
    total, arrays, done = sum(map(len, sources)), [], 0
    for source in sources:
        arrays.append(read_images(source, label_feature, gray_copies, progress, done, total))
        done += len(source)
    if heldout_split is None:
        dataset = _hold_out(name, class_names, *arrays[0])
    else:
        dataset = Dataset(name, class_names, *arrays[0], *arrays[1])
    write_cache(cache, check_dataset(dataset))
    return dataset


def _hold_out(
    name: str, class_names: Sequence[str], images: np.ndarray, labels: np.ndarray
) -> Dataset:
    """Holds out a fifth of every class by the fixed seed; classes without images are left out.

    Of a class of two images one is held out. The one image of a class stays in the train part, and
    a warning names the class.

    Raises:
      ValueError: labels that are no index of a class.
    """
    check_labels(labels, len(images), len(class_names), name)
    present, labels = np.unique(labels, return_inverse=True)
    labels = labels.astype(np.int32)
    rng = np.random.default_rng(HELDOUT_SEED)
    heldout = np.zeros(len(labels), bool)
    for label in range(len(present)):
        members = rng.permutation(np.flatnonzero(labels == label))
        heldout[members[: _num_heldout(len(members))]] = True
    parts = images[~heldout], labels[~heldout], images[heldout], labels[heldout]
    names = tuple(class_names[int(index)] for index in present)
    if single := [names[k] for k in np.flatnonzero(np.bincount(labels) == 1)]:
        warnings.warn(
            f"{name} has one image of class {', '.join(single)}: it is trained on, not held out",
            stacklevel=3,
        )
    return Dataset(name, names, *parts)


def _num_heldout(num: int) -> int:
    """Of `num` images of a class: a fifth; at least one, where another is left."""
    return max(round(HELDOUT_FRACTION * num), int(num > 1))


DATASETS = {
    "digits": load_digits,
    "mnist": partial(load_tfds, "mnist"),
    "fashion_mnist": partial(load_tfds, "fashion_mnist"),
    "cifar10": partial(load_tfds, "cifar10"),
    # 105×105 drawings, one bit stored as three equal channels. The class is the alphabet. The test
    # split has other alphabets than the 30 of train, so it cannot be what is held out.
    "omniglot": partial(
        load_tfds, "omniglot", label_feature="alphabet", heldout_split=None, gray_copies=True
    ),
}
