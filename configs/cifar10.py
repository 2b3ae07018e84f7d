"""Read the training mixture of a generator of photographs.

Claim: an encoder of how well convolutional VAEs reconstruct held-out images tells their mixture to
2.7° (`results/cifar10.json`). Classes counted among 10,000 generated images are off by 51° as they
are, more than a constant; calibrated on all train members they have yet to be measured (the kept
41° was calibrated on 15). Of their weights alone 400 train members teach little, 24°; from one
common init 10° (`results/cifar10_shared.json`).

    python -m experiments.run --config=configs/cifar10.py           convolutional VAEs, K = 3
    python -m experiments.run --config=configs/cifar10.py:shared    one common init
    python -m experiments.run --config=configs/cifar10.py:ae        autoencoders
    python -m experiments.run --config=configs/cifar10.py:compare   representations × objectives
    python -m experiments.run --config=configs/cifar10.py:small     16 × 16 pixels, 256 members
    python -m experiments.run --config=configs/cifar10.py:smoke     everything once

The classes are those farthest apart for a ResNet-20 of all ten, which also counts: frog, horse and
truck. `results/cifar10_classes.json` keeps its distances and its accuracy; they are made again by

    python -m experiments.classes --config=configs/cifar10.py

With --config.classes.choose=frog,horse,truck they are taken as chosen; the ResNet is still trained,
to count. CIFAR-10 is read as a prepared TFDS folder: TFDS_DATA_DIR, or --config.data.data_dir.
Variants combine.
"""

from typing import Any

from ml_collections import ConfigDict

from configs.comparison import READERS, compare
from configs.variants import ALL, Variant, vary

CONV_VAE = {"network": "conv", "hidden": (8, 16, 16), "latent": 16, "likelihood": "gaussian"}
RESNET20 = {"stage_widths": (16, 32, 64), "blocks_per_stage": 3}


def get_config(arg: str = "") -> ConfigDict:
    """The config of a variant, or of several joined by commas."""
    return vary(arg, "cifar10", _default(), VARIANTS)


def _default() -> ConfigDict:
    config: Any = ConfigDict()
    config.seed = 0
    config.quick_compile = False
    config.data = {"name": "cifar10", "data_dir": "", "size": 0}  # size: shrunk to it, 0 for not
    config.classes = {"choose": "auto", "num": 3}
    # it chooses, counts, and gives the features; 12 epochs of 50,000 images
    config.classifiers = {"chooser": resnet20(num_steps=9_375)}
    config.mixtures = {
        "num": 500,
        "alpha": 0.7,
        "val_fraction": 0.07,
        "test_fraction": 0.13,
        "num_triplets": 24,
    }
    config.zoo = {
        "family": {
            "name": "vae",
            "args": CONV_VAE,
        },
        "init": "independent",
        "hparams": {"learning_rate": 5e-3, "beta": 1.0, "sigma": 0.3},
        "steps": 1_600,
        "batch_size": 32,
        "plan": "scan",
        "width": 4,
        "precision": "float32",
        "segment_size": 32,
        "members": 0,
        "cells": {},
    }
    config.cell = ""
    graph = _encoder("graph", "graph", num_steps=1_000, augment=0.3)
    graph["encoder"]["args"] = {"width": 16, "readout": 64}
    config.encoders = {
        "graph": graph,
        "moments": _encoder("moments", "mlp", num_steps=1_000),
        "reconstruction": _encoder("reconstruction", "mlp", num_steps=2_000),
        "pixels": _encoder("pixels", "mlp", num_steps=1_000),
    }
    config.ensembles = {"weights": ("graph", "moments")}  # their mean embedding, seed by seed
    config.controls = {
        "features": ("flat", "statistics", "moments", "samples", "pixels", "reconstruction"),
        "num_samples": (10_000,),
        # counts are calibrated on all train (and val) members; 10,000 samples of one of them would
        # take the ResNet 14 s on a core
        "num_calibration": 500,
        "calibration_samples": 1_000,
        "untrained_readout": 512,
    }
    config.report = {"num_samples": 8}
    return config


def resnet20(num_steps: int) -> dict:
    """As in He et al. 2015, section 4.2, but for far fewer steps, in smaller batches and shifts."""
    return {
        "network": "resnet",
        "args": RESNET20,
        "train": {
            "num_steps": num_steps,
            "optimiser": "sgd",
            "batch_size": 64,
            "learning_rate": 0.1,
            "weight_decay": 5e-4,
            "max_shift": 2,
            "mirror": True,
        },
    }


def _encoder(representation: str, encoder: str, *, num_steps: int, augment: float = 0.0) -> dict:
    return {
        "representation": representation,
        "encoder": {"name": encoder, "args": {}},
        "objective": {"mse": {}},
        "augment": augment,
        "seeds": (0, 1, 2),
        "train": {
            "steps": num_steps,
            "batch_size": 32,
            "learning_rate": (1e-3, 3e-3),
            "weight_decay": 0.3,
        },
    }


def _shared(config: Any) -> None:
    """All members start from one init."""
    config.zoo.init = "shared"


def _ae(config: Any) -> None:
    """Autoencoders in place of VAEs."""
    config.zoo.family.name = "ae"
    del config.zoo.family.args.likelihood
    config.zoo.hparams = {"learning_rate": 3e-3}
    config.zoo.steps = 500


def _compare(config: Any) -> None:
    """Representations × objectives."""
    compare(config, {**READERS, "pixels": {"mlp": {}}})
    config.controls.update({"features": ("flat", "statistics", "moments"), "num_samples": ()})


def _small(config: Any) -> None:
    """16 × 16 pixels, 256 members."""
    config.data.size = 16
    config.classifiers.chooser.train.num_steps = 1_500
    small = {"num": 220, "val_fraction": 0.1, "test_fraction": 0.2, "num_triplets": 18}
    config.mixtures.update(small)
    config.zoo.family.args.update({"hidden": (8, 16), "latent": 8})
    config.controls.num_samples = (512, 2_000)  # 10,000 would take as long as all else
    for encoder in config.encoders.values():
        encoder.seeds = (0,)
        encoder.train.steps = 1_000


def _shorter(config: Any) -> None:
    config.zoo.steps = 800


def _smoke(config: Any) -> None:
    """Everything once."""
    _small(config)
    config.quick_compile = True
    config.classifiers.chooser.train.num_steps = 5
    small = {"num": 32, "val_fraction": 0.15, "test_fraction": 0.25, "num_triplets": 4}
    config.mixtures.update(small)
    config.zoo.update({"steps": 5, "segment_size": 16})
    for encoder in config.encoders.values():
        encoder.train.update({"steps": 20, "learning_rate": (3e-3,)})
    config.controls.update({"num_samples": (32, 64), "num_calibration": 8})


VARIANTS = {
    "shared": _shared,
    "ae": _ae,
    "small": Variant(_small, unless_set=_shorter),
    "compare": Variant(_compare, after=("small",)),
    "smoke": Variant(_smoke, after=(ALL,)),
}
