"""What `--help` tells: the script, its flags, and the settings and variants of a config."""

import inspect
import sys
from collections.abc import Iterator
from typing import Any

from absl import flags

from configs.variants import entry_of
from experiments.schema import known_settings, optional_settings
from experiments.settings import config_files, load_config, load_module, walk
from experiments.values import SECTION, allowed


def usage(path: str) -> str:
    """The text for a config file, or, without one, for all.

    Raises:
      ConfigError, VariantError: there is no such config.
    """
    script = sys.modules["__main__"].__doc__ or ""
    own = flags.FLAGS.main_module_help().strip("\n")
    parts = [script.strip(), own and f"Flags of this script:\n{own}"]
    parts.append("\n".join(["Flags of all scripts:", *_common_flags()]))
    if path:
        parts += [*_of_config(path)]
    else:
        known = "\n".join(f"  --config={name}" for name in config_files())
        parts.append(f"Configs; with one of them --help tells its settings and variants:\n{known}")
    return "\n\n".join(part for part in parts if part)


def _common_flags() -> Iterator[str]:
    for module in ("experiments.start", "experiments.processes"):
        for flag in flags.FLAGS.flags_by_module_dict().get(module, ()):
            yield f"  --{flag.name}={flag.default}: {flag.help}"


def _of_config(path: str) -> Iterator[str]:
    file = path.partition(":")[0]
    module, config = load_module(file), load_config(path)
    yield f"{file}: {(module.__doc__ or '').strip()}"
    variants = getattr(module, "VARIANTS", {})
    if variants:
        lines = [f"  {name}: {_first_line(entry)}" for name, entry in variants.items()]
        yield "\n".join([f"Variants, such as --config={file}:{next(iter(variants))}:", *lines])
    lines = [line for section, part in walk(config) for line in _settings(config, section, part)]
    yield "\n".join(["Settings, such as --config.seed=1:", *lines])


def _first_line(entry: Any) -> str:
    return (inspect.getdoc(entry_of(entry).change) or "").partition("\n")[0]


def _settings(config: Any, section: str, part: Any) -> Iterator[str]:
    """A line for each setting of a section, and for each that it may have besides."""
    known, where = known_settings(config, section), f"  --config.{section}.".replace("..", ".")
    for name, value in part.items():
        if not isinstance(value, SECTION):
            yield f"{where}{name}={_text(value)} ({allowed(known.get(name, value))})"
    for name, value in optional_settings(config, section).items():
        if name not in part and not isinstance(value, SECTION):
            yield f"{where}{name}, by default {_text(value)} ({allowed(value)})"


def _text(value: Any) -> str:
    """As it is written for a shell."""
    text = repr(float(value)) if isinstance(value, float) else str(value)
    return f'"{text}"' if isinstance(value, tuple) else text
