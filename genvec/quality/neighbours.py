"""Estimates from the distances to the nearest neighbours; memory is that of all pairs, [M, M']."""

import jax
import jax.numpy as jnp

from genvec.geometry import squared_distances
from genvec.quality.samples import check_range, check_samples, nan_unless_finite


def knn_kl(x: jax.Array, y: jax.Array, *, k: int = 1) -> jax.Array:
    """KL(p ‖ q) in nats from x [M, F] of p and y [M', F] of q, without densities.

    (F / M) Σ_i log(ν_k(i) / ρ_k(i)) + log(M' / (M − 1)), where ρ_k(i) is the distance from x_i to
    its k-th nearest among the other x, and ν_k(i) that to its k-th nearest among y.

    Biased as the densities change within those distances: too small for distributions far apart,
    ever more so as F grows (F ≤ 5 or so at thousands of samples), and it may be negative. A larger
    k lowers the variance and raises the bias.

    Samples that coincide, as of a generator that has collapsed, are counted: log of the number of
    other x within ρ_k(i) over that of y within ν_k(i), which is k over k where distances differ.
    Their distance is taken for the smallest that float32 would tell, 1.2e-7 of the root mean square
    length of x or y, whichever is longer. So the divergence is finite: some 13 F + log M where all
    x are one point, log M' if that is one of the y.
    Reference: Pérez-Cruz 2008, "Kullback-Leibler Divergence Estimation of Continuous
    Distributions", eq. 14; Wang, Kulkarni & Verdú 2009, IEEE Trans. Inf. Theory 55:2392; counts as
    in Gao et al. 2017, arXiv 1709.06212, algorithm 1.

    Raises:
      ValueError: different F, rows that are not finite, or a k that is not below M and M'.
    """
    check_samples(x, y)
    check_range("k", k, least=1, below=min(len(x), len(y)))
    to_others, to_y, least = _to_others(x), squared_distances(x, y), _resolution(x, y)
    rho = jnp.maximum(_kth_smallest(to_others, k), least)
    nu = jnp.maximum(_kth_smallest(to_y, k), least)
    ratio = (jnp.log(nu) - jnp.log(rho)) / 2  # of squared distances
    counts = (jnp.sum(d <= r[:, None], axis=1) for d, r in ((to_others, rho), (to_y, nu)))
    ties = jnp.subtract(*map(jnp.log, counts))  # k and k, so 0, where no distances are equal
    value = x.shape[1] * jnp.mean(ratio) + jnp.log(len(y) / (len(x) - 1)) + jnp.mean(ties)
    return nan_unless_finite(value, x, y)


def precision_recall(
    real: jax.Array, generated: jax.Array, *, k: int = 3
) -> tuple[jax.Array, jax.Array]:
    """Precision, the share of generated on the real's manifold, and recall, the other way round.

    A manifold is the union of balls around its samples, each as wide as the distance to the k-th
    nearest of the others.
    Both depend on M, M' and k, and are comparable at equal ones only. Two samples of one
    distribution do not reach 1, less so in high F; a real outlier has a wide ball, which raises
    precision, and a generated one raises recall.
    Reference: Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 1 and 2 (k = 3 is theirs).

    Args:
      real: features [M, F].
      generated: features [M', F].
      k: neighbours.

    Returns:
      (precision, recall), each in [0, 1].

    Raises:
      ValueError: different F, rows that are not finite, or a k that is not below M and M'.
    """
    check_samples(real, generated, names=("real", "generated"))
    check_range("k", k, least=1, below=min(len(real), len(generated)))
    squared = squared_distances(real, generated)  # [M, M']
    precision = jnp.any(squared <= _kth_squared(real, k)[:, None], axis=0)
    recall = jnp.any(squared <= _kth_squared(generated, k), axis=1)
    precision, recall = jnp.mean(precision), jnp.mean(recall)
    return (
        nan_unless_finite(precision, real, generated),
        nan_unless_finite(recall, real, generated),
    )


def _resolution(x: jax.Array, y: jax.Array) -> jax.Array:
    """The smallest squared distance that numbers of the size of x and y tell from none."""
    squared = jnp.stack([jnp.mean(jnp.sum(jnp.square(z), axis=1)) for z in (x, y)])
    limits = jnp.finfo(squared.dtype)
    return jnp.maximum(limits.eps**2 * jnp.max(squared), limits.tiny)


def _kth_squared(x: jax.Array, k: int) -> jax.Array:
    """Squared distance of each row of x [M, F] to its k-th nearest among the other rows: [M]."""
    return _kth_smallest(_to_others(x), k)


def _to_others(x: jax.Array) -> jax.Array:
    """Squared distances [M, M] of rows of x [M, F], infinite of a row to itself."""
    return jnp.where(jnp.eye(len(x), dtype=bool), jnp.inf, squared_distances(x, x))


def _kth_smallest(values: jax.Array, k: int) -> jax.Array:
    # the largest of the k, not the last: a slice makes XLA sort whole rows, 50 × slower on the CPU
    return jnp.max(-jax.lax.top_k(-values, k)[0], axis=1)
