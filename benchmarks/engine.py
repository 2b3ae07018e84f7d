"""The only file that calls the engine: how it is timed, and what it may choose from."""

import time
from functools import partial
from itertools import product
from typing import Any

import jax
import numpy as np

from benchmarks.cases import Case
from benchmarks.workers import Turn
from genvec import trees, zoo
from genvec.families import FAMILIES
from genvec.mixtures import MixtureData, group_by_class
from genvec.types import Dataset

NUM_IMAGES, NUM_CLASSES = 2000, 3
STEPS = 10_000  # of the run that is imagined; a turn is a part of it
NETWORKS = {"dense": "mlp", "conv": "conv"}  # of a case → of the engine


def images_of(case: Case) -> np.ndarray:
    """Noise uint8 [M, H, W, C], the same for all variants: what it shows costs nothing."""
    shape = (NUM_IMAGES, *case.image_shape)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def problem(case: Case, num: int) -> tuple[zoo.MemberInputs, MixtureData, zoo.Task]:
    """Inputs of N members, data and task."""
    family = FAMILIES["vae"](
        case.image_shape, hidden=case.hidden, latent=case.latent, network=NETWORKS[case.network]
    )
    images, labels = images_of(case), (np.arange(NUM_IMAGES) % NUM_CLASSES).astype(np.int32)
    # one held-out image a class: the yardsticks evaluate none
    heldout = images[:NUM_CLASSES], labels[:NUM_CLASSES]
    dataset = Dataset("noise", tuple("abc"), images, labels, *heldout)
    mixtures = np.full((num, NUM_CLASSES), 1 / NUM_CLASSES)
    inputs = zoo.member_inputs(
        jax.random.key(0), mixtures, family, init="independent", hparams={"learning_rate": 1e-3}
    )
    data = group_by_class(dataset, range(NUM_CLASSES))
    return inputs, data, zoo.Task(family, STEPS, case.batch)


def tuned(case: Case, *, quick: bool, turn_s: float) -> tuple[Turn, dict[str, Any]]:
    """The autotuner's choice among the case's plans and widths → a turn of it, and what it is.

    A turn is training steps alone, as for the others: first parameters and metrics are not timed.
    """
    choices = case.quick if quick else tuple(product(case.plans, case.widths))
    plans = [zoo.Plan(name, width) for name, width in choices]
    inputs, data, task = problem(case, jax.device_count())
    chosen = zoo.tune(inputs, data, task, num_members=10**9, candidates=plans)
    runner = chosen.runner
    chunk = trees.take(inputs, np.arange(runner.size) % len(inputs.mixture))
    carry = [runner.advance(runner.start(chunk), 0, 1, chunk, data)]

    def turn(steps: int) -> float:
        begin = time.perf_counter()
        carry[0] = jax.block_until_ready(runner.advance(carry[0], 0, steps, chunk, data))
        return (time.perf_counter() - begin) / steps / runner.size

    steps = max(case.steps, round(turn_s / turn(case.steps) / runner.size))
    tried = {f"{t.plan.name} {t.plan.width}": t.seconds for t in chosen.trials}
    return partial(turn, steps), {
        "plan": runner.plan.name,
        "width": runner.plan.width,
        "tried": tried,
    }
