"""The kinds of fault, and how one trial is drawn and run."""

import os
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.faults import (
    arrays,
    calls,
    checkpoints,
    datasets,
    files,
    flags,
    images,
    members,
)
from benchmarks.faults.actions import weighted
from benchmarks.faults.oracle import Verdict
from benchmarks.faults.subject import Subject

Trial = Callable[[np.random.Generator, Subject, Path], Verdict]  # gets an empty folder

# name → its trials, and how often they are drawn, in parts
KINDS: dict[str, tuple[Trial, int]] = {
    "files": (files.trial, 6),
    "calls": (calls.trial, 4),
    "checkpoints": (checkpoints.trial, 2),
    "flags": (flags.trial, 4),
    "images": (images.trial, 2),
    "datasets": (datasets.trial, 2),
    "arrays": (arrays.trial, 3),
    "members": (members.trial, 2),
}


def kind_of(seed: int, number: int) -> str:
    """Of one trial."""
    rng = np.random.default_rng([seed, number])
    return weighted(rng, {name: parts for name, (_, parts) in KINDS.items()})


def folder_of(work: Path, process: int) -> Path:
    """Where a process has its trials."""
    return work / f"process-{process}"


def run_trial(seed: int, number: int, subject: Subject, kind: str | None = None) -> Verdict:
    """One trial, in a folder of its own that is removed in the end.

    Args:
      kind: in place of the one that the key draws.
    """
    trial, _ = KINDS[kind or kind_of(seed, number)]
    folder = folder_of(subject.work, os.getpid()) / f"trial-{seed}-{number}"
    folder.mkdir(parents=True)
    try:
        return trial(np.random.default_rng([seed, number, 1]), subject, folder)
    except Exception:  # not of what is tried, which is caught where it is done
        return Verdict("traceback", "the instrument itself", traceback.format_exc()[-2000:])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
