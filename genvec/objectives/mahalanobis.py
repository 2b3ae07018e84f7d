"""A linear map learned on top of the embedding: Mahalanobis distances between objects."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from genvec.geometry import pairwise_distances
from genvec.objectives.contract import GroupBatch, GroupObjective, check_batch, nothing
from genvec.objectives.ranking import check_mining, mined_triplets


def mahalanobis_siamese(dimension: int, num_groups: int, *, margin: float = 1.0) -> GroupObjective:
    """Mean over pairs of a group of ½ d² + mean over the others of ½ max(0, margin − d)².

    d(x, y) = ‖L (x − y)‖ with the factor L learned along with the encoder, from the identity on;
    all pairs of the batch, and a kind of pair that it lacks costs nothing.
    Reference: Hadsell, Chopra & LeCun 2006, "Dimensionality Reduction by Learning an Invariant
    Mapping", eq. 4, which sums over both kinds at once; L as in Weinberger & Saul 2009, "Distance
    Metric Learning for Large Margin Nearest Neighbor Classification", section 2.

    Args:
      dimension, num_groups: D and G.
      margin: how far apart objects of two groups need to be, in units of the mapped embedding.

    Raises:
      ValueError: a margin that is not positive.
    """
    del num_groups
    if not margin > 0:
        raise ValueError(f"margin is {margin}; it must be positive")

    def loss(params, state, batch: GroupBatch):
        check_batch(batch, dimension)
        z = embed(params, batch.embeddings)
        apart = pairwise_distances(z, z)
        same = batch.group[:, None] == batch.group
        others = ~jnp.eye(len(z), dtype=bool)
        near = _mean_where(same & others, apart**2 / 2)
        far = _mean_where(~same, jnp.maximum(0, margin - apart) ** 2 / 2)
        return near + far, state

    return GroupObjective(_identity(dimension), nothing, loss, embed)


def mahalanobis_triplet(
    dimension: int, num_groups: int, *, margin: float = 0.2, mining: str = "hard"
) -> GroupObjective:
    """`triplet` on d(x, y) = ‖L (x − y)‖, with L learned along with the encoder.

    Reference: Weinberger & Saul 2009, "Distance Metric Learning for Large Margin Nearest Neighbor
    Classification", eq. 13, without squares and with the mining of `triplet`; also Davis et al.
    2007, "Information-Theoretic Metric Learning", for another way to learn LᵀL.

    Args:
      dimension, num_groups: D and G.
      margin: in units of the mapped embedding.
      mining: "hard" or "semi_hard".

    Raises:
      ValueError: an unknown mining, or a margin that is not positive.
    """
    del num_groups
    check_mining(margin, mining)

    def loss(params, state, batch: GroupBatch):
        check_batch(batch, dimension)
        z = embed(params, batch.embeddings)
        apart = pairwise_distances(z, z)
        return mined_triplets(apart, batch.group, margin=margin, mining=mining), state

    return GroupObjective(_identity(dimension), nothing, loss, embed)


def embed(params: Mapping[str, jax.Array], embeddings: jax.Array) -> jax.Array:
    """L x for each x of [B, D]: Euclidean distances between these are the Mahalanobis distances."""
    return embeddings @ params["factor"].T


def metric(params: Mapping[str, jax.Array]) -> jax.Array:
    """M = LᵀL [D, D], positive semi-definite: d(x, y)² = (x − y)ᵀ M (x − y)."""
    return params["factor"].T @ params["factor"]


def _identity(dimension):
    """The `init` at which distances are Euclidean."""
    return lambda key: {"factor": jnp.eye(dimension)}


def _mean_where(mask, values):
    """The mean of the values in the mask; 0 where it is empty."""
    return jnp.sum(jnp.where(mask, values, 0)) / jnp.maximum(1, jnp.sum(mask))
