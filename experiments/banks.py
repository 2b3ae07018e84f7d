"""Features of images, sorted by class, to draw data sets from."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.classes import load_counter
from experiments.common import mixture_data
from experiments.setup import unseen_classes
from genvec.classes import features
from genvec.mixtures import MixtureData, draw_rows, to_unit
from genvec.store import read_json
from genvec.types import Dataset

BATCH = 1024  # images described at once


class Bank(NamedTuple):
    """Features of the images of K classes."""

    features: jax.Array  # [M, F], sorted by class
    starts: jax.Array  # [K]
    counts: jax.Array  # [K]

    def draw(self, key: jax.Array, mixture: jax.Array, num: int) -> jax.Array:
        """Features [num, F] of the images of one data set with these proportions [K]."""
        return self.features[draw_rows(key, mixture, self.starts, self.counts, num)[0]]


class Scale(NamedTuple):
    """Standardises features; fitted on training images of the classes that may be known."""

    mean: np.ndarray  # [F]
    deviation: np.ndarray  # [F]

    def __call__(self, features):
        return (features - self.mean) / self.deviation


def describe_images(describe: Callable, images: np.ndarray) -> np.ndarray:
    """Features [M, F] of uint8 images [M, H, W, C]."""
    describe = jax.jit(describe)
    starts = range(0, len(images), BATCH)
    return np.concatenate([describe(to_unit(jnp.asarray(images[i : i + BATCH]))) for i in starts])


def make_banks(
    data: MixtureData, describe: Callable, known: Sequence[int], images_a_class: int
) -> tuple[Bank, Bank, Scale]:
    """Banks of the first training images of each class, and of all held-out ones.

    Raises:
      ValueError: a class without held-out images, or no image a class; nothing could be drawn.
    """
    counts, starts = np.asarray(data.counts), np.asarray(data.starts)
    num_heldout = np.bincount(np.asarray(data.heldout_labels), minlength=len(counts))
    if images_a_class < 1:
        raise ValueError(f"images_a_class is {images_a_class}; it must be positive")
    if not num_heldout.all():
        raise ValueError(
            f"class number {int(np.argmin(num_heldout))} of the run has no held-out image; data "
            "sets to compare with are drawn from held-out images of every class"
        )
    sizes = np.minimum(counts, images_a_class)
    rows = np.concatenate([s + np.arange(n) for s, n in zip(starts, sizes, strict=True)])
    learned = describe_images(describe, np.asarray(data.images)[rows])
    heldout = describe_images(describe, np.asarray(data.heldout_images))
    may_know = np.isin(np.repeat(np.arange(len(sizes)), sizes), known)
    deviation = learned[may_know].std(axis=0)
    scale = Scale(learned[may_know].mean(axis=0), np.where(deviation > 1e-6, deviation, 1))
    return _bank(scale(learned), sizes), _bank(scale(heldout), num_heldout), scale


class Described(NamedTuple):
    """The images of a run that finds models by their data, as the classifier sees them."""

    data: MixtureData
    known: list[int]  # classes that members and encoders may have seen
    learned: Bank
    heldout: Bank
    scale: Scale
    describe: Callable  # images [B, H, W, C] in [0, 1] → standardised features [B, F]


def describe_run(config, run, dataset: Dataset) -> Described:
    """Features by the classifier of the known classes, which must have been trained."""
    names, unseen = read_json(run.classes)["classes"], unseen_classes(config)
    known = [k for k, name in enumerate(names) if name not in unseen]
    describe = partial(features, load_counter(config, run))
    data = mixture_data(dataset, run)
    learned, heldout, scale = make_banks(data, describe, known, config.matching.images_a_class)

    def described(x):
        return scale(describe(x))

    return Described(data, known, learned, heldout, scale, described)


def _bank(features: np.ndarray, counts: np.ndarray) -> Bank:
    starts = np.cumsum(counts) - counts
    return Bank(jnp.asarray(features), jnp.asarray(starts), jnp.asarray(counts))
