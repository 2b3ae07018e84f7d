"""Triplet likelihood of objects that are embedded as Gaussians."""

import jax
import jax.numpy as jnp

from genvec.objectives.contract import GroupBatch, GroupObjective, check_batch, nothing

LARGEST_BOUND = 20.0  # of log variances: divergences and their squares stay in float32's range


def gaussian_triplet(
    dimension: int, num_groups: int, *, log_variance_bound: float = 1.0
) -> GroupObjective:
    """Mean over triplets of −log(e^{−d(a, p)} / (e^{−d(a, p)} + e^{−d(a, n)})).

    Over all triplets of the batch: an object a, another p of its group, an n of another group; 0
    where there are none. d is `symmetrised_kl` of Gaussians with diagonal covariance: the first D/2
    numbers of an embedding are the means, its last D/2 numbers r give the logarithms b tanh(r / b)
    of the variances, within ±b.
    `embed` gives the means alone; the variances are not in it.
    Reference: Karaletsos et al. 2015, arXiv 1506.05011, the triplet likelihood of their model,
    without the generative part. The Jensen–Shannon divergence to the mixture of two Gaussians has
    no closed form; the symmetrised KL divergence stands in for it.

    Args:
      dimension, num_groups: D, even, and G.
      log_variance_bound: b; the standard deviations are within e^{±b/2}. At 3 the variances alone
        can satisfy the triplets, and the means stay where they are. At most `LARGEST_BOUND`.

    Raises:
      ValueError: an odd dimension, or a bound that is not positive or too large for float32.
    """
    del num_groups
    if dimension < 2 or dimension % 2:
        raise ValueError(f"dimension is {dimension}; means and variances need an even one")
    if not 0 < log_variance_bound <= LARGEST_BOUND:
        raise ValueError(
            f"log_variance_bound is {log_variance_bound}; it must be positive, and at most "
            f"{LARGEST_BOUND:g}: divergences grow as its exponential"
        )

    def loss(params, state, batch: GroupBatch):
        check_batch(batch, dimension)
        mean, raw = jnp.split(batch.embeddings, 2, axis=1)
        log_variance = log_variance_bound * jnp.tanh(raw / log_variance_bound)
        return triplet_likelihood(symmetrised_kl(mean, log_variance), batch.group), state

    def embed(params, embeddings):
        del params
        return embeddings[:, : dimension // 2]

    return GroupObjective(nothing, nothing, loss, embed)


def symmetrised_kl(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """½ KL(p_i‖p_j) + ½ KL(p_j‖p_i) of all pairs of Gaussians: means, log σ² [B, H] → [B, B].

    A sum over H of sinh²((log σ_i² − log σ_j²) / 2) + (μ_i − μ_j)² (1/σ_i² + 1/σ_j²) / 4.
    """
    precision = jnp.exp(-log_variance)
    shape = jnp.sum(jnp.sinh((log_variance[:, None] - log_variance) / 2) ** 2, axis=2)
    place = (mean[:, None] - mean) ** 2 * (precision[:, None] + precision) / 4
    return shape + jnp.sum(place, axis=2)


def triplet_likelihood(divergences: jax.Array, group: jax.Array) -> jax.Array:
    """Mean of −log p of the triplets (a, p, n) of a batch, from d [B, B]; 0 where there are none.

    −log p = softplus(d(a, p) − d(a, n)), which does not overflow.
    """
    same = group[:, None] == group
    positive = same & ~jnp.eye(len(group), dtype=bool)
    valid = positive[:, :, None] & ~same[:, None, :]  # [a, p, n]
    surprise = jax.nn.softplus(divergences[:, :, None] - divergences[:, None, :])
    return jnp.sum(surprise, where=valid) / jnp.maximum(1, jnp.sum(valid))
