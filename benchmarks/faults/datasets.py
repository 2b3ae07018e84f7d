"""Kind "datasets": labelled images as people have them, drawn from, trained on, and cached."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.faults.actions import pick
from benchmarks.faults.oracle import Ended, Verdict, attempt, error_outcome, where
from benchmarks.faults.subject import Subject
from genvec.families import FAMILIES
from genvec.mixtures import draw_batch, group_by_class
from genvec.types import Dataset
from genvec.zoo import Task, member_inputs, train_member

NAMES = ("a", "b", "c", "d")
NUM, NUM_HELDOUT = 60, 24
STEP = 60  # an image of class k is 60 k + 20 everywhere, so that it tells its class
SHAPE = (4, 4, 1)


class Odd(NamedTuple):
    """A data set with the classes that are asked of it."""

    told: str
    dataset: Dataset
    classes: tuple[Any, ...]
    # whether it is to be refused, taken, or (None) whatever is right of the two
    refuse: bool | None


def trial(rng: np.random.Generator, subject: Subject, folder: Path) -> Verdict:
    """An odd data set, grouped by class; then a batch is drawn, or a member trained."""
    del folder
    odd = pick(rng, ODDITIES)(rng, _labels(rng, NUM), _labels(rng, NUM_HELDOUT))
    training = odd.refuse is not True and bool(rng.random() < 0.3)
    mixture, extreme = _mixture(rng, len(odd.classes)), bool(rng.random() < 0.3) and not training
    seed = int(rng.integers(2**31))
    done = f"{odd.told}; {'a member of' if training else 'a batch of'} {[round(float(x), 3) for x in mixture]}"
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
def _program() -> Callable:
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


def _labels(rng: np.random.Generator, num: int) -> np.ndarray:
    return rng.permutation(np.arange(num) % len(NAMES)).astype(np.int32)


def _made(told, labels, heldout, classes=(0, 1, 2), refuse=False, **changes) -> Odd:
    parts = [(STEP * np.clip(x, 0, 3) + 20).astype(np.uint8) for x in (labels, heldout)]
    images, heldout_images = (np.tile(x[:, None, None, None], (1, *SHAPE)) for x in parts)
    whole = Dataset("odd", NAMES, images, labels, heldout_images, heldout)._replace(**changes)
    return Odd(told, whole, tuple(classes), refuse)


def ordinary(rng, labels, heldout):
    """Nothing is odd; the classes in some order."""
    return _made("an ordinary set", labels, heldout, rng.permutation(4)[:3].tolist())


def no_train_images(rng, labels, heldout):
    """A chosen class has none: a mixture cannot be drawn."""
    lost = int(rng.integers(3))
    labels = np.where(labels == lost, 3, labels).astype(np.int32)
    return _made(f"no train image of class {lost}", labels, heldout, refuse=True)


def no_heldout_images(rng, labels, heldout):
    """A chosen class has no held-out ones."""
    lost = int(rng.integers(3))
    heldout = np.where(heldout == lost, 3, heldout).astype(np.int32)
    heldout[:4] = (lost + 1) % 3
    return _made(f"no held-out image of class {lost}", labels, heldout, refuse=None)


def one_image(rng, labels, heldout):
    """Of a chosen class."""
    few = int(rng.integers(3))
    rows = np.flatnonzero(labels == few)
    labels[rows[1:]] = 3
    return _made(f"one image of class {few}", labels, heldout)


def not_chosen_is_empty(rng, labels, heldout):
    """A class that nobody asks for has no images."""
    labels, heldout = (np.where(x == 3, 0, x).astype(np.int32) for x in (labels, heldout))
    return _made("no image of a class that is not chosen", labels, heldout)


def labels_out_of_range(rng, labels, heldout):
    """Of a class that has no name."""
    value = pick(rng, (-1, 4, 99))
    (labels if rng.random() < 0.5 else heldout)[:5] = value
    return _made(f"labels of {value}", labels, heldout, refuse=True)


def odd_classes(rng, labels, heldout):
    """Classes that are none, or one twice."""
    classes = pick(rng, ((0, 1, -1), (0, 1, 4), (0, 1, 1), (0, 1, 99), (0, 1.5, 2), (0, None)))
    return _made(f"classes {classes}", labels, heldout, classes, refuse=True)


def other_type(rng, labels, heldout):
    """Images that are not of 0..255."""
    odd = _made("", labels, heldout)
    kind = pick(rng, (np.float32, np.float64, np.uint16, np.int64, bool))
    images = (odd.dataset.images / 255).astype(kind) if kind in (np.float32, bool) else None
    images = odd.dataset.images.astype(kind) if images is None else images
    whole = odd.dataset._replace(images=images)
    return Odd(f"images of {np.dtype(kind)}", whole, odd.classes, True)


def not_a_number(rng, labels, heldout):
    """Floats with a NaN."""
    odd = _made("", labels, heldout)
    images = odd.dataset.images.astype(np.float32)
    images[3, 0, 0, 0] = np.nan
    return Odd("images with a NaN", odd.dataset._replace(images=images), odd.classes, True)


def other_label_type(rng, labels, heldout):
    """Labels as floats, text or whole columns."""
    kind = pick(rng, ("halves", "text", "column", "NaN"))
    odd = {
        "halves": labels + 0.5,
        "text": labels.astype(str),
        "column": labels[:, None],
        "NaN": np.where(labels == 3, np.nan, labels),
    }[kind]
    made = _made("", labels, heldout)
    return Odd(f"labels: {kind}", made.dataset._replace(labels=odd), made.classes, True)


def wide_labels(rng, labels, heldout):
    """Labels of another integer type, which is fine."""
    kind = pick(rng, (np.int64, np.uint8, np.int8))
    return _made(f"labels of {np.dtype(kind)}", labels.astype(kind), heldout.astype(kind))


def unequal_lengths(rng, labels, heldout):
    """More images than labels, or fewer."""
    made = _made("", labels, heldout)
    part = pick(rng, ("labels", "images", "heldout_labels", "heldout_images"))
    short = getattr(made.dataset, part)[:-3]
    return Odd(f"{part}: 3 less", made.dataset._replace(**{part: short}), made.classes, True)


def other_shapes(rng, labels, heldout):
    """Images without channels, or held-out ones of another size."""
    made = _made("", labels, heldout)
    if rng.random() < 0.5:
        images = made.dataset.images[..., 0]
        return Odd("no axis of channels", made.dataset._replace(images=images), (0, 1, 2), True)
    smaller = made.dataset.heldout_images[:, :3]
    whole = made.dataset._replace(heldout_images=smaller)
    return Odd("smaller held-out images", whole, made.classes, True)


def nothing_at_all(rng, labels, heldout):
    """No images."""
    made = _made("", labels[:0], heldout)
    return Odd("no train images", made.dataset, made.classes, True)


ODDITIES = (
    ordinary,
    no_train_images,
    no_heldout_images,
    one_image,
    not_chosen_is_empty,
    labels_out_of_range,
    odd_classes,
    other_type,
    not_a_number,
    other_label_type,
    wide_labels,
    unequal_lengths,
    other_shapes,
    nothing_at_all,
)
