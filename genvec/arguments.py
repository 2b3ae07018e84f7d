"""Checks of arguments at public entrances: each error names the argument, its value, what may be.

Arguments are given by name, so that a check reads `check_whole(latent=latent)`.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any


def check_whole(*, least: int = 1, **numbers: Any) -> None:
    """Raises ValueError unless every number is whole and at least `least`."""
    for name, value in numbers.items():
        if not is_whole(value) or value < least:
            raise ValueError(f"{name} is {value!r}; allowed: a whole number, {least} or more")


def check_number(*, least: float = -math.inf, above: float = -math.inf, **numbers: Any) -> None:
    """Raises ValueError unless every number is finite, at least `least` and larger than `above`."""
    for name, value in numbers.items():
        if not is_number(value) or value < least or value <= above:
            bound = f" above {above:g}" if above > -math.inf else ""
            bound = f", {least:g} or more" if least > -math.inf else bound
            raise ValueError(f"{name} is {value!r}; allowed: a finite number{bound}")


def check_widths(*, layers: int = 0, **widths: Any) -> None:
    """Raises ValueError unless every argument is a tuple of whole positive numbers.

    Args:
      layers: as many numbers are needed at least.
      widths: name → what it should be.
    """
    for name, value in widths.items():
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        if not listed or len(value) < layers or not all(is_whole(x) and int(x) >= 1 for x in value):
            some = f"at least {layers} " if layers else ""
            raise ValueError(
                f"{name} is {value!r}; allowed: a tuple of {some}whole positive numbers, such as "
                f"({'16, ' * max(layers - 1, 0)}32,)"
            )


def check_image_shape(image_shape: Any) -> None:
    """Raises ValueError unless it is (H, W, C), all whole and positive."""
    check_widths(image_shape=image_shape)
    if len(image_shape) != 3:
        raise ValueError(f"image_shape is {tuple(image_shape)}; allowed: (height, width, channels)")


def check_network(image_shape: Any, hidden: Any, latent: Any) -> None:
    """Raises ValueError unless image shape, hidden widths and size of the code are possible."""
    check_image_shape(image_shape)
    check_widths(hidden=hidden)
    check_whole(latent=latent)


def check_options(make: Callable[..., Any], options: Mapping[str, Any], *, kind: str) -> None:
    """Raises ValueError where `make` takes no option of such a name; the message lists its own.

    Args:
      make: what is called with `**options`.
      options: name → value.
      kind: what `make` makes, for the message: "family", "encoder", …
    """
    known = options_of(make)
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(
            f"the {kind} has no option {', '.join(map(repr, unknown))}; "
            f"it has: {', '.join(sorted(known)) or 'none'}"
        )


def options_of(make: Callable[..., Any]) -> dict[str, Any]:
    """Name → default of all that `make` may be given by name and need not be given.

    A Flax module's `parent` and `name` are left out.
    """
    parameters = inspect.signature(make).parameters.values()
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.default is not parameter.empty and parameter.name not in ("parent", "name")
    }


def is_whole(value: Any) -> bool:
    """True for 3 and numpy's 3, False for 3.0 and True."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """True for finite numbers, False for NaN, infinities, True and all else."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
