"""Vectors of groups of scanned digits: the collections of configs/omniglot.py without a download.

Claim: an encoder trained on the digits 0 to 5 tells groups of 6, 7, 8 and 9 apart, and, since a
group is a digit in a few hands, finds a group's other half among all groups of all four.

    python -m experiments.embed_collections --config=configs/collections_digits.py
    python -m experiments.embed_collections --config=configs/collections_digits.py:compare
    python -m experiments.embed_collections --config=configs/collections_digits.py:smoke
"""

from typing import Any

from ml_collections import ConfigDict

from configs import omniglot
from configs.variants import vary


def get_config(arg: str = "") -> ConfigDict:
    """The config of a variant, or of several joined by commas."""
    return vary(arg, "collections_digits", _default(), VARIANTS)


def _default() -> ConfigDict:
    config: Any = omniglot.default()
    config.data.update({"name": "digits", "size": 0})
    config.network.args = {"widths": (32, 32, 32)}
    config.dimension = 32
    config.objectives.triplet_semi_hard.train.update({"steps": 400, "groups": 16})
    config.evaluate.num_pairs = 500
    return config


def _validate(config: Any) -> None:
    """Two of the digits 0 to 5 to evaluate on, to choose settings by."""
    config.data.validation = 2  # of the digits 0 to 5; they are 18 groups
    config.evaluate.ways = 10


VARIANTS = {**omniglot.VARIANTS, "validate": _validate}
