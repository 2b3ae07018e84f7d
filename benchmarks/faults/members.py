"""Kind "members": what `load_zoo` is asked for, held against a selection made here."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.actions import pick
from benchmarks.faults.oracle import Verdict, attempt, error_outcome, where
from benchmarks.faults.subject import Subject
from benchmarks.faults.values import difference, zoo_values
from genvec import load_zoo
from genvec.trees import take

SPLITS: tuple[Any, ...] = (
    None,
    None,
    "train",
    ("train", "val"),
    ["test", "sum"],
    "tset",
    ("train", "x"),
    (),
    3,
)


def trial(rng: np.random.Generator, subject: Subject, folder: Path) -> Verdict:
    """One call; the run is only read."""
    del folder
    zoo, num = subject.path / "finished" / "run" / "zoo", len(subject.zoo.members)
    members, wanted = _members(rng, num)
    split = pick(rng, SPLITS)
    where_to, path, there = _path(rng, zoo)
    cell = pick(rng, (None, None, None, "vae", "vea"))
    finite_only = bool(rng.random() < 0.2)
    done = f"load_zoo({path!s:.60}, split={split!r}, members={members!r:.80}, cell={cell!r})"
    done = " ".join(done.split())
    subject.note(done)
    with contextlib.chdir(where_to):
        ended = attempt(lambda: load_zoo(path, split, members, finite_only=finite_only, cell=cell))
    expected = _expected(subject, wanted, split) if there and cell != "vea" else None
    if ended.error is not None:
        outcome = error_outcome(ended.error)
        if outcome == "clear" and expected is not None:
            return Verdict("silent", done, f"refused, though it is fine: {ended.told()}")
        return Verdict(outcome, done, ended.told() + where(ended.error))
    got = ended.value.members["member"].tolist()
    if expected is None:
        return Verdict("silent", done, f"members {got[:8]} come back")
    if got != expected.tolist():
        return Verdict("silent", done, f"members {got[:8]} come back, not {expected.tolist()[:8]}")
    right = zoo_values(
        subject.zoo._replace(
            params=take(subject.zoo.params, expected),
            state=take(subject.zoo.state, expected),
            members=subject.zoo.members.iloc[expected].reset_index(drop=True),
        )
    )
    found = difference(right, zoo_values(ended.value))
    return Verdict("silent" if found else "right", done, found or "these members")


def _members(rng: np.random.Generator, num: int) -> tuple[Any, np.ndarray | None]:
    """What is asked for, and the rows that it means; None where it means none that there are."""
    some = rng.integers(0, num, int(rng.integers(1, 6)))
    mask = rng.random(num) < 0.3
    mask[int(rng.integers(num))] = True
    true = np.flatnonzero(mask)
    everything = np.arange(num)
    return pick(
        rng,
        (
            (None, everything),
            (some.tolist(), some),
            (some, some),
            (tuple(map(int, some)), some),
            (some.astype(np.uint8), some),
            ([5, 3, 5, 1], np.array([5, 3, 5, 1])),
            (range(7, 2, -2), np.array([7, 5, 3])),
            (mask, true),
            (mask.tolist(), true),
            (mask[:-1], None),
            ([True, False], None),
            (np.append(mask, True), None),
            (some + 0.5, None),
            (some.astype(float), None),
            ([1.0, 2.0], None),
            ([2, 3.7], None),
            (["1", "2"], None),
            ("12", None),
            ([-1], None),
            ([num], None),
            ([10**20], None),
            ([np.nan], None),
            ([[1, 2], [3, 4]], None),
            ([], None),
            (np.zeros(num, bool), None),
            (np.array([None, 1], object), None),
            (5.0, None),
            ({"a": 1}, None),
        ),
    )


def _expected(subject: Subject, wanted: np.ndarray | None, split: Any) -> np.ndarray | None:
    names = (split,) if isinstance(split, str) else split
    known = ("train", "val", "test", "sum", "unseen")
    if wanted is None or isinstance(names, int) or (names and set(names) - set(known)):
        return None
    if names is None:
        return wanted
    role = subject.zoo.members["split"].to_numpy()[wanted]
    rows = wanted[np.isin(role, list(names))]
    return rows if len(rows) else None


def _path(rng: np.random.Generator, zoo: Path) -> tuple[Path, Any, bool]:
    """Folder to stand in, path to give, and whether a zoo is there."""
    return pick(
        rng,
        (
            *[(zoo.parent, zoo, True)] * 4,
            (zoo.parent, str(zoo), True),
            (zoo.parent, "zoo", True),
            (zoo, ".", True),
            (zoo, "../zoo/", True),
            (zoo.parent, Path("zoo/vae"), True),
            (zoo.parent, "zo", False),
            (zoo.parent, "", False),
            (zoo.parent, "config.json", False),
            (zoo.parent, zoo / "manifest.json", False),
        ),
    )
