"""How a config takes its variants: `configs/digits.py:ae,few` is two of them."""

from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

Variants = Mapping[str, Callable[[Any], None]]


def vary(arg: str, name: str, config: Any, variants: Variants) -> ConfigDict:
    """Changes a config by the variants named in `arg`, and names the config after them.

    They are applied in the order of the table `variants`, in whatever order they are asked for.

    Raises:
      ValueError: an unknown variant; the message lists the known ones.
    """
    asked = [variant for variant in arg.split(",") if variant]
    if unknown := set(asked) - set(variants):
        raise ValueError(f"unknown variant {sorted(unknown)}; known: {', '.join(variants)}")
    config.name = "_".join([name, *asked])
    for variant, change in variants.items():
        if variant in asked:
            change(config)
    return config
