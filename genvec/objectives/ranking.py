"""Triplets mined in the batch: an object nearer to its own group than to any other."""

import chex
import jax
import jax.numpy as jnp

from genvec.geometry import pairwise_distances
from genvec.objectives.contract import GroupBatch, GroupObjective, check_batch, nothing


def triplet(
    dimension: int, num_groups: int, *, margin: float = 0.2, mining: str = "hard"
) -> GroupObjective:
    """Mean over anchors of max(0, d(a, p) − d(a, n) + margin), d the Euclidean distance.

    "hard": p is the farthest object of the anchor's group in the batch, n the nearest of another.
    "semi_hard": every positive in turn, n the nearest that is farther than p; the farthest of all
    where there is none. Anchors without a positive or without a negative do not count.
    Reference: Hermans et al. 2017, arXiv 1703.07737, eq. 5 (hard); Schroff et al. 2015,
    arXiv 1503.03832, section 3.2 (semi-hard, with squared distances there).

    Args:
      dimension, num_groups: D and G.
      margin: in units of the embedding, which is not normalised and grows with it.
      mining: "hard" or "semi_hard".

    Raises:
      ValueError: an unknown mining, or a margin that is not positive.
    """
    del num_groups
    check_mining(margin, mining)

    def loss(params, state, batch: GroupBatch):
        check_batch(batch, dimension)
        apart = pairwise_distances(batch.embeddings, batch.embeddings)
        return mined_triplets(apart, batch.group, margin=margin, mining=mining), state

    return GroupObjective(nothing, nothing, loss, lambda params, x: x)


def check_mining(margin: float, mining: str) -> None:
    """Raises ValueError for an unknown mining or a margin that is not positive."""
    if mining not in MINING:
        raise ValueError(f"unknown mining {mining!r}; known: {', '.join(MINING)}")
    if not margin > 0:
        raise ValueError(f"margin is {margin}; it must be positive")


def mined_triplets(
    distances: jax.Array, group: jax.Array, *, margin: float, mining: str
) -> jax.Array:
    """The mean hinge of the triplets that are mined from distances [B, B]; 0 where there are none.

    See `triplet`.
    """
    chex.assert_shape(distances, (len(group), len(group)))
    same = group[:, None] == group
    hinge, counts = MINING[mining](distances, same & ~jnp.eye(len(group), dtype=bool), ~same)
    hinge = jnp.maximum(0, jnp.where(counts, hinge, 0) + margin)
    return jnp.sum(jnp.where(counts, hinge, 0)) / jnp.maximum(1, jnp.sum(counts))


def _hard(distances, positive, negative):
    """d(a, p) − d(a, n) [B] and whether the anchor has both."""
    farthest = jnp.max(jnp.where(positive, distances, -jnp.inf), axis=1)
    nearest = jnp.min(jnp.where(negative, distances, jnp.inf), axis=1)
    return farthest - nearest, positive.any(axis=1) & negative.any(axis=1)


def _semi_hard(distances, positive, negative):
    """d(a, p) − d(a, n) [B, B] over anchors and their positives, and which count."""
    # [a, p, n]
    # not ">": a NaN among the negatives counts as farther, and is seen in the minimum
    farther = negative[:, None, :] & ~(distances[:, None, :] <= distances[:, :, None])
    nearest = jnp.min(jnp.where(farther, distances[:, None, :], jnp.inf), axis=2)
    easiest = jnp.max(jnp.where(negative, distances, -jnp.inf), axis=1)
    chosen = jnp.where(farther.any(axis=2), nearest, easiest[:, None])
    return distances - chosen, positive & negative.any(axis=1)[:, None]


MINING = {"hard": _hard, "semi_hard": _semi_hard}
