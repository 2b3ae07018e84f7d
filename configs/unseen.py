"""Models and data sets in one space, so that models of classes never seen are found by their data.

Claim: an encoder of members and an encoder of images, trained together by N-pair, match a member
with its own data set among 200 better than comparing generated images with the data does. For known
classes weights alone do (R@1 99.5 % against 76 % on digits, 95 % against 73 % on MNIST), and on
CIFAR-10 reconstruction errors (74 % against 1 %). Where the data hold classes that neither has been
trained on, weights alone do no better (33 % against 31 %, and 40 % against 52 %); an encoder of
generated images does on MNIST (76 %), one of errors on CIFAR-10 (26 % against 1 %):
`results/unseen_*.json`.

    python -m experiments.matching --config=configs/unseen.py           digits, 8 classes known
    python -m experiments.matching --config=configs/unseen.py:mnist     MNIST, 3 and 8 unseen
    python -m experiments.matching --config=configs/unseen.py:cifar10   CIFAR-10, cat and ship
    python -m experiments.matching --config=configs/unseen.py:samples   reads generated images
    python -m experiments.matching --config=configs/unseen.py:reconstruction   errors on images
    python -m experiments.matching --config=configs/unseen.py:both      generated images and errors
    python -m experiments.matching --config=configs/unseen.py:all       these and weights
    python -m experiments.matching --config=configs/unseen.py:smoke     everything once

Then, with an image folder or a TFDS split as the query:

    python -m experiments.search --zoo=runs/unseen/zoo --query=FOLDER
"""

from typing import Any

from ml_collections import ConfigDict

from configs.cifar10 import CONV_VAE, resnet20
from configs.variants import ALL, Variant, vary

PHOTOGRAPHED = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"  # on CIFAR-10


def get_config(arg: str = "") -> ConfigDict:
    """The config of a variant, or of several joined by commas."""
    return vary(arg, "unseen", _default(), VARIANTS)


def _default() -> ConfigDict:
    config: Any = ConfigDict()
    config.seed = 0
    config.quick_compile = False
    config.data = {"name": "digits", "data_dir": ""}
    config.classes = {"choose": ",".join(map(str, range(10))), "num": 10}
    config.classifiers = {
        # of the known classes alone; its features describe images
        "counter": {
            "network": "mlp",
            "args": {"hidden_widths": (128,)},
            "train": {"num_steps": 2_000},
        },
    }
    config.mixtures = {
        "num": 6_000,
        "alpha": 0.3,
        "val_fraction": 0.05,
        "test_fraction": 0.1,
        "num_triplets": 200,
        # members with 20 to 100 % of these classes are in no other split
        "unseen": {"classes": ("3", "8"), "num": 200},
    }
    config.zoo = {
        "family": {"name": "vae", "args": {"hidden": (32,), "latent": 4}},
        "init": "independent",
        "hparams": {"learning_rate": 1e-2, "beta": 1.0},
        "steps": 600,
        "batch_size": 32,
        "plan": "scan",
        "width": 16,
        "precision": "float32",
        "segment_size": 256,
        "members": 0,
        "cells": {},
    }
    config.cell = ""
    config.matching = {
        "dimension": 32,
        "reads": ("weights",),  # of a member; "samples" and "reconstruction" run it
        "temperature": 0.05,
        "augment": 0.3,
        "seeds": (0, 1, 2),
        "images_a_class": 1_000,  # whose features the dataset encoder learns from
        "set_size": 64,  # images of a data set in a step of training
        "images_a_set": 512,  # and in the test, held-out ones, or generated ones of the controls
        "num_queries": 200,
        "pairs": 500,  # of members whose distance is compared with that of their data sets
        "train": {"steps": 2_000, "batch_size": 64, "learning_rate": 2e-3},
    }
    config.encoders = {}
    config.controls = {
        "features": (),
        "num_samples": (),
        "num_calibration": 1,
        "untrained_readout": 1,
    }
    config.report = {"num_samples": 8}
    return config


def _mnist(config: Any) -> None:
    """MNIST, 3 and 8 unseen."""
    config.data.name = "mnist"
    config.mixtures.update({"num": 1_300, "test_fraction": 0.16, "num_triplets": 40})
    config.zoo.family.args.update({"hidden": (64,), "latent": 8})
    config.zoo.hparams.learning_rate = 5e-3
    config.zoo.update({"steps": 500, "batch_size": 64, "width": 4, "segment_size": 128})
    # of most numbers an eighth: a step in a third of the time
    config.matching.model = {"width": 16, "readout": 64}
    config.matching.train.update({"steps": 600, "batch_size": 32})


def _cifar10(config: Any) -> None:
    """CIFAR-10, cat and ship unseen."""
    config.data.name = "cifar10"
    config.classes.choose = PHOTOGRAPHED
    config.classifiers.counter = resnet20(num_steps=2_500)
    config.mixtures.update({"num": 620, "test_fraction": 0.325, "num_triplets": 20})
    config.mixtures.unseen.classes = ("cat", "ship")
    config.zoo.family.args = CONV_VAE
    config.zoo.hparams = {"learning_rate": 5e-3, "beta": 1.0, "sigma": 0.3}
    config.zoo.update({"steps": 600, "width": 4, "segment_size": 32})
    config.matching.model = {"width": 16, "readout": 64}
    config.matching.train.update({"steps": 600, "batch_size": 32})


def _samples(config: Any) -> None:
    """Reads images that the member generates."""
    config.matching.reads = ("samples",)


def _reconstruction(config: Any) -> None:
    """Reads the member's errors on images."""
    config.matching.reads = ("reconstruction",)


def _both(config: Any) -> None:
    """Reads generated images and errors."""
    config.matching.reads = ("samples", "reconstruction")


def _all(config: Any) -> None:
    """Reads weights, generated images and errors."""
    config.matching.reads = ("weights", "samples", "reconstruction")


def _smoke(config: Any) -> None:
    """Everything once."""
    config.quick_compile = True
    config.classifiers.counter.train.num_steps = 50
    small = {"num": 48, "val_fraction": 0.2, "test_fraction": 0.25, "num_triplets": 4}
    config.mixtures.update(small)
    config.mixtures.unseen.num = 8
    config.zoo.update({"steps": 20, "segment_size": 32})
    config.matching.update({"seeds": (0,), "images_a_set": 32, "set_size": 16, "pairs": 10})
    config.matching.train.steps = 20


VARIANTS = {
    "mnist": _mnist,
    "cifar10": _cifar10,
    "samples": _samples,
    "reconstruction": _reconstruction,
    "both": _both,
    "all": _all,
    "smoke": Variant(_smoke, after=(ALL,)),
}
