"""Vectors of characters never seen, from an encoder of single drawings.

Claim: an encoder of drawings, trained on 30 alphabets, gives the two halves of a character's
drawings vectors that lie nearest to each other among all 659 characters of 20 other alphabets.

    python -m experiments.embed_collections --config=configs/omniglot.py            one objective
    python -m experiments.embed_collections --config=configs/omniglot.py:compare    all, three seeds
    python -m experiments.embed_collections --config=configs/omniglot.py:seed       margin 1000
    python -m experiments.embed_collections --config=configs/omniglot.py:b2         EfficientNet-B2
    python -m experiments.embed_collections --config=configs/omniglot.py:validate   to choose by
    python -m experiments.embed_collections --config=configs/omniglot.py:smoke      everything once

Settings are chosen with `:validate`, which trains on 24 of the 30 background alphabets and
evaluates on the other 6. Omniglot is read as a prepared TFDS folder: TFDS_DATA_DIR, or
--config.data.data_dir. Variants combine: `:compare,validate`.
"""

from typing import Any

from ml_collections import ConfigDict

from configs.variants import ALL, Variant, vary

# P groups × K objects: with positives in the batch, of as many groups as fit, in two views each
POSITIVES = {"groups": 32, "objects": 4}
MANY_GROUPS = {"groups": 128, "objects": 1}
TWO_VIEWS = {"groups": 64, "objects": 1}
OBJECTIVES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "triplet": ("triplet", {"margin": 4.0}, POSITIVES),
    "triplet_semi_hard": ("triplet", {"margin": 4.0, "mining": "semi_hard"}, POSITIVES),
    "info_nce": ("info_nce", {}, TWO_VIEWS),
    "collection_item": (
        "collection_item",
        {"num_collections": 64, "momentum": 0.9, "regroup_every": 20},
        {**TWO_VIEWS, "learning_rate": 1e-3},
    ),
    "collection_collection": (
        "collection_collection",
        {"num_collections": 256, "momentum": 0.5, "regroup_every": 20, "temperature": 0.2},
        {**TWO_VIEWS, "learning_rate": 1e-3},
    ),
    "arcface": ("arcface", {"margin": 0.2}, {**MANY_GROUPS, "learning_rate": 1e-2}),
    "groupface": ("groupface", {"margin": 0.2}, {**MANY_GROUPS, "learning_rate": 1e-2}),
    "group_loss": ("group_loss", {}, POSITIVES),
    "mahalanobis_siamese": ("mahalanobis_siamese", {"margin": 10.0}, POSITIVES),
    "mahalanobis_triplet": ("mahalanobis_triplet", {}, POSITIVES),
    "gaussian_triplet": ("gaussian_triplet", {}, POSITIVES),
}


def get_config(arg: str = "") -> ConfigDict:
    """The config of a variant, or of several joined by commas."""
    return vary(arg, "omniglot", default(), VARIANTS)


def default() -> ConfigDict:
    """Omniglot at 28 × 28, the four-block network, triplets with semi-hard negatives."""
    config: Any = ConfigDict()
    config.seed = 0
    config.quick_compile = False
    config.data = {
        "name": "omniglot",
        "data_dir": "",
        "size": 28,  # shrunk to it, 0 for not
        "turned": True,  # characters turned by 90, 180, 270 degrees are new characters
        "validation": 0,  # of the classes to learn from, how many to evaluate on instead
    }
    config.network = {
        "name": "conv",
        "args": {"widths": (32, 64, 128, 256), "output_norm": True},
    }
    config.dimension = 64
    config.seeds = (0,)
    config.objectives = {"triplet_semi_hard": objective("triplet_semi_hard", steps=6_000)}
    config.evaluate = {
        "aggregations": ("mean", "medoid", "geometric_median", "normalised_mean", "attention"),
        "controls": ("pixels", "pca", "untrained"),
        "ways": 20,
        "num_pairs": 2_000,  # of groups of one class, for the bounds
        "pooling_steps": 1_000,  # of attention, which is learned
        "shown": "triplet_semi_hard",  # its first seed is on the map and in the bounds
    }
    return config


def objective(name: str, steps: int) -> dict[str, Any]:
    """One entry of `config.objectives`."""
    of, options, train = OBJECTIVES[name]
    train = {"learning_rate": 5e-3, "weight_decay": 1e-4, "warp": 1.0, **train, "steps": steps}
    return {"objective": of, "options": options, "train": train}


def _compare(config: Any) -> None:
    """Every objective: the same steps, the same number of images in each."""
    config.objectives = {name: objective(name, steps=400) for name in OBJECTIVES}
    config.seeds = (0, 1, 2)


def _seed(config: Any) -> None:
    """The first experiment's margin and mining; distances grow with the margin."""
    entry = objective("triplet", steps=1_000)
    config.objectives = {"triplet": {**entry, "options": {"margin": 1000.0}}}
    config.evaluate.shown = "triplet"


def _b2(config: Any) -> None:
    """EfficientNet-B2 on whole drawings."""
    config.network = {"name": "efficientnet", "args": {"variant": "b2"}}
    config.data.size = 0  # 105 × 105
    for entry in config.objectives.values():
        entry.train.update({"steps": 2_000, "learning_rate": 1e-3})


def _validate(config: Any) -> None:
    """Other classes to evaluate on, to choose settings by."""
    config.data.validation = 6


def _smoke(config: Any) -> None:
    """Everything once."""
    config.quick_compile = True
    if config.network.name == "conv":
        config.network.args.widths = (8, 8, 8, 8)
    for entry in config.objectives.values():
        entry.train.steps = 3
    config.seeds = config.seeds[:2]
    config.evaluate.update({"num_pairs": 50, "pooling_steps": 5})


VARIANTS = {
    "compare": _compare,
    "seed": _seed,
    "b2": Variant(_b2, after=("compare", "seed")),
    "validate": _validate,
    "smoke": Variant(_smoke, after=(ALL,)),
}
