"""The commands of experiments/ in this process, many times over: a process each takes seconds."""

import os
import runpy
import signal
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
from absl import flags


class Left(BaseException):
    """`os._exit`, by which an interrupted command ends."""


def command(module: str, *arguments: str) -> None:
    """`python -m module arguments`.

    Raises:
      SystemExit: it ended with another code than 0; a message is the code, as in `sys.exit`.
      Left: it was interrupted.
    """
    for name in list(flags.FLAGS):  # a module that is run again defines its flags again
        flags.FLAGS[name].allow_override = True
        if name.startswith("config."):
            delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()
    stop = signal.getsignal(signal.SIGTERM)
    try:
        with (
            mock.patch.object(sys, "argv", [module, *arguments]),
            mock.patch.object(os, "_exit", _leave),
            mock.patch.object(jax.config, "update", _except_for_devices(jax.config.update)),
        ):
            runpy.run_module(module, run_name="__main__")
    except SystemExit as ended:
        if ended.code not in (None, 0):
            raise
    finally:
        signal.signal(signal.SIGTERM, stop)


def _leave(code: int) -> None:
    raise Left(code)


def _except_for_devices(update: Callable[..., Any]) -> Callable[..., Any]:
    """Their number cannot be changed once JAX has begun."""

    def checked(name: str, value: Any) -> None:
        if name != "jax_num_cpu_devices":
            update(name, value)

    return checked
