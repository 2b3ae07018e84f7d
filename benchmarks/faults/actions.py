"""The actions of a user on a run folder, and the results they must have."""

import contextlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.faults.command import Left, command
from benchmarks.faults.oracle import Ended, Verdict, attempt, error_outcome, lost_files, where
from benchmarks.faults.subject import CONFIG, Subject
from benchmarks.faults.values import difference, report_values, run_values, zoo_values
from genvec import load_cells, load_zoo, store

# state of the run → what is done with it, and how often, in parts
ACTIONS = {
    "begun": {"load": 2, "verify": 4, "zoo": 4, "run": 1},
    "trained": {"load": 3, "verify": 3, "zoo": 3, "run": 1},
    "embedded": {"zoo": 1, "run": 2},
    "finished": {"load": 4, "cells": 1, "verify": 4, "zoo": 4, "run": 4, "report": 3},
}
STATES = {"begun": 2, "trained": 1, "embedded": 1, "finished": 6}
COMMANDS = ("zoo", "run", "report")


class Task(NamedTuple):
    """An action on a private copy of the run."""

    state: str
    action: str
    relative: bool  # the path is given from the folder above, as users do
    run: Path

    def __str__(self) -> str:
        return f"{self.action} of a {self.state} run{' by a relative path' * self.relative}"


def draw_task(rng: np.random.Generator, subject: Subject, folder: Path, only=None) -> Task:
    """A copy of the run in a drawn state, and what to do with it; `only` of these actions."""
    allowed = {
        state: {name: parts for name, parts in of.items() if only is None or name in only}
        for state, of in ACTIONS.items()
    }
    state = weighted(rng, {name: parts for name, parts in STATES.items() if allowed[name]})
    action = weighted(rng, allowed[state])
    return Task(state, action, bool(rng.random() < 0.3), subject.copy(state, folder))


def do(task: Task) -> Any:
    """Does it → what `wrong` looks at."""
    path = Path(task.run.name) if task.relative else task.run
    with contextlib.chdir(task.run.parent):
        if task.action == "load":
            return load_zoo(path / "zoo")
        if task.action == "cells":
            return load_cells(path / "zoo")["vae"]
        if task.action == "verify":
            return store.verify_cell(path / "zoo" / "vae")
        return command(f"experiments.{task.action}", CONFIG, f"--workdir={path}")


def wrong(task: Task, ended: Ended, subject: Subject) -> str | None:
    """How the result differs from that without a fault, in a line; None where it is right."""
    if task.action in ("load", "cells"):
        return difference(subject.right_zoo, zoo_values(ended.value))
    if task.action == "verify":
        return _wrong_verification(task, ended, subject)
    expected, read = {
        "zoo": (subject.right_zoo, lambda: zoo_values(load_zoo(task.run / "zoo"))),
        "run": (subject.right_run, lambda: run_values(task.run)),
        "report": (subject.right_report, lambda: report_values(task.run)),
    }[task.action]
    found = attempt(read)
    if found.error is not None:
        return f"what it left cannot be read: {found.told()}"
    return difference(expected, found.value) or _wrong_timings(task, ended, subject)


def _wrong_verification(task: Task, ended: Ended, subject: Subject) -> str | None:
    """A cell that is found whole must be: what it holds is loaded, or finished first."""
    if ended.value:
        return None  # it tells of damage; whether rightly is for the caller
    follow = task._replace(action="zoo" if task.state == "begun" else "load", relative=False)
    cell = task.run / "zoo" / "vae"  # itself: the list of cells around it is not verified
    after = attempt(lambda: do(follow) if task.state == "begun" else load_zoo(cell))
    if after.error is not None:
        return f"found whole, and then: {after.told()}"
    return wrong(follow, after, subject)


def _wrong_timings(task: Task, ended: Ended, subject: Subject) -> str | None:
    """Stages that ran before may have run longer by now, not shorter."""
    if "timings.json" in ended.said:
        return None
    before = json.loads((subject.path / task.state / "run" / "timings.json").read_text())
    now = json.loads((task.run / "timings.json").read_text())
    for stage, seconds in before.items():
        if not isinstance(now, dict) or not isinstance(now.get(stage), (int, float)):
            return f"timings.json lost {stage}"
        if not seconds - 1e-6 <= now[stage] <= seconds + 600:
            return f"timings.json: {stage} took {now[stage]} s, not {seconds:.3g}"
    return None


def judge(
    task: Task,
    done: str,
    ended: Ended,
    subject: Subject,
    before: Mapping[str, str],
    *,
    spoiled: Collection[str] = (),
    harmless: bool = False,
    recover: bool = False,
) -> Verdict:
    """Of a task that has been done.

    Args:
      before: the snapshot of the run before the action.
      spoiled: the files that the fault has damaged.
      harmless: nothing is wrong with the files, so that nobody may say so.
      recover: without the fault the same command must then end right.
    """
    if gone := lost_files(before, task.run, spoiled):
        return Verdict("lost", done, f"{len(gone)} files, {gone[0]}; {ended.told()}")
    if ended.error is not None and not isinstance(ended.error, (KeyboardInterrupt, Left)):
        outcome = error_outcome(ended.error, of_script=task.action in COMMANDS)
        if outcome == "traceback":
            return Verdict(outcome, done, ended.told() + where(ended.error))
    elif ended.error is None:
        if harmless and task.action == "verify" and ended.value:
            return Verdict("silent", done, f"whole files are called damaged: {ended.value}"[:300])
        if found := wrong(task, ended, subject):
            return Verdict("silent", done, found)
        told = task.action == "verify" and ended.value
        return Verdict("clear" if told else "right", done, ended.told())
    if recover and (failed := _recovery(task, subject, before, spoiled)):
        return Verdict("lost", done, f"{failed}; after {ended.told()}")
    return Verdict("clear", done, ended.told())


def _recovery(task: Task, subject: Subject, before, spoiled) -> str | None:
    """What is wrong after the same again without the fault."""
    if task.state == "begun" and task.action in ("load", "cells"):
        return None  # it is unfinished, which is a clear word
    ended = attempt(lambda: do(task))
    if ended.error is not None:
        return f"the same again: {ended.told()}"
    if gone := lost_files(before, task.run, spoiled):
        return f"the same again lost {gone[0]}"
    if task.action == "verify" and ended.value:
        return f"the same again calls whole files damaged: {ended.value}"[:300]
    found = wrong(task, ended, subject)
    return f"the same again: {found}" if found else None


def weighted(rng: np.random.Generator, parts: Mapping[str, float]) -> str:
    """A name, as often as its part says."""
    shares = np.array(list(parts.values()), float)
    return list(parts)[int(rng.choice(len(shares), p=shares / shares.sum()))]


def pick(rng: np.random.Generator, options) -> Any:
    """One of them, each as likely."""
    return options[int(rng.integers(len(options)))]
