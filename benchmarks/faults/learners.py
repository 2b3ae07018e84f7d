"""Of kind "arrays": an encoder is trained on members whose numbers are none."""

from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.faults.actions import pick
from benchmarks.faults.oracle import Verdict, attempt, error_outcome, where
from benchmarks.faults.subject import Subject
from genvec.objectives import OBJECTIVES
from genvec.train import Examples, train_encoder

NUM, WIDTH, CLASSES = 16, 5, 3


def trial(rng: np.random.Generator, subject: Subject, folder: Path) -> Verdict:
    """One short training; where something is NaN it must stop and say so."""
    del folder
    train, val = _examples(rng), _examples(rng)
    spoilt = pick(rng, ("nothing", "train", "val", "val", "all of val"))
    part = pick(rng, ("features", "targets"))
    value = pick(rng, (np.nan, np.nan, np.inf))
    if spoilt != "nothing":
        rows = slice(None) if spoilt == "all of val" else int(rng.integers(NUM))
        getattr(train if spoilt == "train" else val, part)[rows, 0] = value
    name = pick(rng, sorted(OBJECTIVES))
    done = f"train_encoder, {name}, {value} in {part} of {spoilt}".replace(
        f"{value} in {part} of nothing", "ordinary members"
    )
    subject.note(done)
    train, val = jax.tree.map(jnp.asarray, (train, val))
    fit = partial(train_encoder, jax.random.key(0), nn.Dense(CLASSES), OBJECTIVES[name])
    ended = attempt(lambda: fit(train, val, steps=6, batch_size=8, eval_every=3))
    if ended.error is not None:
        outcome = error_outcome(ended.error)
        if outcome == "clear" and spoilt == "nothing":
            return Verdict("silent", done, f"refused, though it is fine: {ended.told()}")
        return Verdict(outcome, done, ended.told() + where(ended.error))
    if spoilt != "nothing":
        return Verdict("silent", done, f"parameters come back; {ended.value.log[-1]}")
    numbers = [value for row in ended.value.log for value in row.values()]
    right = all(np.isfinite(numbers))
    return Verdict("right" if right else "silent", done, str(ended.value.log[-1]))


def _examples(rng: np.random.Generator) -> Examples:
    targets = rng.dirichlet(np.ones(CLASSES), NUM)
    targets = targets / np.linalg.norm(targets, axis=1, keepdims=True)
    features = rng.normal(size=(NUM, WIDTH))
    return Examples(features.astype(np.float32), targets.astype(np.float32))
