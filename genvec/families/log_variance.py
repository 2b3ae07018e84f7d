"""Log-variances that a network or a parameter gives, kept where their exponential is a number."""

from functools import partial

import jax
import jax.numpy as jnp

LARGEST = 20.0  # e^20 = 5e8; what is learned of pixels in [0, 1] is below 5
SMALLEST = -20.0  # 2e-9; the rounding of 8-bit pixels alone has a variance of e^-13.6


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def bounded(log_variance: jax.Array, smallest: float = -jnp.inf) -> jax.Array:
    """The same, but within `smallest` and `LARGEST`; NaN stays NaN.

    The gradient is that of the identity, so that training can lead back from outside.
    """
    return jnp.clip(log_variance, smallest, LARGEST)


@bounded.defjvp
def _bounded_jvp(smallest, primals, tangents):
    return bounded(primals[0], smallest), tangents[0]
