"""Checks of the parts that many sections of a config have; all raise ValueError."""

from collections.abc import Callable, Iterable
from typing import Any

from genvec.arguments import check_number, check_whole, is_whole

MOST_SEED = 2**32 - 1  # what `jax.random.fold_in` takes
# of a section that tells how something is trained
COUNTS = ("steps", "num_steps", "batch_size", "eval_every", "groups", "objects")
NOT_NEGATIVE = ("weight_decay", "max_shift", "warp")


def check_fields(section: Any, *names: str, least: int = 1) -> None:
    """Whole numbers, `least` or more."""
    check_whole(least=least, **{name: section[name] for name in names})


def check_seed(**seeds: int) -> None:
    """A whole number that a key can be made of; larger ones would silently lose digits."""
    for name, seed in seeds.items():
        if not is_whole(seed) or not 0 <= seed <= MOST_SEED:
            raise ValueError(f"{name} is {seed}; allowed: whole numbers in 0..{MOST_SEED}")


def check_seeds(**seeds: tuple[int, ...]) -> None:
    """At least one, and none of them twice."""
    for name, values in seeds.items():
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{name} is {values}; allowed: one or more, none of them twice")
        for seed in values:
            check_seed(**{name: seed})


def check_once(values: Iterable[Any], name_of: Callable[[Any], str], kind: str) -> None:
    """No two of one name."""
    names = [name_of(value) for value in values]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{kind}, {twice}, stands there twice; a run keeps one of each name")


def check_training(train: Any) -> None:
    """Counts, learning rates and decays of a section that tells how something is trained."""
    check_fields(train, *(name for name in COUNTS if name in train))
    for name in NOT_NEGATIVE:
        if name in train:
            check_number(least=0, **{name: train[name]})
    for rate in learning_rates(train) if "learning_rate" in train else ():
        if not rate > 0:
            raise ValueError(f"learning_rate is {train.learning_rate}; each must be positive")
    decay = train.get("average_decay", 0.0)
    if not 0 <= decay < 1:
        raise ValueError(f"average_decay is {decay}; allowed: 0 or more, less than 1")


def learning_rates(train: Any) -> tuple[float, ...]:
    """Those that are tried; the best on validation is kept."""
    rates = train.learning_rate
    return rates if isinstance(rates, tuple) else (rates,)
