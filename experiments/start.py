"""How every script starts: flags, the config checked, the run folder locked, and a clean stop."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from experiments import processes
from experiments.setup import ConfigError, check
from genvec.store import RunFolder, StoreError, claim_run, lock_folder
from genvec.types import NotFiniteError

config_flags.DEFINE_config_file("config", None, "What to run, such as configs/digits.py:smoke.")
flags.DEFINE_integer("cpu_devices", 0, "Devices that JAX sees in the CPU; one a core by default.")
flags.DEFINE_string("workdir", "", "Folder of the run; runs/<config name> by default.")


class Stopped(KeyboardInterrupt):
    """SIGTERM, as Ctrl-C."""


def main(stage: Callable[[Any, RunFolder], Any], check: Callable[[Any], Any] = check) -> None:
    """Runs one script: flags → `stage(config, run)`. What a user can mend ends in one message.

    Args:
      stage: what the script does.
      check: of the config, before any compute is spent.
    """
    flags.mark_flag_as_required("config")
    app.run(lambda argv: _run(stage, check, argv))


def _run(stage, check, argv) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    cores = flags.FLAGS.cpu_devices or os.cpu_count()
    jax.config.update("jax_num_cpu_devices", cores)  # each core trains its own members
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file
    config = flags.FLAGS.config
    jax.config.update("jax_disable_most_optimizations", config.quick_compile)
    run = RunFolder(flags.FLAGS.workdir or os.path.join("runs", config.name))
    try:
        processes.join()
        signal.signal(signal.SIGTERM, _stop)  # after JAX has set a handler of its own
        check(config)
    except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    try:
        with lock_folder(run.path) if processes.is_first() else nullcontext():
            if processes.is_first():
                claim_run(run, config.to_dict())
            stage(config, run)
    except (ConfigError, StoreError, NotFiniteError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as signal_:
        what, code = ("stopped", 143) if isinstance(signal_, Stopped) else ("interrupted", 130)
        message = f"{what}; the same command goes on where it was, in {run.path}"
        print(f"\n{message}", file=sys.stderr, flush=True)
        os._exit(code)  # a program that still runs on a device is abandoned, not waited for


def _stop(*_) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    raise Stopped
