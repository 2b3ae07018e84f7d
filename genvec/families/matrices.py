"""Small matrices without LAPACK.

On the CPU its batched kernels wait for the threads of the very pool they run in, and a zoo on two
devices can hang for good (seen with jaxlib 0.10.2).
"""

import jax
import jax.numpy as jnp

DEPENDENT = 1e-4  # of a row's length: what is left where others span it is rounding, of 1e-7


@jax.custom_jvp
def inverse_and_log_det(M: jax.Array) -> tuple[jax.Array, jax.Array]:
    """M⁻¹ and log |M| of a positive definite [Z, Z] by sweeping its pivots one after the other.

    Reference: Goodnight 1979, Am. Stat. 33:149 (the sweep operator).
    """

    def sweep(k, carry):
        A, log_det = carry
        e, pivot = jnp.eye(len(M))[k], A[k, k]
        rest = A[k] * (1 - e) - e
        A = A * jnp.outer(1 - e, 1 - e) - jnp.outer(rest, rest) / pivot
        return A, log_det + jnp.log(pivot)

    A, log_det = jax.lax.fori_loop(0, len(M), sweep, (M, jnp.zeros(())))
    return -A, log_det


@inverse_and_log_det.defjvp
def _inverse_and_log_det_jvp(primals, tangents):
    (M,), (dM,) = primals, tangents
    inverse, log_det = inverse_and_log_det(M)
    return (inverse, log_det), (-inverse @ dM @ inverse, jnp.sum(inverse * dM))


def orthonormal_rows(rows: jax.Array) -> jax.Array:
    """Gram–Schmidt on [Z, d], Z ≤ d: the first k rows keep their span, and their directions.

    A row that the ones before it span, such as a repeated one, has no direction of its own, nor has
    a row of zeros: it gets that of the axis which they cover least. NaN stays NaN.
    """
    found: list[jax.Array] = []
    for row in rows:
        rest = _without(row, found)
        dependent = jnp.linalg.norm(rest) <= DEPENDENT * jnp.linalg.norm(row)
        rest = jnp.where(dependent, _least_covered(found, len(row)), rest)
        found.append(rest / jnp.linalg.norm(rest))
    return jnp.stack(found)


def _without(row: jax.Array, found: list[jax.Array]) -> jax.Array:
    """A row [d] less its parts along orthonormal ones."""
    for other in found:
        row = row - (row @ other) * other
    return row


def _least_covered(found: list[jax.Array], d: int) -> jax.Array:
    """What orthonormal rows leave of the axis along which they are shortest: [d]."""
    covered = sum((jnp.square(row) for row in found), jnp.zeros(d))
    return _without(jax.nn.one_hot(jnp.argmin(covered), d), found)
