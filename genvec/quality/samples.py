"""What two sets of samples must fulfil to be compared, checked before any compute.

Shapes are known when traced. Numbers are not: inside of jit and vmap a NaN goes on to the result.
"""

from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.core import Tracer

from genvec import trees


def check_samples(
    x: jax.Array, y: jax.Array, *, at_least: int = 1, names: Sequence[str] = ("x", "y")
) -> None:
    """Refuses anything but finite x [M, F] and y [M', F] with M and M' `at_least` so many.

    Raises:
      AssertionError: a rank that is not two.
      ValueError: different F, too few samples, or rows that are not finite; names them.
    """
    chex.assert_rank([x, y], 2)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"both samples need the same F, not {x.shape[1]} and {y.shape[1]}")
    if min(len(x), len(y)) < at_least:
        raise ValueError(f"needs at least {at_least} samples, not {len(x)} and {len(y)}")
    check_numbers(**dict(zip(names, (x, y), strict=True)))


def check_numbers(**arrays: Any) -> None:
    """Refuses arrays, by name, without rows, or with rows that are not finite where they are known.

    Raises:
      NotFiniteError: which rows of which array.
      ValueError: which array has none.
    """
    for name, array in arrays.items():
        if not len(array):
            raise ValueError(f"{name} has no rows; at least one is needed")
        if is_known(array):
            trees.check_finite(name, array)


def is_known(*arrays: Any) -> bool:
    """Whether these are numbers, and not placeholders that jit or vmap traces a program with."""
    return not any(isinstance(array, Tracer) for array in arrays)


def nan_unless_finite(value: jax.Array, *inputs: jax.Array) -> jax.Array:
    """The value; NaN where an input is not finite, for what compares and would pass over a NaN."""
    finite = jnp.stack([jnp.all(jnp.isfinite(x)) for x in inputs])
    return jnp.where(jnp.all(finite), value, jnp.nan)


def check_range(name: str, value: float, *, least: float, below: float = float("inf")) -> None:
    """Refuses a value outside least ≤ value < below, naming it.

    Raises:
      ValueError: it is outside, or not a number.
    """
    if not least <= value < below:
        limit = "" if below == float("inf") else f" and below {below}"
        raise ValueError(f"{name} must be at least {least}{limit}, not {value}")
