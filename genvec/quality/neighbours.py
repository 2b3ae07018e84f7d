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
    k lowers the variance and raises the bias. For continuous features. Samples that coincide count
    as far apart as float32 would tell: 1.2e-7 of the root mean square length of x or y, whichever
    is longer. So a collapsed generator has a large divergence, some 13 F, but not an infinite one.
    Reference: Pérez-Cruz 2008, "Kullback-Leibler Divergence Estimation of Continuous
    Distributions", eq. 14; Wang, Kulkarni & Verdú 2009, IEEE Trans. Inf. Theory 55:2392.

    Raises:
      ValueError: different F, rows that are not finite, or a k that is not below M and M'.
    """
    check_samples(x, y)
    check_range("k", k, least=1, below=min(len(x), len(y)))
    least = _resolution(x, y)
    rho = jnp.maximum(_kth_squared(x, k), least)
    nu = jnp.maximum(_kth_smallest(squared_distances(x, y), k), least)
    ratio = (jnp.log(nu) - jnp.log(rho)) / 2  # of squared distances
    value = x.shape[1] * jnp.mean(ratio) + jnp.log(len(y) / (len(x) - 1))
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
    shares = (nan_unless_finite(jnp.mean(x), real, generated) for x in (precision, recall))
    return tuple(shares)


def _resolution(x: jax.Array, y: jax.Array) -> jax.Array:
    """The smallest squared distance that numbers of the size of x and y tell from none."""
    squared = jnp.stack([jnp.mean(jnp.sum(jnp.square(z), axis=1)) for z in (x, y)])
    limits = jnp.finfo(squared.dtype)
    return jnp.maximum(limits.eps**2 * jnp.max(squared), limits.tiny)


def _kth_squared(x: jax.Array, k: int) -> jax.Array:
    """Squared distance of each row of x [M, F] to its k-th nearest among the other rows: [M]."""
    itself = jnp.eye(len(x), dtype=bool)
    return _kth_smallest(jnp.where(itself, jnp.inf, squared_distances(x, x)), k)


def _kth_smallest(values: jax.Array, k: int) -> jax.Array:
    # the largest of the k, not the last: a slice makes XLA sort whole rows, 50 × slower on the CPU
    return jnp.max(-jax.lax.top_k(-values, k)[0], axis=1)
