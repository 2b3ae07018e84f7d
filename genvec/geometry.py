"""The simplex, the unit sphere and distances on them; numpy in, numpy out, and the same for JAX."""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = Any  # np.ndarray or jax.Array; the result is of the same kind and precision


def _namespace(x: Array) -> ModuleType:
    return jnp if isinstance(x, jax.Array) else np


def to_sphere(mixture: Array) -> Array:
    """Proportions [.., K] → the positive orthant of the unit sphere (d = p / ‖p‖)."""
    return mixture / _namespace(mixture).linalg.norm(mixture, axis=-1, keepdims=True)


def to_simplex(embedding: Array) -> Array:
    """The inverse of `to_sphere`: [.., K] scaled to sum one."""
    return embedding / embedding.sum(axis=-1, keepdims=True)


def angle_deg(a: Array, b: Array) -> Array:
    """Angle between directions a and b [.., K] in degrees [..]; lengths do not matter, except zero.

    Exact near 0° and 180° as well, where arccos loses half of the digits; not for gradients.
    Reference: Kahan 2006, "How Futile are Mindless Assessments of Roundoff", "Mangled Angles".
    """
    a, b = to_sphere(a), to_sphere(b)
    norm = _namespace(a).linalg.norm
    half = _namespace(a).arctan2(norm(a - b, axis=-1), norm(a + b, axis=-1))
    return 2 * half * (180 / np.pi)


def squared_distances(a: Array, b: Array) -> Array:
    """‖a_i − b_j‖² for all pairs: [n, D], [m, D] → [n, m]; by differences: equal rows give 0."""
    return ((a[:, None] - b[None]) ** 2).sum(axis=-1)


def pairwise_distances(a: Array, b: Array) -> Array:
    """‖a_i − b_j‖ for all pairs: [n, D], [m, D] → [n, m]; its gradient at distance zero is zero.

    NaN where a row holds a NaN.
    """
    xp = _namespace(a)
    squared = squared_distances(a, b)
    equal = squared == 0  # not "> 0": a NaN is neither
    return xp.where(equal, 0, xp.sqrt(xp.where(equal, 1, squared)))
