"""The small run that the faults are tried on, made once, in four states; what is right of it."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.faults.command import Left, command
from benchmarks.faults.oracle import ROOT, attempt
from benchmarks.faults.values import Values, report_values, run_values, zoo_values
from genvec import load_zoo, store
from genvec.types import Zoo

CONFIG = f"--config={Path(__file__).with_name('tiny.py')}"
STATES = ("begun", "trained", "embedded", "finished")  # half a zoo, the zoo, its readers, all
WORK = Path(tempfile.gettempdir()) / f"genvec-faults-{os.getuid()}"
BEGUN_SEGMENTS = 2  # of four


class Subject:
    """The run in every state, each in a folder of its own; trials get copies."""

    def __init__(self, work: Path, note: Callable[[str], None] = lambda done: None):
        self.path = work / f"run-{_code_digest()}"
        self.work, self.note = work, note  # `note` tells what is done before it is done

    def make(self) -> None:
        """Runs the stages one after the other, and keeps a copy of the folder after some."""
        if self.path.exists():
            return
        self.work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            run, kept = Path(folder, "making", "run"), Path(folder, "kept")
            _stage("classes", run)
            with _stopping_after(BEGUN_SEGMENTS):
                _stage("zoo", run, stopped=True)
            _keep(run, kept / "begun")
            _stage("zoo", run)
            _keep(run, kept / "trained")
            for name in ("encoders", "controls"):
                _stage(name, run)
            _keep(run, kept / "embedded")
            for name in ("evaluate", "report"):
                _stage(name, run)
            _keep(run, kept / "finished")
            os.rename(kept, self.path)

    def copy(self, state: str, folder: Path) -> Path:
        """The run in a state as a folder of its own, to be spoiled: `folder`/run."""
        return shutil.copytree(self.path / state / "run", folder / "run", symlinks=True)

    @cached_property
    def zoo(self) -> Zoo:
        """As trained."""
        return load_zoo(self.path / "finished" / "run" / "zoo")

    @cached_property
    def right_zoo(self) -> Values:
        """What every loaded zoo must hold."""
        return zoo_values(self.zoo)

    @cached_property
    def right_run(self) -> Values:
        """What every finished run must say."""
        return run_values(self.path / "finished" / "run")

    @cached_property
    def right_report(self) -> Values:
        """What the report of a finished run must show."""
        return report_values(self.path / "finished" / "run")


def _stage(name: str, run: Path, stopped: bool = False) -> None:
    ended = attempt(lambda: command(f"experiments.{name}", CONFIG, f"--workdir={run}"))
    if isinstance(ended.error, Left) if stopped else ended.error is None:
        return
    raise RuntimeError(f"the small run cannot be made: {ended.told()}") from ended.error


@contextlib.contextmanager
def _stopping_after(num: int) -> Iterator[None]:
    """An interruption once so many segments are committed."""
    write, written = store.write_segment, []

    def write_or_stop(cell, number, trained):
        if len(written) == num:
            raise KeyboardInterrupt
        written.append(number)
        return write(cell, number, trained)

    with mock.patch.object(store, "write_segment", write_or_stop):
        yield


def _keep(run: Path, folder: Path) -> None:
    shutil.copytree(run, folder / "run", symlinks=True)


def _code_digest() -> str:
    """Of the code that makes the run: another code may write another."""
    digest = hashlib.sha256(np.__version__.encode())
    for folder in ("genvec", "experiments", "configs", "benchmarks/faults"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if folder != "benchmarks/faults" or path.stem in ("tiny", "subject", "command"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
