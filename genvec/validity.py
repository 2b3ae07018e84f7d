"""What a data set must be before anything is drawn from it or trained on it."""

import warnings
from collections.abc import Sequence

import jax
import numpy as np

from genvec.types import Array, Dataset


def check_dataset(dataset: Dataset) -> Dataset:
    """The same data set, once it is what `Dataset` says it is.

    A class may be without images here: `check_classes` refuses it where it is asked for.

    Raises:
      TypeError: images or labels are no arrays.
      ValueError: images that are not uint8 [M, H, W, C], or differ in shape between the two parts;
        other labels than integers [M] in 0..K-1; no train image; class names given twice. The
        message names the data set, the part, the value and what is allowed.
    """
    name, class_names = dataset.name, dataset.class_names
    if not class_names or len(set(class_names)) < len(class_names):
        raise ValueError(f"class names of {name} are {class_names}; give each class its own name")
    train, heldout = dataset.images, dataset.heldout_images
    check_images(train, f"images of {name}")
    check_images(heldout, f"held-out images of {name}")
    if train.shape[1:] != heldout.shape[1:]:
        raise ValueError(
            f"images of {name} are {train.shape[1:]}, held-out ones {heldout.shape[1:]}; "
            "give both parts one height, width and number of channels"
        )
    if not len(train):
        raise ValueError(f"{name} has no image to train on")
    check_labels(dataset.labels, len(train), len(class_names), f"{name}, train part")
    check_labels(dataset.heldout_labels, len(heldout), len(class_names), f"{name}, held-out part")
    return dataset


def check_images(images: Array, origin: str) -> None:
    """Raises TypeError or ValueError unless `images` are uint8 [M, H, W, C].

    Members see them as [0, 1]; outside of it a Bernoulli likelihood, and the sigmoid that decoders
    end with, have no meaning.
    """
    if not isinstance(images, np.ndarray | jax.Array):
        raise TypeError(f"{origin} are a {type(images).__name__}; give an array")
    if images.dtype != np.uint8:
        extent = f", from {images.min()} to {images.max()}" if images.size else ""
        raise ValueError(
            f"{origin} are {images.dtype}{extent}; give uint8 0..255, which members see as [0, 1]"
        )
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise ValueError(f"{origin} have shape {images.shape}; give [M, H, W, C]")


def check_labels(labels: Array, num: int, num_classes: int, origin: str) -> None:
    """Raises TypeError or ValueError unless `labels` are integers [num] in 0..num_classes-1."""
    if not isinstance(labels, np.ndarray | jax.Array):
        raise TypeError(f"{origin}: labels are a {type(labels).__name__}; give an array")
    if labels.shape != (num,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{origin}: labels are {labels.dtype} of shape {labels.shape}; give one integer for "
            f"each of the {num} images"
        )
    values = np.asarray(labels)
    outside = np.flatnonzero((values < 0) | (values >= num_classes))
    if len(outside):
        raise ValueError(
            f"{origin}: label {values[outside[0]]} at image {outside[0]}, and {len(outside) - 1} "
            f"more like it; allowed: 0..{num_classes - 1}, the index of a class"
        )


def check_classes(dataset: Dataset, classes: Sequence[int]) -> None:
    """Whether each of `classes` can be drawn from, and measured.

    A class without held-out images is told by a warning: metrics on held-out images then leave it
    out, see `genvec.mixtures.heldout_weights`.

    Raises:
      ValueError: a class has no train image, or none of them has a held-out one.
    """
    if empty := without_images(dataset, dataset.labels, classes):
        raise ValueError(
            f"{dataset.name} has no train image of class {', '.join(empty)}; "
            "leave it out of the classes, nothing can be drawn from it"
        )
    unmeasured = without_images(dataset, dataset.heldout_labels, classes)
    if len(unmeasured) == len(classes):
        raise ValueError(
            f"{dataset.name} has no held-out image of class {', '.join(unmeasured)}; "
            "members are measured on held-out images, give at least one"
        )
    if unmeasured:
        warnings.warn(
            f"{dataset.name} has no held-out image of class {', '.join(unmeasured)}: metrics on "
            "held-out images are means over the other classes",
            stacklevel=3,
        )


def without_images(dataset: Dataset, labels: Array, classes: Sequence[int]) -> list[str]:
    """Names of those of `classes` that none of `labels` has; labels are of one part of the set."""
    counts = np.bincount(np.asarray(labels), minlength=len(dataset.class_names))
    return [dataset.class_names[k] for k in classes if not counts[k]]
