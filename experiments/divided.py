"""What the members of a config learn from: its classes, and who is in which part of the split."""

from typing import Any

import numpy as np

from experiments.checks import check_fields
from genvec.data import class_indices
from genvec.mixtures import assign_splits
from genvec.types import Dataset, Split


def chosen_classes(config: Any, dataset: Dataset) -> tuple[int, ...] | None:
    """Indices of an explicit choice; None where the classes are chosen by their distances."""
    choose = config.classes.choose
    return None if choose == "auto" else class_indices(dataset, choose.split(","))


def splits(config: Any) -> Split:
    """Who is in train, val and test, and who with whom in a triplet."""
    if not config.mixtures.alpha > 0:
        raise ValueError(f"alpha is {config.mixtures.alpha}; a Dirichlet needs alpha > 0")
    num = config.mixtures.num
    args = {k: v for k, v in config.mixtures.items() if k not in ("num", "alpha", "unseen")}
    split = assign_splits(config.seed, num, **args)
    if not unseen_classes(config):
        return split
    check_fields(config.mixtures.unseen, "num")
    first = num + len(split.triplets)
    return split._replace(unseen=first + np.arange(config.mixtures.unseen.num))


def unseen_classes(config: Any) -> tuple[str, ...]:
    """Names of the classes that only members of the split "unseen" have seen.

    Raises:
      ValueError: they are not among the classes chosen by name, or leave fewer than two.
    """
    names = tuple(config.mixtures.get("unseen", {}).get("classes", ()))
    chosen = config.classes.choose.split(",")
    if odd := set(names) - set(chosen):
        raise ValueError(
            f"unseen.classes has {', '.join(sorted(odd))}; allowed: of config.classes.choose, "
            f"{config.classes.choose}"
        )
    if names and len(chosen) - len(names) < 2:
        raise ValueError(f"unseen.classes {names} leaves fewer than two of {', '.join(chosen)}")
    return names
