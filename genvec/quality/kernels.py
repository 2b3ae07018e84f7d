"""Maximum mean discrepancy, by a kernel of the distance."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from genvec.geometry import squared_distances
from genvec.quality.samples import check_samples, nan_unless_finite
from genvec.registry import lookup


def gaussian(squared: jax.Array, scale: float) -> jax.Array:
    """exp(−‖x − y‖² / (2 σ²)) of squared distances; `scale` is σ, a distance."""
    return jnp.exp(-squared / (2 * scale**2))


def inverse_multiquadratic(squared: jax.Array, scale: float) -> jax.Array:
    """C / (C + ‖x − y‖²) of squared distances; `scale` is C, a squared distance.

    Heavy tails: points far apart still pull. C = 2 F σ² suits a prior N(0, σ² I).
    Reference: Tolstikhin et al. 2018, arXiv 1711.01558, section 4.
    """
    return scale / (scale + squared)


def mmd(
    x: jax.Array, y: jax.Array, *, kernel: str = "gaussian", scales: Sequence[float] = (1.0,)
) -> jax.Array:
    """Squared maximum mean discrepancy of x [M, F] and y [M', F], unbiased, so below zero at times.

    mean_{i≠j} k(x_i, x_j) + mean_{i≠j} k(y_i, y_j) − 2 mean_{i,j} k(x_i, y_j), where k is the sum
    of the kernel over `scales`. Unbiased at any M; its standard deviation falls as M^−½ where the
    distributions differ and as M⁻¹ where they are equal. Gradients are finite where points meet.
    Reference: Gretton et al. 2012, JMLR 13:723, eq. 3.

    Args:
      x, y: samples, at least two each.
      kernel: a name of `KERNELS`.
      scales: positive, in the units of the kernel's own `scale`.

    Raises:
      KeyError: an unknown kernel; the message lists the known ones.
      ValueError: different F, fewer than two samples, rows that are not finite, or scales that are
        none or not positive.
    """
    check_samples(x, y, at_least=2)
    fn = lookup(KERNELS, kernel, kind="kernel")
    if not scales or not all(scale > 0 for scale in scales):
        raise ValueError(f"scales must be one positive number or more, not {scales}")

    def values(a: jax.Array, b: jax.Array) -> jax.Array:
        squared = squared_distances(a, b)
        return jnp.sum(jnp.stack([fn(squared, scale) for scale in scales]), axis=0)

    def mean_of_others(a: jax.Array) -> jax.Array:
        num = len(a)
        itself = jnp.eye(num, dtype=bool)
        return jnp.sum(jnp.where(itself, 0, values(a, a))) / (num * (num - 1))

    # a kernel of an infinite distance is 0, a number like any other
    value = mean_of_others(x) + mean_of_others(y) - 2 * jnp.mean(values(x, y))
    return nan_unless_finite(value, x, y)


KERNELS: Mapping[str, Callable[[jax.Array, float], jax.Array]] = {
    "gaussian": gaussian,
    "inverse_multiquadratic": inverse_multiquadratic,
}
