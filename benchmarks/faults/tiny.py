"""The digits config shrunk until a whole run takes seconds: what the faults are tried on."""

from typing import Any

from ml_collections import ConfigDict

from configs import digits


def get_config(arg: str = "") -> ConfigDict:
    """`digits:smoke` with one encoder, 26 members in four segments, and few of everything."""
    del arg
    config: Any = digits.get_config("smoke")
    config.name = "tiny"
    config.classes.choose = "1,4,5"
    config.classifiers.counter.train.num_steps = 10
    config.mixtures.update({"num": 24, "num_triplets": 2})
    config.zoo.update({"steps": 4, "segment_size": 8, "width": 4})
    config.zoo.family.args.update({"hidden": (4,), "latent": 2})
    del config.encoders.graph
    del config.encoders.latent_mean
    config.encoders.moments.train.steps = 8
    config.controls.update({"features": ("flat",), "num_samples": (16,)})
    config.report.num_samples = 2
    return config
