"""Labelled images as people have them: whole, without a class, of other types and shapes."""

from typing import Any, NamedTuple

import numpy as np

from benchmarks.faults.actions import pick
from genvec.types import Dataset

NAMES = ("a", "b", "c", "d")
NUM, NUM_HELDOUT = 60, 24
STEP = 60  # an image of class k is 60 k + 20 everywhere, so that it tells its class
SHAPE = (4, 4, 1)


class Odd(NamedTuple):
    """A data set with the classes that are asked of it."""

    told: str
    dataset: Dataset
    classes: tuple[Any, ...]
    # whether it is to be refused, taken, or (None) whatever is right of the two
    refuse: bool | None


def draw_odd(rng: np.random.Generator) -> Odd:
    """One of `ODDITIES`."""
    return pick(rng, ODDITIES)(rng, _labels(rng, NUM), _labels(rng, NUM_HELDOUT))


def _labels(rng: np.random.Generator, num: int) -> np.ndarray:
    return rng.permutation(np.arange(num) % len(NAMES)).astype(np.int32)


def _made(told, labels, heldout, classes=(0, 1, 2), refuse: bool | None = False, **changes) -> Odd:
    parts = [(STEP * np.clip(x, 0, 3) + 20).astype(np.uint8) for x in (labels, heldout)]
    images, heldout_images = (np.tile(x[:, None, None, None], (1, *SHAPE)) for x in parts)
    whole = Dataset("odd", NAMES, images, labels, heldout_images, heldout)._replace(**changes)
    return Odd(told, whole, tuple(classes), refuse)


def ordinary(rng, labels, heldout):
    """Nothing is odd; the classes in some order."""
    return _made("an ordinary set", labels, heldout, rng.permutation(4)[:3].tolist())


def no_train_images(rng, labels, heldout):
    """A chosen class has none: a mixture cannot be drawn."""
    lost = int(rng.integers(3))
    labels = np.where(labels == lost, 3, labels).astype(np.int32)
    return _made(f"no train image of class {lost}", labels, heldout, refuse=True)


def no_heldout_images(rng, labels, heldout):
    """A chosen class has no held-out ones."""
    lost = int(rng.integers(3))
    heldout = np.where(heldout == lost, 3, heldout).astype(np.int32)
    heldout[:4] = (lost + 1) % 3
    return _made(f"no held-out image of class {lost}", labels, heldout, refuse=None)


def one_image(rng, labels, heldout):
    """Of a chosen class."""
    few = int(rng.integers(3))
    rows = np.flatnonzero(labels == few)
    labels[rows[1:]] = 3
    return _made(f"one image of class {few}", labels, heldout)


def not_chosen_is_empty(rng, labels, heldout):
    """A class that nobody asks for has no images."""
    labels, heldout = (np.where(x == 3, 0, x).astype(np.int32) for x in (labels, heldout))
    return _made("no image of a class that is not chosen", labels, heldout)


def labels_out_of_range(rng, labels, heldout):
    """Of a class that has no name."""
    value = pick(rng, (-1, 4, 99))
    (labels if rng.random() < 0.5 else heldout)[:5] = value
    return _made(f"labels of {value}", labels, heldout, refuse=True)


def odd_classes(rng, labels, heldout):
    """Classes that are none, or one twice."""
    classes = pick(rng, ((0, 1, -1), (0, 1, 4), (0, 1, 1), (0, 1, 99), (0, 1.5, 2), (0, None)))
    return _made(f"classes {classes}", labels, heldout, classes, refuse=True)


def other_type(rng, labels, heldout):
    """Images that are not of 0..255."""
    odd = _made("", labels, heldout)
    kind = pick(rng, (np.float32, np.float64, np.uint16, np.int64, bool))
    images = (odd.dataset.images / 255).astype(kind) if kind in (np.float32, bool) else None
    images = odd.dataset.images.astype(kind) if images is None else images
    whole = odd.dataset._replace(images=images)
    return Odd(f"images of {np.dtype(kind)}", whole, odd.classes, True)


def not_a_number(rng, labels, heldout):
    """Floats with a NaN."""
    odd = _made("", labels, heldout)
    images = odd.dataset.images.astype(np.float32)
    images[3, 0, 0, 0] = np.nan
    return Odd("images with a NaN", odd.dataset._replace(images=images), odd.classes, True)


def other_label_type(rng, labels, heldout):
    """Labels as floats, text or whole columns."""
    kind = pick(rng, ("halves", "text", "column", "NaN"))
    odd = {
        "halves": labels + 0.5,
        "text": labels.astype(str),
        "column": labels[:, None],
        "NaN": np.where(labels == 3, np.nan, labels),
    }[kind]
    made = _made("", labels, heldout)
    return Odd(f"labels: {kind}", made.dataset._replace(labels=odd), made.classes, True)


def wide_labels(rng, labels, heldout):
    """Labels of another integer type, which is fine."""
    kind = pick(rng, (np.int64, np.uint8, np.int8))
    return _made(f"labels of {np.dtype(kind)}", labels.astype(kind), heldout.astype(kind))


def unequal_lengths(rng, labels, heldout):
    """More images than labels, or fewer."""
    made = _made("", labels, heldout)
    part = pick(rng, ("labels", "images", "heldout_labels", "heldout_images"))
    short = getattr(made.dataset, part)[:-3]
    return Odd(f"{part}: 3 less", made.dataset._replace(**{part: short}), made.classes, True)


def other_shapes(rng, labels, heldout):
    """Images without channels, or held-out ones of another size."""
    made = _made("", labels, heldout)
    if rng.random() < 0.5:
        images = made.dataset.images[..., 0]
        return Odd("no axis of channels", made.dataset._replace(images=images), (0, 1, 2), True)
    smaller = made.dataset.heldout_images[:, :3]
    whole = made.dataset._replace(heldout_images=smaller)
    return Odd("smaller held-out images", whole, made.classes, True)


def nothing_at_all(rng, labels, heldout):
    """No images."""
    made = _made("", labels[:0], heldout)
    return Odd("no train images", made.dataset, made.classes, True)


ODDITIES = (
    ordinary,
    no_train_images,
    no_heldout_images,
    one_image,
    not_chosen_is_empty,
    labels_out_of_range,
    odd_classes,
    other_type,
    not_a_number,
    other_label_type,
    wide_labels,
    unequal_lengths,
    other_shapes,
    nothing_at_all,
)
