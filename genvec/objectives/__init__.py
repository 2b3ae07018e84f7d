"""Objectives: of embeddings against dataset vectors, and of objects against their groups."""

from genvec.objectives.groups import (
    GROUP_OBJECTIVES,
    GroupBatch,
    GroupObjective,
    make_group_objective,
)
from genvec.objectives.targets import (
    OBJECTIVES,
    Objective,
    cosine,
    distance,
    mse,
    n_pair,
    objective_name,
    triplet,
    weighted_sum,
)

__all__ = [
    "GROUP_OBJECTIVES",
    "OBJECTIVES",
    "GroupBatch",
    "GroupObjective",
    "Objective",
    "cosine",
    "distance",
    "make_group_objective",
    "mse",
    "n_pair",
    "objective_name",
    "triplet",
    "weighted_sum",
]
