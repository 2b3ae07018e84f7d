"""Data sets without data, for tests of what is checked before anything is computed."""

import numpy as np

from configs.unseen import PHOTOGRAPHED
from genvec.types import Dataset


def blank(name, **_):
    """A data set of black images."""
    names = PHOTOGRAPHED.split(",") if name == "cifar10" else "0123456789"
    shape = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "cifar10": (32, 32, 3)}[name]
    images, labels = np.zeros((20, *shape), np.uint8), np.arange(20) % 10
    return Dataset(name, tuple(names), images, labels, images, labels)
