"""Kind "flags": variants and settings of the command line, right and wrong, and a zoo of others."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.faults import variants
from benchmarks.faults.actions import pick, weighted
from benchmarks.faults.command import command
from benchmarks.faults.oracle import (
    Ended,
    Verdict,
    attempt,
    error_outcome,
    lost_files,
    snapshot,
    where,
)
from benchmarks.faults.settings import NOT_ODD, ODD_LINES, OTHER_RUN, REFUSED, TAKEN
from benchmarks.faults.subject import CONFIG, Subject
from benchmarks.faults.variants import leaves

MODES = {"settings": 6, "variants": 3, "other run": 2, "programs": 1, "lines": 1}
PROGRAMS = (
    "quality",
    "gallery",
    "leave_out",
    "hypernetwork",
    "matching",
    "families",
    "embed_collections",
    "evaluate",
    "zoo",
)


class Reached(BaseException):
    """The first stage would begin to compute now; carries the config."""


def trial(rng: np.random.Generator, subject: Subject, folder: Path) -> Verdict:
    """One command line."""
    mode = weighted(rng, MODES)
    return {
        "settings": _settings,
        "variants": variants.trial,
        "other run": _other_run,
        "programs": _program,
        "lines": _line,
    }[mode](rng, subject, folder)


def start(module: str, *arguments: str) -> Ended:
    """The command up to where the first stage begins; the value is the config, if it gets there."""
    from experiments import classes

    def reach(config, run):
        raise Reached(config.to_dict())

    with mock.patch.object(classes, "run_stage", reach):
        ended = attempt(lambda: command(module, *arguments))
    if isinstance(ended.error, Reached):
        return Ended(ended.error.args[0], None, ended.said)
    return ended


def _settings(rng, subject, folder) -> Verdict:
    """A few settings that are fine, and in half of the trials one that is not."""
    taken = [pick(rng, sorted(TAKEN)) for _ in range(int(rng.integers(0, 3)))]
    taken = list({setting.split("=")[0]: setting for setting in taken}.values())
    refused = [pick(rng, REFUSED)] if rng.random() < 0.6 or not taken else []
    taken = [s for s in taken if not _touch(s, refused)]
    settings = [s for _, s in sorted((rng.random(), s) for s in taken + refused)]
    done = f"run {' '.join(settings)}"
    subject.note(done)
    line = [CONFIG, *(f"--config.{s}" for s in settings), f"--workdir={folder / 'run'}"]
    ended = start("experiments.run", *line)
    if ended.error is not None:
        return _refusal(ended, done, must=bool(refused))
    if refused:
        return Verdict("silent", done, f"{refused[0]} is accepted")
    wanted = {s.split("=")[0]: TAKEN[s] for s in taken}
    if odd := _other_settings(ended.value, wanted):
        return Verdict("silent", done, odd)
    again = start("experiments.run", *line)  # the folder holds the config by now
    if again.error is not None:
        return Verdict("silent", done, f"cannot be resumed: {again.told()}")
    return Verdict("right", done, "accepted as asked")


def _touch(setting: str, others: list[str]) -> bool:
    """Whether one of the others is about the same field, or about what it must fit."""
    sections = {other.split("=")[0].split(".")[0] for other in others}
    return setting.split("=")[0].split(".")[0] in sections


def _refusal(ended: Ended, done: str, *, must: bool) -> Verdict:
    assert ended.error is not None
    outcome = error_outcome(ended.error, of_script=True)
    if outcome == "clear" and not must:
        return Verdict("silent", done, f"refused, though it is fine: {ended.told()}")
    return Verdict(outcome, done, ended.told() + where(ended.error))


def _other_settings(config: Mapping, wanted: Mapping[str, Any]) -> str | None:
    """What differs from the config of the small run with the wanted changes, in a line."""
    from benchmarks.faults.tiny import get_config

    now, expected = leaves(config), leaves(get_config().to_dict())
    for field, value in wanted.items():
        expected = {k: v for k, v in expected.items() if not f"{k}.".startswith(f"{field}.")}
        expected[field] = value
    for field in sorted(now.keys() | expected.keys()):
        if repr(_plain(now.get(field))) != repr(_plain(expected.get(field))):
            return f"{field} is {now.get(field)!r}, not {expected.get(field)!r}"
    return None


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _other_run(rng, subject, folder) -> Verdict:
    """The zoo of the small run under other settings, its config gone or the zoo copied in."""
    run = subject.copy(pick(rng, ("trained", "finished", "begun")), folder)
    copied = rng.random() < 0.5
    (run / "config.json").unlink()
    if copied:  # into a run of its own
        for name in [p.name for p in run.iterdir() if p.name not in ("zoo", "classes.json")]:
            path = run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    setting = pick(rng, OTHER_RUN)
    what = "a zoo copied in" if copied else "a run without config.json"
    done = f"zoo {setting} on {what}"
    subject.note(done)
    before = snapshot(run)
    line = (CONFIG, f"--config.{setting}", f"--workdir={run}")
    ended = attempt(lambda: command("experiments.zoo", *line))
    if gone := lost_files(before, run):
        return Verdict("lost", done, f"{len(gone)} files, {gone[0]}; {ended.told()}")
    if ended.error is not None:
        return Verdict(
            error_outcome(ended.error, of_script=True), done, ended.told() + where(ended.error)
        )
    return Verdict("silent", done, "the zoo of other settings is taken for that of these")


def _program(rng, subject, folder) -> Verdict:
    """A script with a config that may lack its section."""
    name = pick(rng, PROGRAMS)
    config = pick(rng, (CONFIG, "--config=configs/collections_digits.py:smoke"))
    run = subject.copy("finished", folder) if rng.random() < 0.5 else folder / "run"
    done = f"{name} {Path(config).name} on a {'finished run' if run.exists() else 'new folder'}"
    subject.note(done)
    if name == "embed_collections" and "collections" in config:
        return Verdict("right", done, "this is its config")
    ended = start(f"experiments.{name}", config, f"--workdir={run}")
    if ended.error is None:
        return Verdict("right", done, ended.told())
    return Verdict(
        error_outcome(ended.error, of_script=True), done, ended.told() + where(ended.error)
    )


def _line(rng, subject, folder) -> Verdict:
    """A command line that cannot be right, or a folder that none can be made in."""
    arguments = pick(rng, ODD_LINES)
    workdir = pick(rng, (str(folder / "run"), str(folder / "run"), str(folder / "a file")))
    (folder / "a file").write_text("mine")
    done = f"run {' '.join(arguments)}"
    if "file" in workdir:
        arguments, done = (CONFIG,), "run --workdir=a file"
    subject.note(done)
    ended = start("experiments.run", *arguments, f"--workdir={workdir}")
    if (folder / "a file").read_text() != "mine":
        return Verdict("lost", done, "the file is gone")
    if ended.error is None:
        if arguments in NOT_ODD:
            return Verdict("right", done, "accepted")
        return Verdict("silent", done, "accepted")
    return Verdict(
        error_outcome(ended.error, of_script=True), done, ended.told() + where(ended.error)
    )
