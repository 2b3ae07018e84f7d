"""Kind "arrays": odd numbers into geometry, quality and objectives, held against slow float64."""

import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.faults import learners
from benchmarks.faults.actions import pick
from benchmarks.faults.measures import CASES, Case
from benchmarks.faults.oracle import Ended, Verdict, attempt, error_outcome, where
from benchmarks.faults.points import Input, draw_input
from benchmarks.faults.subject import Subject

NUMPY_TOO = ("angle_deg", "pairwise_distances", "squared_distances")


def trial(rng: np.random.Generator, subject: Subject, folder: Path) -> Verdict:
    """One call, or now and then a short training."""
    if rng.random() < 0.08:
        return learners.trial(rng, subject, folder)
    name = pick(rng, sorted(CASES))
    case = CASES[name](rng)
    given = draw_input(rng, case)
    done = f"{name} of {given.told}"
    subject.note(done)
    as_given = np.asarray if name in NUMPY_TOO and rng.random() < 0.5 else jnp.asarray
    ended = attempt(
        lambda: jax.tree.map(np.asarray, case.call(as_given(given.x), as_given(given.y)))
    )
    if ended.error is not None:
        outcome = error_outcome(ended.error)
        if outcome == "clear" and given.must == "be right" and _is_ordinary(given):
            return Verdict("silent", done, f"refused, though it is fine: {ended.told()}")
        return Verdict(outcome, done, ended.told() + where(ended.error))
    found = _wrong(case, given, ended)
    if found and ended.said.strip():
        return Verdict("clear", done, ended.told())
    return Verdict("silent" if found else "right", done, found or "as it should be")


def _is_ordinary(given: Input) -> bool:
    return given.told.startswith("ordinary")


def _wrong(case: Case, given: Input, ended: Ended) -> str | None:
    value = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(ended.value)])
    shown = " ".join(f"{v:.4g}" for v in value[:4])
    if given.must == "be refused":
        return f"it is taken, and gives {shown}"
    if given.must == "end":
        return None
    if given.must == "show":
        return f"it is hidden: {shown}" if np.isfinite(value).all() else None
    if not np.isfinite(value).all():
        return f"not finite: {shown}"
    if case.right is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right = np.ravel(case.right(given.x.astype(float), given.y.astype(float)))
    scale = np.abs(right).max() + case.floor * max(1.0, np.abs(given.x).max())
    if not np.isfinite(right).all() or np.abs(value - right).max() <= case.tolerance * scale:
        return None
    at = int(np.abs(value - right).argmax())
    return f"{value[at]:.6g}, not {right[at]:.6g}"
