"""Kind "checkpoints": Orbax itself fails, as a changed version of it or a sick disk would."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from benchmarks.faults.actions import do, draw_task, judge, pick
from benchmarks.faults.oracle import Verdict, attempt, snapshot
from benchmarks.faults.subject import Subject

FAILURES: tuple[Callable[[], BaseException], ...] = (
    lambda: TypeError("load() got an unexpected keyword argument 'abstract'"),
    lambda: ImportError("cannot import name 'Checkpointer'"),
    lambda: NotImplementedError("this storage format is gone"),
    lambda: AttributeError("module has no attribute 'load'"),
    lambda: ValueError("Provided path is not a checkpoint"),
    lambda: ValueError("NOT_FOUND: Error opening \"zarr3\" driver [source locations='x.cc:1']"),
    lambda: ValueError("UNAVAILABLE: read failed [os_error_code='5']"),
    lambda: KeyError("params"),
    lambda: RuntimeError("can't start new thread"),
    lambda: MemoryError(),
    lambda: TimeoutError("no process came to the barrier"),
    lambda: OSError(errno.EIO, os.strerror(errno.EIO)),
    lambda: OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN)),
    lambda: OSError(errno.EREMOTEIO, os.strerror(errno.EREMOTEIO)),
    lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    lambda: OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
    lambda: FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "a shard"),
    lambda: KeyboardInterrupt(),
)


def trial(rng: np.random.Generator, subject: Subject, folder: Path) -> Verdict:
    """An exception, or a wrong answer, in place of the k-th load or save."""
    name = "save" if rng.random() < 0.3 else "load"
    only = ("zoo", "run") if name == "save" else ("load", "cells", "verify", "zoo", "run")
    task = draw_task(rng, subject, folder, only)
    if name == "save" and task.state != "begun":  # nothing else saves a checkpoint
        task = task._replace(state="begun", action="zoo", run=subject.copy("begun", folder / "2"))
    number, for_good = int(rng.integers(4)), bool(rng.random() < 0.5)
    how, told, proof = _failure(rng, name)
    done = f"{name} {number + 1}{' and all later' * for_good}: {told}; {task}"
    subject.note(done)
    before = snapshot(task.run)
    with _failing(name, number, for_good, how):
        ended = attempt(lambda: do(task))
    harmless = not (proof and for_good)
    return judge(task, done, ended, subject, before, harmless=harmless, recover=True)


def _failure(rng: np.random.Generator, name: str) -> tuple[Callable, str, bool]:
    """What happens in place of (real function, its arguments); what it is; does it prove damage.

    Other numbers than those recorded, or a file that is not there, are damage if twice found so.
    """
    if rng.random() < 0.2:
        fail = pick(rng, WRONG_LOADS if name == "load" else WRONG_SAVES)
        return fail, fail.__doc__ or "", True
    error = pick(rng, FAILURES)()

    def fail(real, *args, **kwargs):
        raise error

    proof = isinstance(error, FileNotFoundError) or "NOT_FOUND" in str(error)
    return fail, repr(error)[:80], proof


@contextlib.contextmanager
def _failing(name: str, number: int, for_good: bool, fail: Callable) -> Iterator[None]:
    real, calls = getattr(ocp, name), []

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        hit = len(calls) > number if for_good else len(calls) == number + 1
        return fail(real, *args, **kwargs) if hit else real(*args, **kwargs)

    with mock.patch.object(ocp, name, failing):
        yield


def _flipped(real, *args, **kwargs):
    """one number is off"""
    leaves, structure = jax.tree.flatten(real(*args, **kwargs))
    leaves[0] = np.array(leaves[0])
    leaves[0].reshape(-1)[:1] += 1
    return jax.tree.unflatten(structure, leaves)


def _zeros(real, *args, **kwargs):
    """all is zero, as of a sparse file"""
    return jax.tree.map(np.zeros_like, real(*args, **kwargs))


def _less(real, *args, **kwargs):
    """a part is left out"""
    tree = dict(real(*args, **kwargs))
    tree.pop(sorted(tree)[0])
    return tree


def _nothing(real, *args, **kwargs):
    """None comes back"""


def _half(real, path, *args, **kwargs):
    """half is written, then the disk is full"""
    Path(path).mkdir(parents=True)
    Path(path, "half").write_text("half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _unwritten(real, path, *args, **kwargs):
    """nothing is written, and nothing said"""


WRONG_LOADS = (_flipped, _zeros, _less, _nothing)
WRONG_SAVES = (_half, _unwritten)
