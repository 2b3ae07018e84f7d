"""A command line → its config, and data sets without data, for tests of what is checked first."""

import numpy as np

from configs.unseen import PHOTOGRAPHED
from experiments.settings import load_config, override, split_flags
from genvec.types import Dataset


def config_of(*arguments: str):
    """The config of a command line."""
    rest, settings = split_flags(arguments)
    (path,) = [a.removeprefix("--config=") for a in rest if a.startswith("--config=")]
    config = load_config(path)
    override(config, settings)
    return config


def blank(name, **_):
    """A data set of black images."""
    names = PHOTOGRAPHED.split(",") if name == "cifar10" else "0123456789"
    shape = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "cifar10": (32, 32, 3)}[name]
    images, labels = np.zeros((20, *shape), np.uint8), np.arange(20) % 10
    return Dataset(name, tuple(names), images, labels, images, labels)
