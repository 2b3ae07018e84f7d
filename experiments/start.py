"""How every script starts: flags, the config checked, the run folder locked, and a clean stop."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NoReturn

import jax
from absl import app, flags, logging

from experiments import processes
from experiments.cells import hold_zoo
from experiments.errors import USER_ERRORS, ConfigError, mending
from experiments.settings import config_of, path_of, split_flags
from experiments.setup import check
from experiments.usage import usage
from genvec.store import RunFolder, claim_run, lock_folder

flags.DEFINE_string("config", None, "What to run, such as configs/digits.py:smoke.")
flags.DEFINE_integer(
    "cpu_devices", 0, "Devices that JAX sees in the CPU; one a core by default.", lower_bound=0
)
flags.DEFINE_string("workdir", "", "Folder of the run; runs/<config name> by default.")

HELP = ("--help", "-help", "--helpshort", "-helpshort", "-h")


class Stopped(KeyboardInterrupt):
    """SIGTERM, as Ctrl-C."""


def main(stage: Callable[[Any, RunFolder], Any], check: Callable[[Any], Any] = check) -> None:
    """Runs one script: flags → `stage(config, run)`. What a user can mend ends in one message.

    Args:
      stage: what the script does.
      check: of the config, before any compute is spent; it raises one of `USER_ERRORS`.
    """
    parsed: dict[str, Any] = {}

    def parse(argv: Sequence[str]) -> Any:
        try:
            left, parsed["config"] = parse_flags(argv)
        except USER_ERRORS as error:
            fail(error)
        return left

    app.run(lambda argv: _run(stage, check, parsed["config"]), flags_parser=parse)


def parse_flags(argv: Sequence[str]) -> tuple[list[str], Any]:
    """The command line → what no flag has taken, and the config.

    Raises:
      ConfigError, VariantError: what is wrong with the flags that make the config.
    """
    expanded = flags.FLAGS.read_flags_from_files(list(argv), force_gnu=False)
    rest, _ = split_flags(expanded)
    if set(HELP) & set(rest):
        print(usage(path_of(rest)))
        sys.exit(0)
    left = app.parse_flags_with_usage(rest)
    if len(left) > 1:
        raise ConfigError(f"unexpected arguments: {' '.join(left[1:])}")
    return left, config_of(expanded)


def _run(stage, check, config) -> None:
    cores = flags.FLAGS.cpu_devices or os.cpu_count()
    jax.config.update("jax_num_cpu_devices", cores)  # each core trains its own members
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file
    try:
        processes.join()
        signal.signal(signal.SIGTERM, _stop)  # after JAX has set a handler of its own
        setup = check(config)
        jax.config.update("jax_disable_most_optimizations", config.quick_compile)
        run = RunFolder(flags.FLAGS.workdir or os.path.join("runs", config.name))
        with lock_folder(run.path) if processes.is_first() else nullcontext():
            if processes.is_first():
                hold_zoo(config, getattr(setup, "cells", {}), run)
                claim_run(run, config.to_dict())
            stage(config, run)
    except USER_ERRORS as error:
        fail(error)
    except KeyboardInterrupt as signal_:
        what, code = ("stopped", 143) if isinstance(signal_, Stopped) else ("interrupted", 130)
        where = flags.FLAGS.workdir or os.path.join("runs", config.name)
        message = f"{what}; the same command goes on where it was, in {where}"
        print(f"\n{message}", file=sys.stderr, flush=True)
        os._exit(code)  # a program that still runs on a device is abandoned, not waited for


def fail(error: BaseException) -> NoReturn:
    """Ends the script with one message for what the user can mend."""
    sys.exit(f"error: {error}{mending(error)}")


def _stop(*_) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    raise Stopped
