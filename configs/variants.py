"""How a config takes its variants: `configs/digits.py:ae,few` is two of them."""

from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from typing import Any, NamedTuple

from ml_collections import ConfigDict

Change = Callable[[Any], None]  # sets fields of a config
Fields = dict[str, Any]
ALL = "all others"


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


ABSENT = _Absent()  # the value of a field that is not there


class VariantError(ValueError):
    """Variants that are unknown, or that cannot be had together."""


class Variant(NamedTuple):
    """An entry of a table of variants that says how it goes together with others."""

    change: Change
    after: tuple[str, ...] = ()  # variants whose settings it may replace, or (ALL,)
    # settings that come with it, left out where another variant sets one of them: the size of an
    # experiment, for example. They are applied before `change`.
    unless_set: Change | None = None

    def comes_after(self, other: str) -> bool:
        """Whether it may replace what the variant `other` sets."""
        return ALL in self.after or other in self.after


Variants = Mapping[str, Change | Variant]


def vary(arg: str, name: str, config: Any, variants: Variants) -> ConfigDict:
    """Changes a config by the variants named in `arg`, and names the config after them.

    They are applied in the order of the table `variants`, in whatever order they are asked for.

    Raises:
      VariantError: an unknown variant; the message lists the known ones. Two that set one field to
        different values, where neither is declared to come after the other; the message names the
        field and both values.
    """
    asked = list(dict.fromkeys(variant for variant in arg.split(",") if variant))
    if unknown := set(asked) - set(variants):
        raise VariantError(f"unknown variant {sorted(unknown)}; known: {', '.join(variants)}")
    table = {variant: entry_of(variants[variant]) for variant in variants if variant in asked}
    for pair in combinations(table.items(), 2):
        check_pair(config, dict(pair))
    config.name = "_".join([name, *asked])
    for changes in _changes(config, table).values():
        _apply(config, changes)
    return config


def entry_of(value: Change | Variant) -> Variant:
    """An entry of a table of variants; a function alone says nothing of others."""
    return value if isinstance(value, Variant) else Variant(value)


def check_pair(config: Any, pair: Mapping[str, Variant]) -> None:
    """Raises VariantError where two variants contradict each other.

    Args:
      config: without any variant; it is not changed.
      pair: two entries by name, in the order of their table.
    """
    (first, one), (second, other) = pair.items()
    if one.comes_after(second) or other.comes_after(first):
        return
    changes = list(_changes(config, pair).values())
    ends = [fields(_changed(config, some)) for some in changes]
    names = _differing(fields(config), *ends)
    if not names:  # each may still undo the other when it is the last
        ends = [fields(_changed(config, *order)) for order in (reversed(changes), changes)]
        names = _differing(*ends)
    if names:
        given = " and ".join(repr(end.get(names[0], ABSENT)) for end in ends)
        raise VariantError(
            f"variants {first} and {second} contradict each other: they set {names[0]} to {given}; "
            "ask for one of them"
        )


def _differing(*ends: Fields) -> list[str]:
    """Fields that have another value in each; those that some lack come last."""

    def differs(name: str) -> bool:
        values = [end.get(name, ABSENT) for end in ends]
        return all(one != other for one, other in combinations(values, 2))

    names = sorted(set().union(*ends), key=lambda name: (any(name not in x for x in ends), name))
    return [name for name in names if differs(name)]


def fields(config: Any, prefix: str = "") -> Fields:
    """Dotted name → value of every field."""
    flat: Fields = {}
    for name, value in config.items():
        nested = isinstance(value, ConfigDict) and len(value) > 0
        flat |= fields(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat


def _changes(config: Any, table: Mapping[str, Variant]) -> dict[str, list[Change]]:
    """Variant → what it does where these are asked for together."""
    before = fields(config)

    def sets(change: Change) -> set[str]:
        after = fields(_changed(config, [change]))
        return set(_differing(before, after))

    changes: dict[str, list[Change]] = {}
    for name, entry in table.items():
        others = [o for key, o in table.items() if key != name and not o.comes_after(name)]
        extra = entry.unless_set
        left_out = extra is None or any(sets(extra) & sets(other.change) for other in others)
        changes[name] = [entry.change] if left_out or extra is None else [extra, entry.change]
    return changes


def _changed(config: Any, *changes: Iterable[Change]) -> Any:
    copy = config.copy_and_resolve_references()
    for some in changes:
        _apply(copy, some)
    return copy


def _apply(config: Any, changes: Iterable[Change]) -> None:
    for change in changes:
        change(config)
