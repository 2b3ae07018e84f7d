"""Collections at rest: objects, the group each belongs to and the class of each group."""

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from genvec.data import load_tfds, scanned_digits
from genvec.images import shrink_images
from genvec.prepared import Progress, feature_names, read_features
from genvec.registry import lookup
from genvec.validity import check_images, check_labels

TURNS = 4  # by 0, 90, 180 and 270 degrees
SCANS = 20  # of a group of digits, at least


class Collections(NamedTuple):
    """Objects of G groups; a group G_{j,k} holds objects of one class k (drawings of a letter)."""

    images: np.ndarray  # uint8 [M, H, W, C]
    group: np.ndarray  # int32 [M] in 0..G-1
    group_class: np.ndarray  # int32 [G] in 0..K-1
    group_names: tuple[str, ...]  # G
    class_names: tuple[str, ...]  # K


class Members(NamedTuple):
    """Which objects a group has, as one array for all groups."""

    index: np.ndarray  # int32 [G, n] objects; the first again where a group has fewer than n
    mask: np.ndarray  # bool [G, n]

    @property
    def sizes(self) -> np.ndarray:
        """Objects of each group, int [G]."""
        return self.mask.sum(axis=1)


def load_collections(
    name: str,
    *,
    size: int = 0,
    data_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> tuple[Collections, Collections]:
    """The collections to learn from, and those of classes that are not among them.

    Args:
      name: key of `COLLECTIONS`.
      size: side that images are shrunk to, by means over areas; 0 for as they are.
      data_dir, progress: see `genvec.data.load_dataset`.

    Raises:
      KeyError: unknown name; the message lists the known ones.
      ValueError: a size that is larger than the images, parts whose images differ in shape, or
        one that `check_collections` refuses.
      DatasetNotPrepared: see `genvec.data.load_dataset`.
    """
    load = lookup(COLLECTIONS, name, kind="set of collections")
    parts = load(data_dir=data_dir, progress=progress)
    for part in parts:
        check_collections(part, name)
    known, unseen = (" × ".join(map(str, part.images.shape[1:])) for part in parts)
    if known != unseen:
        raise ValueError(
            f"{name} has images of {known} to learn from and of {unseen} to evaluate on; one "
            "encoder takes one height, width and number of channels"
        )
    if not size:
        return parts
    train, test = (part._replace(images=shrink_images(part.images, size)) for part in parts)
    return train, test


def check_collections(collections: Collections, name: str) -> None:
    """Whether every object is of a group and every group of a class, and none is empty.

    Raises:
      TypeError, ValueError: images that are not uint8 [M, H, W, C]; numbers of groups or classes
        out of range; a group without objects or a class without groups, which is named.
    """
    images, group, group_class, group_names, class_names = collections
    check_images(images, f"images of {name}")
    check_labels(group, len(images), len(group_names), f"groups of {name}")
    check_labels(group_class, len(group_names), len(class_names), f"classes of {name}")
    for numbers, names, what in (
        (group, group_names, "group {} has no object"),
        (group_class, class_names, "class {} has no group"),
    ):
        counts = np.bincount(numbers, minlength=len(names))
        if not names or not counts.all():
            empty = repr(names[int(np.argmin(counts))]) if names else "0"
            raise ValueError(f"{name}: {what.format(empty)}")


def load_omniglot(
    *, data_dir: str | os.PathLike | None = None, progress: Progress | None = None
) -> tuple[Collections, Collections]:
    """Omniglot, ink on 0: the 30 background alphabets, and the 20 of evaluation.

    A class is an alphabet, a group the 20 drawings of one of its characters, each by another hand:
    964 groups to learn from, 659 to evaluate on; 105×105×1.
    Reference: Lake et al. 2015, "Human-level concept learning through probabilistic program
    induction", Science 350.
    """
    dataset = load_tfds(
        "omniglot",
        data_dir=data_dir,
        progress=progress,
        label_feature="label",
        heldout_split="test",
        gray_copies=True,
    )
    alphabets = feature_names("omniglot", "alphabet", data_dir=data_dir)
    parts = []
    for split, images, label in (
        ("train", dataset.images, dataset.labels),
        ("test", dataset.heldout_images, dataset.heldout_labels),
    ):
        columns = ("alphabet", "alphabet_char_id")
        alphabet, character = read_features("omniglot", split, columns, data_dir=data_dir).values()
        check_labels(alphabet, len(images), len(alphabets), f"alphabets of omniglot, {split} part")
        _, first, group = np.unique(label, return_index=True, return_inverse=True)
        present, group_class = np.unique(alphabet[first], return_inverse=True)
        class_names = tuple(alphabets[k] for k in present)
        if (odd := np.flatnonzero(alphabet != alphabet[first][group])).size:
            raise ValueError(
                f"omniglot, {split} part: drawing {odd[0]} is of {alphabets[alphabet[odd[0]]]}, "
                "others of its character are of another alphabet"
            )
        names = tuple(f"{alphabets[alphabet[i]]} {character[i]}" for i in first)
        integers = (group.astype(np.int32), group_class.astype(np.int32))
        parts.append(Collections(255 - images, *integers, names, class_names))
    return parts[0], parts[1]


def load_digit_collections(
    *, data_dir: str | os.PathLike | None = None, progress: Progress | None = None
) -> tuple[Collections, Collections]:
    """scikit-learn's digits: 0 to 5 to learn from, 6 to 9 to evaluate on; 8×8×1.

    A class is a digit, a group some 20 scans of it that follow each other in the file. The file
    goes from writer to writer, so a group is a digit in a few hands. Nothing is read from
    `data_dir`; there is no progress to report.
    Reference: Alpaydin & Kaynak 1998, UCI "Optical Recognition of Handwritten Digits" (test part).
    """
    del data_dir, progress
    images, digit_of = scanned_digits()
    parts = []
    for digits in (range(6), range(6, 10)):
        rows, group, group_class, names = [], [], [], []
        for k, digit in enumerate(digits):
            scans = np.flatnonzero(digit_of == digit)
            for j, block in enumerate(np.array_split(scans, len(scans) // SCANS)):
                rows.append(block)
                group.append(np.full(len(block), len(names), np.int32))
                group_class.append(k)
                names.append(f"{digit} by hands {j}")
        index, classes = np.concatenate(rows), np.array(group_class, np.int32)
        digit_names = tuple(map(str, digits))
        parts.append(
            Collections(images[index], np.concatenate(group), classes, tuple(names), digit_names)
        )
    return parts[0], parts[1]


def select_classes(collections: Collections, num: int) -> tuple[Collections, Collections]:
    """Without the last `num` classes, and these alone: for choices that evaluation must not see.

    Raises:
      ValueError: fewer than two classes would stay, or two go.
    """
    num_classes = len(collections.class_names)
    if not 2 <= num <= num_classes - 2:
        raise ValueError(f"{num} classes to validate on; allowed: 2..{num_classes - 2}")
    last = collections.group_class >= num_classes - num
    return _of_groups(collections, ~last), _of_groups(collections, last)


def _of_groups(collections: Collections, kept: np.ndarray) -> Collections:
    """The groups where `kept` [G] is true, numbered anew, as are their classes."""
    images, group, group_class, group_names, class_names = collections
    rows, groups = np.flatnonzero(kept[group]), np.flatnonzero(kept)
    classes, group_class = np.unique(group_class[groups], return_inverse=True)
    return Collections(
        images[rows],
        np.searchsorted(groups, group[rows]).astype(np.int32),
        group_class.astype(np.int32),
        tuple(group_names[j] for j in groups),
        tuple(class_names[k] for k in classes),
    )


def members_of(collections: Collections) -> Members:
    """Who belongs to which group, in the order of the objects.

    Raises:
      ValueError: a group has no object; the message names it.
    """
    sizes = np.bincount(collections.group, minlength=len(collections.group_names))
    if not sizes.all():
        empty = collections.group_names[int(np.argmin(sizes))]
        raise ValueError(f"group {empty!r} has no object")
    order = np.argsort(collections.group, kind="stable")
    starts = np.cumsum(sizes) - sizes
    place = np.arange(sizes.max())
    mask = place < sizes[:, None]
    index = order[np.where(mask, starts[:, None] + place, starts[:, None])]
    return Members(index.astype(np.int32), mask)


def check_sizes(collections: Collections, least: int, what: str) -> None:
    """Raises ValueError, with the group's name, where a group has fewer than `least` objects."""
    sizes = members_of(collections).sizes
    if (sizes < least).any():
        small = int(np.argmin(sizes))
        raise ValueError(
            f"group {collections.group_names[small]!r} has {sizes[small]} objects; {what} "
            f"needs at least {least} of each group"
        )


def turned(collections: Collections) -> Collections:
    """With every object turned by 90, 180 and 270 degrees: four times as many groups and classes.

    Reference: the usual augmentation of Omniglot, Vinyals et al. 2016, arXiv 1606.04080, section
    4.1.1.

    Raises:
      ValueError: images that are not square.
    """
    images, group, group_class, group_names, class_names = collections
    if images.shape[1] != images.shape[2]:
        raise ValueError(f"images of {images.shape[1:3]} do not fit on themselves when turned")
    num_groups, num_classes = len(group_names), len(class_names)
    suffixes = ["", *(f" {90 * turn}°" for turn in range(1, TURNS))]
    return Collections(
        np.concatenate([np.rot90(images, turn, (1, 2)) for turn in range(TURNS)]),
        np.concatenate([group + turn * num_groups for turn in range(TURNS)]),
        np.concatenate([group_class + turn * num_classes for turn in range(TURNS)]),
        tuple(name + suffix for suffix in suffixes for name in group_names),
        tuple(name + suffix for suffix in suffixes for name in class_names),
    )


COLLECTIONS: Mapping[str, Callable[..., tuple[Collections, Collections]]] = {
    "digits": load_digit_collections,
    "omniglot": load_omniglot,
}
