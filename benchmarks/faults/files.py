"""Kind "files": a file of the run is damaged, lost, exchanged or edited, or others lie beside."""

from pathlib import Path

import numpy as np

from benchmarks.faults import edits
from benchmarks.faults.actions import Task, do, draw_task, judge, pick, weighted
from benchmarks.faults.oracle import Verdict, attempt, snapshot
from benchmarks.faults.subject import Subject

# where the damage is: patterns of files, and how often, in parts
PLACES = {
    "config.json": 1,
    "classes.json": 1,
    "timings.json": 1,
    "controls.json": 1,
    "metrics.json": 1,
    "speed.json": 0.3,
    "samples.npz": 1,
    "zoo/manifest.json": 1,
    "zoo/vae/manifest.json": 3,
    "zoo/vae/members.parquet": 3,
    "zoo/vae/segments/*.json": 3,
    "zoo/vae/segments/*/**/*": 4,
    "classifiers/**/*": 1,
    "encoders/*/*": 3,
    "encoders/*/seed_*/**/*": 1,
}


def trial(rng: np.random.Generator, subject: Subject, folder: Path) -> Verdict:
    """Spoils a copy of the run, and goes on with it."""
    task = draw_task(rng, subject, folder)
    whole = snapshot(task.run)
    if rng.random() < 0.12:
        told, harmless = add_foreign(rng, task.run), True
    else:
        told, harmless = spoil(rng, task), False
    before = snapshot(task.run)
    harmless = harmless or before == whole
    spoiled = {path for path, mark in before.items() if whole.get(path) not in (None, mark)}
    done = f"{told}; {task}"
    subject.note(done)
    ended = attempt(lambda: do(task))
    return judge(task, done, ended, subject, before, spoiled=spoiled, harmless=harmless)


def spoil(rng: np.random.Generator, task: Task) -> str:
    """Damages one file → what was done."""
    path = draw_file(rng, task)
    edit = pick(rng, _edits(rng, path))
    return f"{path.relative_to(task.run)}: {edit(rng, path)}"


def draw_file(rng: np.random.Generator, task: Task) -> Path:
    """One of the files that the action reads, by their places."""
    read = {
        "load": ("zoo",),
        "cells": ("zoo",),
        "verify": ("zoo",),
        "zoo": ("zoo", "config", "classes", "timings", "speed"),
        "report": ("c", "metrics", "timings", "samples", "encoders", "zoo/manifest", "zoo/vae/m"),
        "run": ("",),
    }[task.action]
    places = {p: parts for p, parts in PLACES.items() if p.startswith(read)}
    found = {p: sorted(f for f in task.run.glob(p) if f.is_file()) for p in places}
    place = weighted(rng, {p: parts for p, parts in places.items() if found[p]})
    return pick(rng, found[place])


def _edits(rng: np.random.Generator, path: Path) -> tuple[edits.Edit, ...]:
    if rng.random() < 0.06:
        return edits.ODD
    if path.parent.name == "segments" and rng.random() < 0.1:
        return (edits.swap_folders,)
    if path.suffix == "" and rng.random() < 0.1:
        return (edits.lose_folder,)
    if path.name == "manifest.json" and "zoo" in path.parts and rng.random() < 0.5:
        return (edits.edit_manifest,)
    if path.suffix == ".json" and rng.random() < 0.5:
        return (edits.edit_json,)
    if path.suffix == ".parquet" and rng.random() < 0.5:
        return (edits.edit_table,)
    return edits.BYTES


def add_foreign(rng: np.random.Generator, run: Path) -> str:
    """Something of the user's, beside the run's own files: it must stay, and do no harm."""
    parent = pick(rng, [run / p for p in (".", "zoo", "zoo/vae", "zoo/vae/segments", "encoders")])
    parent.mkdir(exist_ok=True)
    name = pick(rng, ("my_notes", "00099", ".x.tmp", "damaged", "a b"))
    path, how = parent / name, pick(rng, ("file", "folder", "dangling link", "link to a file"))
    if how == "file":
        path.write_text("mine")
    elif how == "folder":
        path.mkdir()
        (path / "notes.txt").write_text("mine")
    elif how == "dangling link":
        path.symlink_to("nowhere/at/all")
    else:
        (run / "mine.txt").write_text("mine")
        path.symlink_to(run / "mine.txt")
    return f"a {how} {path.relative_to(run)} is added"
