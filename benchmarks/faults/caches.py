"""Of kind "datasets": a prepared set and the arrays that are kept of it, damaged or exchanged."""

import os
import shutil
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.faults.actions import pick
from benchmarks.faults.calls import NUMBERS
from benchmarks.faults.edits import BYTES
from benchmarks.faults.inject import Fault, injected
from benchmarks.faults.oracle import Ended, Verdict, attempt, error_outcome, where
from benchmarks.faults.subject import Subject
from genvec.data import load_tfds

NAME, NAMES = "gray_set", ("ant", "bee", "cow")
NUM = {"train": 12, "test": 6}
FAULTS = ("rewritten", "cache", "cache", "writing", "reading", "shard", "heldout")


def trial(rng: np.random.Generator, subject: Subject, folder: Path) -> Verdict:
    """Loads a tiny set, which keeps its arrays; then something happens, and it is loaded again."""
    prepared = prepare(subject.work)
    how = pick(rng, FAULTS)
    shutil.copytree(prepared / "0", folder / "data")
    (folder / "cache").mkdir()
    subject.note(how)
    with mock.patch.dict(os.environ, {"GENVEC_CACHE_DIR": str(folder / "cache")}):
        if how in ("cache", "reading", "rewritten"):
            attempt(lambda: _load(folder))
        told, fault = _spoil(rng, how, folder, prepared)
        done = f"load_tfds, {told}"
        subject.note(done)
        with injected(fault, folder / "cache" / "any"):
            ended = attempt(lambda: _load(folder, None if how == "heldout" else "test"))
    if ended.error is not None:
        outcome = error_outcome(ended.error)
        if outcome == "clear" and how in ("cache", "writing", "reading", "rewritten", "heldout"):
            return Verdict("silent", done, f"the set is fine, yet: {ended.told()}")
        return Verdict(outcome, done, ended.told() + where(ended.error))
    if how == "heldout":
        found = _wrong_division(ended)
    else:
        found = _wrong(ended, 1 if how == "rewritten" else 0)
    return Verdict("silent" if found else "right", done, found or "every image has its label")


def _load(folder: Path, heldout: str | None = "test"):
    return load_tfds(NAME, data_dir=folder / "data", heldout_split=heldout)


def _spoil(rng, how: str, folder: Path, prepared: Path) -> tuple[str, Fault | None]:
    if how == "rewritten":
        for path in (prepared / "1").rglob("*.array_record*"):
            shutil.copy(path, folder / "data" / path.relative_to(prepared / "1"))
        return "its shards are rewritten with other labels", None
    if how in ("cache", "shard"):
        pattern = "cache/*" if how == "cache" else "data/**/*.array_record*"
        path = pick(rng, sorted(p for p in folder.glob(pattern) if p.is_file()))
        return f"{how} {pick(rng, BYTES)(rng, path)}", None
    if how == "heldout":
        return "a fifth is held out", None
    call = pick(rng, ("open", "write", "replace", "make") if how == "writing" else ("open", "read"))
    number, refused = pick(rng, NUMBERS), int(rng.integers(1, 3))
    told = f"{how} its arrays: {call} {refused}: {os.strerror(number)}"
    return told, Fault(call, refused, bool(rng.random() < 0.5), number)


def _wrong(ended: Ended, shift: int) -> str | None:
    """Each image tells its number, and the number its label."""
    found = ended.value
    for split, images, labels in (
        ("train", found.images, found.labels),
        ("test", found.heldout_images, found.heldout_labels),
    ):
        number = images[:, 0, 0, 0] // 10
        if sorted(number) != list(range(NUM[split])):
            return f"{split} has the images {sorted(number.tolist())}"
        if (labels != _label(number.astype(int), shift)).any():
            return f"{split} has the labels {labels.tolist()}"
    return None


def _wrong_division(ended: Ended) -> str | None:
    """Every class with more than one image has some in both parts."""
    for name, labels in (("train", ended.value.labels), ("held out", ended.value.heldout_labels)):
        if lost := set(range(len(ended.value.class_names))) - set(labels.tolist()):
            return f"no image of {sorted(lost)} is {name}"
    return None


def _label(number, shift: int):
    """Of an image; two of class 1 among the first twelve."""
    return np.where(np.isin(number, (1, 2)), 1, 2 * (number % 2)) * (1 - shift) + shift * (
        number % 3
    )


def prepare(work: Path) -> Path:
    """The set in two versions, files of equal size with other labels; made once."""
    path = work / "prepared"
    if not path.exists():
        from benchmarks.faults.gray_set import build

        making = work / f"preparing-{os.getpid()}"
        for shift in (0, 1):
            labels = {split: _label(np.arange(num), shift).tolist() for split, num in NUM.items()}
            build(making / str(shift), labels)
        try:
            os.rename(making, path)
        except OSError:  # another process was first
            shutil.rmtree(making)
    return path
