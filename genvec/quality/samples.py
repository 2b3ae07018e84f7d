"""What two sets of samples must fulfil to be compared; checked on shapes, before any compute."""

import chex
import jax


def check_samples(x: jax.Array, y: jax.Array, *, at_least: int = 1) -> None:
    """Refuses anything but x [M, F] and y [M', F] with M and M' `at_least` so many.

    Raises:
      AssertionError: a rank that is not two.
      ValueError: different F, or too few samples.
    """
    chex.assert_rank([x, y], 2)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"both samples need the same F, not {x.shape[1]} and {y.shape[1]}")
    if min(len(x), len(y)) < at_least:
        raise ValueError(f"needs at least {at_least} samples, not {len(x)} and {len(y)}")


def check_range(name: str, value: float, *, least: float, below: float = float("inf")) -> None:
    """Refuses a value outside least ≤ value < below, naming it.

    Raises:
      ValueError: it is outside, or not a number.
    """
    if not least <= value < below:
        limit = "" if below == float("inf") else f" and below {below}"
        raise ValueError(f"{name} must be at least {least}{limit}, not {value}")
