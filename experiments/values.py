"""Values of settings: of which type they are, and how they are written as flags."""

import ast
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from genvec.arguments import is_whole

SECTION = (Mapping, ConfigDict)


class Several(float):
    """An example of a setting that is a number or a tuple of them: a range, or values to try."""


class Either(dict):
    """An example of a setting that is a section or a number: an objective's options, or weight."""


def fits(value: Any, like: Any) -> bool:
    """Whether a value is of the type that `like` has; a whole number may stand for any number."""
    if isinstance(like, Several):
        values = value if isinstance(value, tuple) else (value,)
        return len(values) > 0 and all(fits(x, 0.0) for x in values)
    if isinstance(like, Either):
        return fits(value, {}) or fits(value, 0.0)
    if isinstance(like, tuple):
        return isinstance(value, tuple) and (not like or all(fits(x, like[0]) for x in value))
    if isinstance(like, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(like, bool)
    if isinstance(like, float):
        return isinstance(value, float) or is_whole(value)
    if isinstance(like, int):
        return is_whole(value)
    return isinstance(value, str if isinstance(like, str) else SECTION)


def allowed(like: Any) -> str:
    """The values that `fits` takes, in words."""
    if isinstance(like, Several):
        return "a number, or a tuple of numbers such as (1e-3,1e-2)"
    if isinstance(like, tuple):
        of = {int: "whole numbers", float: "numbers", str: "names"}
        return f"a tuple of {of.get(type(like[0]), 'values')}" if like else "a tuple"
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return kinds.get(type(like), "a section such as {'NAME': VALUE}")


def parse(text: str, like: Any) -> Any:
    """The value that a flag's text means for a setting that holds `like`.

    A tuple may be written as in Python, without its brackets, or as its only element; the quotes of
    names may be left out.

    Raises:
      ValueError: the text is no value of this type; the message says what is allowed.
    """
    value = _parsed(text.strip(), like)
    if not fits(value, like):
        raise ValueError(f"{text!r}; allowed: {allowed(like)}")
    return value


def _parsed(text: str, like: Any) -> Any:
    if isinstance(like, str):
        return text
    if isinstance(like, bool):
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    value = tuples(_literal(text))
    if isinstance(like, tuple):
        value = value if isinstance(value, tuple) else (value,)
        return tuple(_as(x, like[0]) for x in value) if like else value
    if isinstance(value, tuple) and isinstance(like, Several):
        return tuple(_as(x, 0.0) for x in value)
    return _as(value, like)


def _literal(text: str) -> Any:
    """A Python literal, or else names and numbers with commas between them."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        if "," not in text:
            return text
        bare = text.removeprefix("(").removesuffix(")")
        parts = (part.strip(" '\"") for part in bare.split(","))
        return tuple(_literal(part) for part in parts if part)


def _as(value: Any, like: Any) -> Any:
    """Whole numbers as floats, and numbers as names, where such are held; NaN is told later."""
    if isinstance(like, str) and is_whole(value):
        return str(value)
    if isinstance(like, float) and (is_whole(value) or value in ("nan", "inf", "-inf")):
        return float(value)
    return value


def tuples(value: Any) -> Any:
    """JSON has no tuples; a config has no lists."""
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, (list, tuple)) else value
