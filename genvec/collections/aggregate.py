"""From the vectors of a group's objects to the vector of the group.

Every entry of `AGGREGATIONS` is of ONE group: (params, x [n, D], mask [n]) → [D]. Rows where the
mask is False do not count, so groups of unequal size fit in one array; a group needs one object.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genvec.geometry import pairwise_distances

WEISZFELD_STEPS = 100  # of the geometric median; 64-d groups of 20 need some 30 for 1e-4


class Aggregation(NamedTuple):
    """One way to make a vector of a set of vectors."""

    fn: Callable[[Mapping[str, Any], jax.Array, jax.Array], jax.Array]
    # (key, D) → what it learns, by name; None for nothing
    init: Callable[[jax.Array, int], dict[str, jax.Array]] | None = None


def mean(params: Mapping[str, Any], x: jax.Array, mask: jax.Array) -> jax.Array:
    """The centroid."""
    del params
    return jnp.sum(jnp.where(mask[:, None], x, 0), axis=0) / jnp.sum(mask)


def normalised_mean(params: Mapping[str, Any], x: jax.Array, mask: jax.Array) -> jax.Array:
    """The direction of the mean of directions, a unit vector; zero where they cancel out."""
    directions = x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    centre = mean(params, directions, mask)
    return centre / jnp.maximum(jnp.linalg.norm(centre), 1e-12)


def medoid(params: Mapping[str, Any], x: jax.Array, mask: jax.Array) -> jax.Array:
    """The object with the least sum of distances to the others; the first of several.

    NaN where an object is: its distances have no least one, and argmin would take them for it.
    """
    del params
    to_others = jnp.sum(jnp.where(mask, pairwise_distances(x, x), 0), axis=1)
    to_others = jnp.where(mask, to_others, jnp.inf)
    return jnp.where(jnp.isnan(jnp.min(to_others)), jnp.nan, x[jnp.argmin(to_others)])


def geometric_median(params: Mapping[str, Any], x: jax.Array, mask: jax.Array) -> jax.Array:
    """The point with the least sum of distances to the objects, by Weiszfeld's iteration.

    From the mean; a step that starts on an object goes only as far as the others pull it away.
    Reference: Vardi & Zhang 2000, "The multivariate L1-median and associated data depth", eq. 2.6.
    """

    x = jnp.where(mask[:, None], x, 0)  # a weight of zero does not silence a NaN

    def step(y, _):
        apart = jnp.linalg.norm(x - y, axis=1)
        elsewhere = mask & (apart > 1e-9)
        weight = jnp.where(elsewhere, 1 / jnp.where(elsewhere, apart, 1), 0)
        total = jnp.maximum(jnp.sum(weight), 1e-30)
        target = jnp.sum(weight[:, None] * x, axis=0) / total
        pull = total * jnp.linalg.norm(target - y)  # ‖Σ (x − y) / ‖x − y‖‖
        held = jnp.sum(mask & ~elsewhere) / jnp.maximum(pull, 1e-30)
        return y + jnp.maximum(0, 1 - held) * (target - y), None

    return jax.lax.scan(step, mean(params, x, mask), length=WEISZFELD_STEPS)[0]


def attention(params: Mapping[str, Any], x: jax.Array, mask: jax.Array) -> jax.Array:
    """Σ_i a_i x_i with a = softmax of wᵀ tanh(V x_i), learned.

    Reference: Ilse et al. 2018, arXiv 1802.04712, eq. 8.
    """
    scores = jnp.tanh(x / params["scale"] @ params["V"]) @ params["w"]
    return jax.nn.softmax(jnp.where(mask, scores, -jnp.inf)) @ jnp.where(mask[:, None], x, 0)


def init_attention(key: jax.Array, dimension: int, *, hidden: int = 32) -> dict[str, jax.Array]:
    """Equal attention at the start: w is zero."""
    V = jax.random.normal(key, (dimension, hidden)) / jnp.sqrt(dimension)
    return {"V": V, "w": jnp.zeros(hidden), "scale": jnp.ones(())}


def aggregate(
    aggregation: Aggregation, params: Mapping[str, Any], x: jax.Array, mask: jax.Array
) -> jax.Array:
    """Vectors [G, D] of G groups x [G, n, D], mask [G, n].

    Raises:
      ValueError: a group without an object.
    """
    if not bool(jnp.all(jnp.any(mask, axis=1))):
        empty = jnp.flatnonzero(~jnp.any(mask, axis=1)).tolist()
        raise ValueError(f"groups {empty[:5]} have no object, so no vector")
    return jax.vmap(aggregation.fn, (None, 0, 0))(params, x, mask)


AGGREGATIONS: Mapping[str, Aggregation] = {
    "mean": Aggregation(mean),
    "medoid": Aggregation(medoid),
    "geometric_median": Aggregation(geometric_median),
    "normalised_mean": Aggregation(normalised_mean),
    "attention": Aggregation(attention, init_attention),
}
