"""Conditional GAN: both players are told the class."""

import functools
from collections.abc import Sequence
from typing import Any

from genvec.arguments import is_whole
from genvec.families.gan import gan
from genvec.types import Family


@functools.wraps(gan, assigned=())  # it takes the options of `gan`
def cgan(image_shape: Sequence[int], *, num_classes: int = 0, **options: Any) -> Family:
    """`gan` with the label as a further input of the generator and of the discriminator.

    What it generates follows the classes in the proportions of the batches it has seen; they are a
    part of its state, and in none of its weights.

    Args:
      image_shape: (H, W, C).
      num_classes: K, the labels that the data have.
      **options: those of `gan`.

    Raises:
      ValueError: `num_classes` is missing, or less than two.

    Reference: Mirza & Osindero 2014, arXiv 1411.1784, eq. 2 and figure 1.
    """
    if not is_whole(num_classes) or num_classes < 2:
        raise ValueError(
            f"num_classes is {num_classes}: cgan is told the class of every image, so it needs "
            "labelled data and their number of classes, 2 or more (that of config.classes.num); "
            "without labels use non_saturating"
        )
    return gan(image_shape, num_classes=num_classes, **options)._replace(name="cgan")
