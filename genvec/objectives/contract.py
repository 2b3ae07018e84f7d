"""The one shape of what trains an encoder of objects by the groups they belong to."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp


class GroupBatch(NamedTuple):
    """Embedded objects of one update."""

    embeddings: jax.Array  # [B, D]
    group: jax.Array  # int [B], which of the G training groups an object belongs to
    second: Any = None  # [B, D] of a second view of the same objects, where one is read


class GroupObjective(NamedTuple):
    """What trains an encoder of objects: made by `fn(dimension D, num_groups G, *, options)`."""

    # key → what the objective itself learns, by name; trained with the encoder
    init: Callable[[jax.Array], Mapping[str, Any]]
    # () → what it keeps from step to step: arrays by name, no gradient
    start: Callable[[], Mapping[str, Any]]
    # (params, state, batch) → scalar to minimise, new state
    loss: Callable[[Mapping, Mapping, GroupBatch], tuple[jax.Array, Mapping[str, Any]]]
    # (params, embeddings [B, D]) → vectors [B, D'] whose Euclidean distances are compared later
    embed: Callable[[Mapping, jax.Array], jax.Array]
    two_views: bool = False  # whether `loss` reads `batch.second`
    # (state, key, embeddings [n, D] of drawn objects) → state, every `regroup_every` steps
    regroup: Callable[[Mapping, jax.Array, jax.Array], Mapping[str, Any]] | None = None
    regroup_every: int = 0


def nothing(key: jax.Array | None = None) -> dict[str, Any]:
    """The parameters or the state of an objective that has none."""
    del key
    return {}


def check_batch(batch: GroupBatch, dimension: int, *, two_views: bool = False) -> None:
    """Shapes and types, when traced.

    Raises:
      ValueError: a batch of one object, or no second view where one is needed.
    """
    num = len(batch.embeddings)
    chex.assert_shape(batch.embeddings, (num, dimension))
    chex.assert_shape(batch.group, (num,))
    chex.assert_type(batch.group, int)
    if num < 2:
        raise ValueError(f"needs a batch of at least two objects, not {num}")
    if two_views:
        if batch.second is None:
            raise ValueError("needs a second view of each object")
        chex.assert_equal_shape([batch.embeddings, batch.second])


def normalise(x: jax.Array) -> jax.Array:
    """Rows [.., D] scaled to length one; a row of zeros stays, with gradient zero; NaN stays NaN.

    A small network with ReLUs does embed single objects at zero.
    """
    squared = jnp.sum(x**2, axis=-1, keepdims=True)
    zero = squared == 0
    return jnp.where(zero, 0, x / jnp.sqrt(jnp.where(zero, 1, squared)))
