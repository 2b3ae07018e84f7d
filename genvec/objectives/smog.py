"""Synchronous momentum grouping: objects against collections of objects found during training."""

import chex
import jax
import jax.numpy as jnp

from genvec.geometry import squared_distances
from genvec.objectives.contract import GroupBatch, GroupObjective, check_batch, normalise, nothing


def collection_item(
    dimension: int,
    num_groups: int,
    *,
    num_collections: int = 64,
    temperature: float = 0.1,
    momentum: float = 0.99,
    regroup_every: int = 200,
) -> GroupObjective:
    """Mean of −log softmax_k(x_i·g_k / temperature) at k = c(y_i); the groups are not read.

    x_i and y_i are two views of object i on the sphere, g_k the feature of collection k, kept from
    step to step, and c(·) = argmax_k of ·g_k, for both views before the update. Then, before the
    loss, g_k ← normalise(β g_k + (1 − β) mean of the x_i with c(x_i) = k), β = momentum, where
    there are any; gradients reach x through the updated g as well. y stands for the momentum branch
    of the paper: it only says which collection is right, without a gradient.
    Reference: Pang et al. 2022, arXiv 2207.06167, section 3.

    Args:
      dimension, num_groups: D and G.
      num_collections: M; `regroup` needs at least as many objects.
      temperature: what cosines are divided by.
      momentum: β; at 0 a collection is what the batch says.
      regroup_every: steps between two k-means, without which the collections may collapse.

    Raises:
      ValueError: fewer than two collections, a temperature or interval that is not positive, or a
        momentum outside of [0, 1).
    """
    del num_groups
    kept = (num_collections, momentum, regroup_every)
    return _grouping(dimension, lambda x, groups, own: x, temperature, *kept)


def collection_collection(
    dimension: int,
    num_groups: int,
    *,
    num_collections: int = 64,
    temperature: float = 0.1,
    momentum: float = 0.99,
    regroup_every: int = 200,
) -> GroupObjective:
    """Mean of −log softmax_j(g_{c(x_i)}·g_j / temperature) at j = c(y_i).

    `collection_item`, its options and errors, with the collection of x_i in place of x_i, which
    gradients then reach only through the update of g, scaled by 1 − β.
    Reference: Pang et al. 2022, arXiv 2207.06167, section 3.
    """
    del num_groups
    kept = (num_collections, momentum, regroup_every)
    return _grouping(dimension, lambda x, groups, own: groups[own], temperature, *kept)


def _grouping(dimension, query_fn, temperature, num_collections, momentum, regroup_every):
    """Looks for c(y_i) from query_fn(x [B, D], updated g [M, D], c(x) [B]) → [B, D]."""
    if not num_collections > 1:
        raise ValueError(f"num_collections is {num_collections}; there must be at least two")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be positive")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is {momentum}; it must lie in [0, 1)")
    if not regroup_every > 0:
        raise ValueError(f"regroup_every is {regroup_every}; it must be positive")

    def start():
        normal = jax.random.normal(jax.random.key(0), (num_collections, dimension))
        return {"groups": normalise(normal)}

    def loss(params, state, batch: GroupBatch):
        check_batch(batch, dimension, two_views=True)
        x, y = normalise(batch.embeddings), normalise(batch.second)
        own, right = (assign(view, state["groups"]) for view in (x, y))
        groups = momentum_update(state["groups"], x, own, momentum)
        logits = query_fn(x, groups, own) @ groups.T / temperature
        found = jnp.take_along_axis(jax.nn.log_softmax(logits), right[:, None], axis=1)
        finite = jnp.all(jnp.isfinite(x) & jnp.isfinite(y))  # argmax takes a NaN for an answer
        loss = jnp.where(finite, -jnp.mean(found), jnp.nan)
        return loss, {"groups": jax.lax.stop_gradient(groups)}

    def regroup(state, key, embeddings):
        chex.assert_shape(embeddings, (None, dimension))
        return {**state, "groups": spherical_kmeans(key, normalise(embeddings), num_collections)}

    return GroupObjective(
        nothing, start, loss, lambda params, x: normalise(x), True, regroup, regroup_every
    )


def assign(points: jax.Array, groups: jax.Array) -> jax.Array:
    """Which of the groups [M, D] has the largest cosine with each of the points [n, D]: int [n]."""
    return jnp.argmax(points @ normalise(groups).T, axis=1)


def momentum_update(
    groups: jax.Array, points: jax.Array, assigned: jax.Array, momentum: float
) -> jax.Array:
    """g_k ← normalise(β g_k + (1 − β) mean of the points [n, D] assigned to k), k of M: [M, D]."""
    sums = jax.ops.segment_sum(points, assigned, num_segments=len(groups))
    counts = jnp.bincount(assigned, length=len(groups))[:, None]
    moved = momentum * groups + (1 - momentum) * sums / jnp.maximum(1, counts)
    return normalise(jnp.where(counts > 0, moved, groups))


def spherical_kmeans(
    key: jax.Array, points: jax.Array, num_clusters: int, *, num_steps: int = 10
) -> jax.Array:
    """Unit vectors [M, D] around which the points [n, D] of the sphere lie.

    Points drawn far from one another (k-means++, Arthur & Vassilvitskii 2007, section 2.2), then
    moved by `num_steps` of `lloyd_step`.

    Raises:
      ValueError: fewer points than clusters.
    """
    if len(points) < num_clusters:
        raise ValueError(f"{len(points)} objects are too few for {num_clusters} collections")

    def draw(nearest, key):
        index = jax.random.categorical(key, jnp.log(nearest))
        apart = squared_distances(points, points[index][None])[:, 0]
        return jnp.minimum(nearest, apart), points[index]

    farthest = jnp.full(len(points), 4, points.dtype)  # on the sphere: the first one is uniform
    _, centers = jax.lax.scan(draw, farthest, jax.random.split(key, num_clusters))
    return jax.lax.fori_loop(0, num_steps, lambda _, c: lloyd_step(points, c), centers)


def lloyd_step(points: jax.Array, centers: jax.Array) -> jax.Array:
    """Unit centers [M, D] → mean directions of the points [n, D] that are nearest to each.

    Centers without points move to the points farthest from their own centers.
    """
    assigned = assign(points, centers)
    sums = jax.ops.segment_sum(points, assigned, num_segments=len(centers))
    empty = jnp.linalg.norm(sums, axis=1) == 0  # a NaN is not: its center stays, and shows
    farthest = jnp.argsort(jnp.max(points @ centers.T, axis=1))[: len(centers)]
    seeds = points[farthest][jnp.cumsum(empty) - 1]
    return normalise(jnp.where(empty[:, None], seeds, sums))
