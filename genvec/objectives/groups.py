"""The table of objectives for objects and their groups."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from genvec.objectives.arcface import arcface
from genvec.objectives.contract import GroupBatch, GroupObjective
from genvec.objectives.gaussian import gaussian_triplet
from genvec.objectives.group_loss import group_loss
from genvec.objectives.groupface import groupface
from genvec.objectives.instances import info_nce
from genvec.objectives.mahalanobis import mahalanobis_siamese, mahalanobis_triplet
from genvec.objectives.ranking import triplet
from genvec.objectives.smog import collection_collection, collection_item
from genvec.registry import lookup

__all__ = ["GROUP_OBJECTIVES", "GroupBatch", "GroupObjective", "make_group_objective"]


def make_group_objective(
    name: str, dimension: int, num_groups: int, options: Mapping[str, Any]
) -> GroupObjective:
    """One entry of `GROUP_OBJECTIVES` with its options.

    Raises:
      KeyError: an unknown objective; the message lists the known ones.
      ValueError: an option that it does not have, or a value that it refuses.
    """
    make = lookup(GROUP_OBJECTIVES, name, kind="objective for groups")
    allowed = inspect.getfullargspec(make).kwonlyargs
    if unknown := sorted(set(options) - set(allowed)):
        raise ValueError(
            f"objective {name!r} has no option {', '.join(unknown)}; it has: {', '.join(allowed)}"
        )
    return make(dimension, num_groups, **options)


GROUP_OBJECTIVES: Mapping[str, Callable[..., GroupObjective]] = {
    "triplet": triplet,
    "mahalanobis_siamese": mahalanobis_siamese,
    "mahalanobis_triplet": mahalanobis_triplet,
    "gaussian_triplet": gaussian_triplet,
    "arcface": arcface,
    "groupface": groupface,
    "group_loss": group_loss,
    "info_nce": info_nce,
    "collection_item": collection_item,
    "collection_collection": collection_collection,
}
