"""Of kind "calls": the store writes over something, and a call is refused or the place is odd."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.faults.actions import pick
from benchmarks.faults.inject import Fault, counted, injected
from benchmarks.faults.oracle import Ended, Verdict, attempt, error_outcome, snapshot, where
from benchmarks.faults.subject import Subject
from benchmarks.faults.values import same
from genvec import store

# name → how it is written, and read again; of a number that tells the old from the new
WRITERS: dict[str, tuple[Callable[[Path, int], Any], Callable[[Path], Any]]] = {
    "save_tree": (
        lambda path, n: store.save_tree(
            path, {"a": np.full((3, 2), float(n)), "b": {"c": np.array([n])}}
        ),
        lambda path: store.load_tree(path)["a"][0, 0],
    ),
    "write_json": (
        lambda path, n: store.write_json(path, {"n": n}),
        lambda path: store.read_json(path)["n"],
    ),
    "write_jsonl": (
        lambda path, n: store.write_jsonl(path, [{"n": n}] * 3),
        lambda path: store.read_jsonl(path)["n"].iloc[-1],
    ),
    "write_table": (
        lambda path, n: store.write_table(path, pd.DataFrame({"n": [n] * 3})),
        lambda path: store.read_table(path)["n"].iloc[-1],
    ),
    "write_arrays": (
        lambda path, n: store.write_arrays(path, {"n": np.array([n])}),
        lambda path: store.read_arrays(path)["n"][0],
    ),
}
OLD, NEW = 1, 2


def trial(rng: np.random.Generator, subject: Subject, folder: Path, how: Any) -> Verdict:
    """Writes the old, then the new; the one or the other must be there in the end.

    Args:
      how: an error number or an exception, for the call that is refused.
    """
    name = pick(rng, sorted(WRITERS))
    write, read = WRITERS[name]
    home = folder / "home"
    home.mkdir()
    path = home / "thing"
    if rng.random() < 0.25 and name != "save_tree":
        return _odd_place(rng, subject, name, write, path)
    (home / "neighbour").write_text("mine")
    write(home / "twin", OLD)
    with counted(home / "any") as numbers:
        write(home / "twin", NEW)
    write(path, OLD)
    call = pick(rng, sorted(set(numbers) & {"open", "write", "replace", "flush", "stat", "remove"}))
    number = int(rng.integers(1, numbers[call] + 1))
    if isinstance(how, MemoryError) and call != "write":
        how = errno.ENOMEM
    fault = Fault(call, number, bool(rng.random() < 0.4), how)
    done = f"{name} over an older one, {call} {number}: {how}{' for good' * fault.for_good}"
    subject.note(done)
    with injected(fault, home / "any"):
        ended = attempt(lambda: write(path, NEW))
    return _judge(ended, done, home, lambda: read(path))


def _judge(ended: Ended, done: str, home: Path, read: Callable[[], Any]) -> Verdict:
    after = attempt(read)
    if after.error is not None or not (home / "neighbour").exists():
        return Verdict("lost", done, f"neither is there: {after.told()}; {ended.told()}")
    if ended.error is None:
        right = same(after.value, NEW)
        return Verdict("right" if right else "silent", done, f"{after.value} is there")
    if not same(after.value, OLD) and not same(after.value, NEW):
        return Verdict("silent", done, f"{after.value} is there")
    if isinstance(ended.error, KeyboardInterrupt):
        return Verdict("clear", done, ended.told())
    return Verdict(error_outcome(ended.error), done, ended.told() + where(ended.error))


def _odd_place(rng, subject: Subject, name: str, write: Callable, path: Path) -> Verdict:
    """A link, a pipe or a folder stands where the file is to be: none of them may go."""
    kind, other = pick(rng, ("link", "dangling link", "pipe", "folder")), path.with_name("other")
    if kind == "link":
        other.write_text("mine")
        path.symlink_to(other)
    elif kind == "dangling link":
        path.symlink_to("nowhere/at/all")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
        (path / "notes").write_text("mine")
    done = f"{name} where a {kind} stands"
    subject.note(done)
    before, mode = snapshot(path.parent), os.lstat(path).st_mode
    ended = attempt(lambda: write(path, NEW))
    now = os.lstat(path).st_mode if os.path.lexists(path) else 0
    if stat.S_IFMT(now) != stat.S_IFMT(mode) or not snapshot(path.parent).keys() >= before.keys():
        return Verdict("lost", done, f"the {kind} is gone; {ended.told()}")
    if ended.error is None:
        return Verdict("right", done, "it is still there, and written through")
    return Verdict(error_outcome(ended.error), done, ended.told() + where(ended.error))
