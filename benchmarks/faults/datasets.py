"""Kind "datasets": labelled images as people have them, drawn from, trained on, and cached."""

import functools
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.faults import caches
from benchmarks.faults.odd_sets import SHAPE, STEP, Odd, draw_odd
from benchmarks.faults.oracle import Ended, Verdict, attempt, error_outcome, where
from benchmarks.faults.subject import Subject
from genvec.families import FAMILIES
from genvec.mixtures import draw_batch, group_by_class
from genvec.types import Family
from genvec.zoo import Task, member_inputs, train_member


def trial(rng: np.random.Generator, subject: Subject, folder: Path) -> Verdict:
    """An odd data set, grouped by class; then a batch is drawn, or a member trained."""
    if rng.random() < 0.2:
        return caches.trial(rng, subject, folder)
    odd = draw_odd(rng)
    training = odd.refuse is not True and bool(rng.random() < 0.3)
    mixture, extreme = _mixture(rng, len(odd.classes)), bool(rng.random() < 0.3) and not training
    seed = int(rng.integers(2**31))
    what, shares = "a member" if training else "a batch", [round(float(x), 3) for x in mixture]
    done = f"{odd.told}; {what} of {shares}"
    done += ", the uniform numbers are the largest ones" * extreme
    subject.note(done)

    def act():
        data = group_by_class(odd.dataset, odd.classes)
        if training:
            return _train(data, mixture, seed)
        with _largest_numbers() if extreme else mock.patch.dict({}):
            return draw_batch(jax.random.key(seed), jnp.asarray(mixture, jnp.float32), data, 32)

    ended = attempt(act)
    if ended.error is not None:
        outcome = error_outcome(ended.error)
        if outcome == "clear" and odd.refuse is False:
            return Verdict("silent", done, f"refused, though it is fine: {ended.told()}")
        return Verdict(outcome, done, ended.told() + where(ended.error))
    if odd.refuse:
        return Verdict("silent", done, "it is taken as it is")
    found = _wrong_member(ended) if training else _wrong_batch(odd, mixture, ended)
    return Verdict("silent" if found else "right", done, found or "as asked")


def _wrong_batch(odd: Odd, mixture: np.ndarray, ended: Ended) -> str | None:
    images, labels = np.asarray(ended.value.x), np.asarray(ended.value.label)
    if labels.min() < 0 or labels.max() >= len(odd.classes):
        return f"labels {labels.min()}..{labels.max()}"
    if (mixture[labels] == 0).any():
        return f"an image of class {labels[mixture[labels] == 0][0]}, whose share is 0"
    shown = (images[:, 0, 0, 0] * 255 - 20) / STEP
    if not np.isfinite(images).all() or np.ptp(images, axis=(1, 2, 3)).max() > 0:
        return "pixels that no image has"
    meant = np.array(odd.classes)[labels]
    if (wrong := np.abs(shown - meant) > 0.01).any():
        return f"an image of class {shown[wrong][0]:.2f} under the label {meant[wrong][0]}"
    return None


def _wrong_member(ended: Ended) -> str | None:
    metrics = {name: np.asarray(x) for name, x in ended.value.metrics.items()}
    if not metrics["finite"]:
        return "the member is flagged as diverged"
    return None


@functools.cache
def _program() -> tuple[Family, Callable]:
    family = FAMILIES["vae"](SHAPE, hidden=(4,), latent=2)
    return family, jax.jit(functools.partial(train_member, task=Task(family, 2, 8)))


def _train(data, mixture: np.ndarray, seed: int):
    family, train_fn = _program()
    inputs = member_inputs(
        jax.random.key(seed), mixture[None], family, init="independent", hparams={}
    )
    return jax.device_get(train_fn(jax.tree.map(lambda x: x[0], inputs), data))


def _largest_numbers():
    """Every uniform number is the largest below 1, as one in 16 million is."""
    return mock.patch.object(
        jax.random, "uniform", lambda key, shape=(), **_: jnp.full(shape, 1 - 2.0**-24)
    )


def _mixture(rng: np.random.Generator, num: int) -> np.ndarray:
    """Dirichlet, often with classes at zero, the last ones among them."""
    weights = rng.dirichlet(np.full(num, 0.7))
    if rng.random() < 0.5:
        kept = int(rng.integers(1, num + 1))
        zero = np.arange(kept, num) if rng.random() < 0.5 else rng.permutation(num)[kept:]
        weights[zero] = 0
    return (weights / weights.sum()).astype(np.float32)
