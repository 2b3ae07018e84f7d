"""Additive angular margin: a learned centre for every group, and angles to the centres."""

import math

import chex
import jax
import jax.numpy as jnp

from genvec.objectives.contract import GroupBatch, GroupObjective, check_batch, normalise, nothing

NEAREST = 1 - 1e-6  # arccos has no slope at ±1; float32 still tells this number from 1
CENTRE = 0.01  # of the centres at the start: short ones turn quickly under Adam


def arcface(
    dimension: int, num_groups: int, *, scale: float = 16.0, margin: float = 0.3
) -> GroupObjective:
    """Mean of −log(e^{s cos(θ_y + m)} / (e^{s cos(θ_y + m)} + Σ_{j≠y} e^{s cos θ_j})).

    θ_j is the angle between an object and the learned centre of group j, y the object's own group.
    Reference: Deng et al. 2018, arXiv 1801.07698, eq. 3 (s = 64 and m = 0.5 there, for faces).

    Args:
      dimension, num_groups: D and G.
      scale: s, what cosines are multiplied by.
      margin: m in radians, what is added to the angle to the own centre.

    Raises:
      ValueError: a scale that is not positive, or a margin outside of [0, π).
    """
    check_margin(scale, margin)

    def init(key):
        return {"centres": CENTRE * jax.random.normal(key, (num_groups, dimension))}

    def loss(params, state, batch: GroupBatch):
        check_batch(batch, dimension)
        cosines = normalise(batch.embeddings) @ normalise(params["centres"]).T
        logits = arcface_logits(cosines, batch.group, scale=scale, margin=margin)
        return cross_entropy(logits, batch.group), state

    return GroupObjective(init, nothing, loss, lambda params, x: normalise(x))


def check_margin(scale: float, margin: float) -> None:
    """Raises ValueError for a scale that is not positive or a margin outside of [0, π)."""
    if not scale > 0:
        raise ValueError(f"scale is {scale}; it must be positive")
    if not 0 <= margin < math.pi:
        raise ValueError(f"margin is {margin}; it must be an angle in [0, π)")


def arcface_logits(
    cosines: jax.Array, group: jax.Array, *, scale: float, margin: float
) -> jax.Array:
    """s cos θ_j [B, G], at the own group s cos(θ_y + m), from cosines [B, G] and groups [B].

    Past θ_y + m = π, where the cosine would rise again, −2 − cos(θ_y + m) takes over: value and
    slope are continuous, and a larger angle always has the smaller logit.
    Reference: Liu et al. 2017, arXiv 1704.08063, section 3.2 (ψ) for the continuation.

    The own cosine is clipped to ±(1 − 1e-6) before the arccos: closer than 1.4e-3 radians to the
    centre, or to its opposite, this logit has gradient zero instead of an infinite one.
    """
    chex.assert_shape(cosines, (len(group), None))
    own = jnp.take_along_axis(cosines, group[:, None], axis=1)
    angle = jnp.arccos(jnp.clip(own, -NEAREST, NEAREST)) + margin
    harder = jnp.where(angle <= jnp.pi, jnp.cos(angle), -2 - jnp.cos(angle))
    return scale * jnp.where(jnp.arange(cosines.shape[1]) == group[:, None], harder, cosines)


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Mean over rows of −log softmax of logits [B, K] at the label [B]."""
    log_p = jax.nn.log_softmax(logits, axis=1)
    return -jnp.mean(jnp.take_along_axis(log_p, label[:, None], axis=1))
