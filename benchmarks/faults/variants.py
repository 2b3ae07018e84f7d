"""Of kind "flags": several variants of a config at once."""

import importlib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.actions import pick
from benchmarks.faults.oracle import Verdict, attempt, error_outcome, where
from benchmarks.faults.subject import Subject

WITH_VARIANTS = ("cifar10", "digits", "mnist", "omniglot", "unseen")


def trial(rng: np.random.Generator, subject: Subject, folder: Path) -> Verdict:
    """Two or three variants of a config at once: each has its way, or a field is named."""
    del folder
    name = pick(rng, WITH_VARIANTS)
    module = importlib.import_module(f"configs.{name}")
    known = list(module.VARIANTS)
    asked = sorted(rng.permutation(known)[: int(rng.integers(2, 4))].tolist())
    asked = [asked[i] for i in rng.permutation(len(asked))]
    if rng.random() < 0.15:
        asked.append(pick(rng, ("smok", "FULL", "x", "full ")))
    done = f"configs/{name}.py:{','.join(asked)}"
    subject.note(done)
    ended = attempt(lambda: module.get_config(",".join(asked)))
    clash = None if set(asked) - set(known) else _clash(module, asked)
    if ended.error is not None:
        outcome = error_outcome(ended.error)
        if outcome == "clear" and not (clash or set(asked) - set(known)):
            return Verdict("silent", done, f"refused, though nothing clashes: {ended.told()}")
        return Verdict(outcome, done, ended.told() + where(ended.error))
    if clash:
        return Verdict("silent", done, clash)
    return Verdict("right", done, "every variant has its way")


def _clash(module, asked: list[str]) -> str | None:
    """A field that two variants set differently, where neither says how it goes with the other."""
    base = leaves(module.get_config("").to_dict())
    changes = {}
    for variant in asked:
        now = leaves(module.get_config(variant).to_dict())
        changes[variant] = {
            field: now.get(field, "nothing")
            for field in base.keys() | now.keys()
            if field != "name" and repr(now.get(field)) != repr(base.get(field))
        }
    for first, second in itertools.combinations(asked, 2):
        if _declares(module, first, second) or _declares(module, second, first):
            continue
        for field in sorted(changes[first].keys() & changes[second].keys()):
            values = changes[first][field], changes[second][field]
            if values[0] != values[1]:
                return f"{field}: {first} sets {values[0]!r}, {second} {values[1]!r}"
    return None


def _declares(module, variant: str, other: str) -> bool:
    """Whether a variant says that it comes after another, or gives way to it."""
    entry = module.VARIANTS[variant]
    after = getattr(entry, "after", ())
    gives_way = getattr(entry, "unless_set", None) is not None
    return gives_way or other in after or "all others" in after


def leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Dotted name → value of every field."""
    if isinstance(value, Mapping) and value:
        parts = [leaves(item, f"{name}.{key}".lstrip(".")) for key, item in value.items()]
        return {key: item for part in parts for key, item in part.items()}
    return {name: value}
