"""Flags → config: `--config=FILE[:VARIANT,…]`, and `--config.SECTION.NAME=VALUE` to change it."""

import importlib.util
import inspect
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from configs.variants import VariantError, fields
from experiments.errors import ConfigError
from experiments.schema import (
    CLOSED,
    known_settings,
    matches,
    required_settings,
    section_of,
)
from experiments.values import SECTION, allowed, fits, parse

CONFIGS = Path(__file__).parent.parent / "configs"
FLAG = re.compile(r"--?(no)?config\.(?P<name>[^=]*)(=(?P<text>.*))?", re.DOTALL)
# sections whose names are the user's: what each of them holds
FREE: dict[str, Any] = {
    "ensembles": ("",),
    "classifiers": {},
    "encoders": {},
    "objectives": {},
    "zoo.cells": {},
}
CONFIG = re.compile(r"--?config=(?P<path>.*)")
NUMBER = re.compile(r"-[\d.]")  # a value that looks like a flag


def split_flags(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The command line without settings, and setting → its text, in the order given.

    `--config.x=1`, `--config.x 1`, `--config.flag` and `--noconfig.flag` are settings; of one that
    is given several times the last counts.

    Raises:
      ConfigError: a setting without a value that is no flag.
    """
    rest: list[str] = []
    settings: dict[str, str] = {}
    waiting = [*argv]
    while waiting:
        argument = waiting.pop(0)
        found = FLAG.fullmatch(argument)
        if argument == "--" or found is None:
            rest.append(argument)
            if argument == "--":
                return [*rest, *waiting], settings
            continue
        text, takes_next = found["text"], waiting and found[1] is None
        if text is None and takes_next and (waiting[0][:1] != "-" or NUMBER.match(waiting[0])):
            text = waiting.pop(0)
        settings.pop(found["name"], None)
        settings[found["name"]] = text if text is not None else "false" if found[1] else "true"
    return rest, settings


def config_of(arguments: Sequence[str]) -> Any:
    """The config of a command line, locked.

    Raises:
      ConfigError: no config is named, or a setting is unknown or impossible.
      VariantError: variants that are unknown or contradict each other.
    """
    rest, settings = split_flags(arguments)
    path = path_of(rest)
    if not path:
        raise ConfigError("--config is missing; give one, such as --config=configs/digits.py:smoke")
    config = load_config(path)
    override(config, settings)
    return config.lock()


def path_of(arguments: Sequence[str]) -> str:
    """What `--config=FILE` or `--config FILE` names; the last one counts, "" is none."""
    path = ""
    for argument, following in itertools.pairwise([*arguments, ""]):
        if argument in ("--config", "-config"):
            path = following
        elif found := CONFIG.fullmatch(argument):
            path = found["path"]
    return path


def load_config(path: str) -> ConfigDict:
    """The config of a file, such as `configs/digits.py:ae,few`.

    Raises:
      ConfigError: there is no such file, or it takes no variants.
      VariantError: variants that are unknown or contradict each other.
    """
    file, colon, variants = path.partition(":")
    make = load_module(file).get_config
    if colon and not inspect.signature(make).parameters:
        raise ConfigError(f"--config={path}: {file} takes no variants")
    try:
        config = make(variants) if colon else make()
    except VariantError as error:
        raise VariantError(f"--config={path}: {error}") from None
    if not isinstance(config, ConfigDict):
        kind = type(config).__name__
        raise ConfigError(f"--config={path}: get_config gives a {kind}; allowed: a ConfigDict")
    return config


def load_module(file: str) -> ModuleType:
    """The module of a config file.

    Raises:
      ConfigError: there is no such file, or it has no `get_config`.
    """
    path = Path(file)
    if path.suffix != ".py" or not path.is_file():
        known = config_files()
        near = get_close_matches(file, [str(name) for name in known], n=1)
        hint = f"nearest: {near[0]}; " if near else ""
        raise ConfigError(
            f"--config={file}: there is no such config file; {hint}known: {', '.join(known)}"
        )
    spec = importlib.util.spec_from_file_location("config", path)
    assert spec is not None and spec.loader is not None  # a file that ends in .py
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"--config={file}: the file has no function get_config")
    return module


def config_files() -> dict[str, Path]:
    """Name, such as configs/digits.py, → path of every config that comes with the code."""
    paths = sorted(CONFIGS.glob("*.py"))
    return {
        f"{path.parent.name}/{path.name}": path
        for path in paths
        if "def get_config(" in path.read_text()
    }


def override(config: Any, settings: Mapping[str, str]) -> None:
    """Changes a config by setting → text; a field with a default need not be there.

    Raises:
      ConfigError: a setting that is unknown, with the known ones of its section; a text that is no
        value of its type; or one that a later setting would replace.
    """
    names = list(settings)
    for number, name in enumerate(names):
        for later in names[number:]:
            if name.startswith(f"{later}."):
                raise ConfigError(f"--config.{later} comes after --config.{name} and replaces it")
        with config.unlocked(), config.ignore_type():
            section, last = _parent(config, name), name.rpartition(".")[2]
            like = _like(config, section, name)
            try:
                value = parse(settings[name], like)
            except ValueError as error:
                raise ConfigError(f"--config.{name} is {error}") from None
            section[last] = ConfigDict(value) if isinstance(value, dict) else value


def _parent(config: Any, name: str) -> Any:
    """The section that holds a setting; one that is optional is added."""
    *parts, _ = name.split(".")
    section, path = config, ""
    for part in parts:
        if part not in section:
            if not isinstance(known_settings(config, path).get(part), SECTION):
                raise _unknown(config, path, part, name)
            section[part] = ConfigDict()
        section, path = section[part], f"{path}.{part}".removeprefix(".")
        if not isinstance(section, ConfigDict):
            raise ConfigError(f"--config.{name}: config.{path} is {section!r}, and no section")
    return section


def _like(config: Any, section: Any, name: str) -> Any:
    """A value of the type that a setting has."""
    path, _, last = name.rpartition(".")
    known = known_settings(config, path)
    if last in known:
        return known[last]
    if path in FREE:
        return FREE[path]
    if last not in section:
        raise _unknown(config, path, last, name)
    return section[last]


def _unknown(config: Any, path: str, part: str, name: str) -> ConfigError:
    known = sorted({*known_settings(config, path), *section_of(config, path)})
    near = get_close_matches(part, known, n=2)
    if not near:  # the name may belong to another section
        near = [f for f in fields(config) if f.rpartition(".")[2] == part][:3]
    hint = f"nearest: {', '.join(near)}; " if near else ""
    hint += f"known: {', '.join(known) or 'none'}"
    where = f"config.{path}" if path else "config"
    return ConfigError(f"--config.{name}: {where} has no setting {part!r}; {hint}")


def check_settings(config: Any, *sections: str) -> None:
    """Holds a config against the schema, before anything is made of it.

    Args:
      sections: those that a script reads.

    Raises:
      ConfigError: a section or a setting is missing, unknown, of another type or not finite; the
        message names it, and the configs that have such a section.
    """
    for section in sections:
        if section not in config:
            having = [name for name in config_files() if section in load_config(name)]
            raise ConfigError(
                f"the config has no section {section!r}, which this script reads; "
                f"configs that have it: {', '.join(having)}"
            )
    for path, section in walk(config):
        where = f"config.{path}" if path else "config"
        known = known_settings(config, path)
        read = path.partition(".")[0] in ("", *sections)
        if read and (missing := sorted(set(required_settings(config, path)) - set(section))):
            raise ConfigError(f"{where} lacks {', '.join(missing)}")
        closed = any(matches(path, pattern) for pattern in CLOSED)
        if unknown := sorted(set(section) - set(known)) if closed and known else []:
            raise ConfigError(
                f"{where} has an unknown setting, {', '.join(unknown)}; "
                f"known: {', '.join(sorted(known))}"
            )
        for name, value in section.items():
            full = f"{where}.{name}"
            if name in known and not fits(value, known[name]):
                raise ConfigError(f"{full} is {value!r}; allowed: {allowed(known[name])}")
            if not _finite(value):
                raise ConfigError(f"{full} is {value}; allowed: finite numbers")


def walk(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and content of every section, the outer ones first."""
    yield path, config
    for name, value in config.items():
        if isinstance(value, SECTION):
            yield from walk(value, f"{path}.{name}".removeprefix("."))


def _finite(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
