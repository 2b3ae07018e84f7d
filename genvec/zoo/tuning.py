"""The autotuner: times a few plans on the actual family and devices, and takes the fastest."""

import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from genvec import trees
from genvec.mixtures import MixtureData
from genvec.zoo.engine import step_flops
from genvec.zoo.inputs import MemberInputs
from genvec.zoo.member import Task, start_member, step_member
from genvec.zoo.plans import ChunkRunner, Plan, chunk_runner

SHARE = 0.05  # of the run that tuning may cost
TRIAL_SECONDS = 0.5  # of training in each trial, besides its compilation
# In the order of trial; the first is also the choice where tuning does not pay. On a CPU a few
# members at a time stay in its cache; an accelerator wants as many as it has room for.
CANDIDATES = {
    "cpu": (
        *(Plan("scan", width) for width in (16, 4, 2, 32, 8)),
        Plan("stepped", 4),
        Plan("unrolled", 2),
    ),
    "accelerator": tuple(Plan("scan", width) for width in (256, 1024, 4096, 64, 16384)),
}
# Runs of fewer floating-point operations a device are over before tuning could pay: about two
# minutes of a CPU core at 40 GFLOP/s, or of an accelerator at 4 TFLOP/s.
SHORT_RUN = {"cpu": 5e12, "accelerator": 5e14}


class Trial(NamedTuple):
    """One plan as it was timed."""

    plan: Plan
    seconds: float  # per step and member; not finite where it did not fit into memory
    cost: float  # seconds that the trial took, compilation included


class Tuned(NamedTuple):
    """The choice, and what it was chosen from."""

    runner: ChunkRunner
    trials: tuple[Trial, ...]  # empty where the run is too short for any


def tune(
    inputs: MemberInputs,
    data: MixtureData,
    task: Task,
    *,
    num_members: int,
    precision: str = "float32",
    devices: Sequence[Any] | None = None,
    candidates: Sequence[Plan] | None = None,
    memory_limit: float | None = None,
) -> Tuned:
    """Chooses the plan of a run.

    Trials go on until their cost, with that of one more, would pass 5 % of the run as it is
    estimated from the fastest so far. A run that is short from the first is not tuned.

    Args:
      inputs: of at least one member.
      data: images to draw from.
      task: what is to be run.
      num_members: that are still to be trained on these devices.
      candidates: plans in order of trial; those of the platform by default.
      memory_limit: bytes a device; what it has (half of the machine's, on a CPU) by default.

    Raises:
      MemoryError: none of the plans that were tried fits.
    """
    devices = devices or jax.local_devices()
    kind = "cpu" if devices[0].platform == "cpu" else "accelerator"
    limit = memory_limit or _memory_of(devices)
    room = max(1.0, limit / member_bytes(inputs, data, task))
    # a chunk wider than the run would train members that nobody asked for
    room = min(room, max(1.0, num_members / len(devices)))
    plans = [p for p in candidates or CANDIDATES[kind] if p.width <= room]
    plans = plans or [Plan("scan", int(room))]
    flops = step_flops(inputs, data, task) * task.steps * num_members / len(devices)
    runners = {p: chunk_runner(p, task, precision=precision, devices=devices) for p in plans}
    if flops < SHORT_RUN[kind] or len(plans) == 1:
        return Tuned(runners[plans[0]], ())
    trials: list[Trial] = []
    for plan in plans:
        trials.append(_try(runners[plan], inputs, data))
        estimate = min(t.seconds for t in trials) * task.steps * num_members
        if sum(t.cost for t in trials) + max(t.cost for t in trials) > SHARE * estimate:
            break
    best = min(trials, key=lambda t: t.seconds)
    if not np.isfinite(best.seconds):
        widths = ", ".join(str(trial.plan.width) for trial in trials)
        raise MemoryError(
            f"not even one of {widths} members at a time fits into {limit / 2**30:.3g} GiB of "
            "memory; choose a plan with a smaller width, or smaller members"
        )
    return Tuned(runners[best.plan], tuple(trials))


def _try(runner: ChunkRunner, inputs: MemberInputs, data: MixtureData) -> Trial:
    begin = time.perf_counter()
    size, steps = runner.size, 1
    chunk = trees.take(inputs, np.arange(size) % len(inputs.mixture))
    try:
        carry = jax.block_until_ready(runner.advance(runner.start(chunk), 0, 1, chunk, data))
        while True:  # longer and longer, until it is long enough to be told from noise
            start = time.perf_counter()
            carry = jax.block_until_ready(runner.advance(carry, 0, steps, chunk, data))
            spent = time.perf_counter() - start
            if spent > TRIAL_SECONDS / 2 or steps >= runner.task.steps:
                break
            steps = min(runner.task.steps, max(steps + 1, int(steps * TRIAL_SECONDS / spent)))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Trial(runner.plan, float("inf"), time.perf_counter() - begin)
    return Trial(runner.plan, spent / steps / size, time.perf_counter() - begin)


def member_bytes(inputs: MemberInputs, data: MixtureData, task: Task) -> int:
    """An upper bound of what one member holds in a step: everything that is computed in it."""
    member = trees.take(inputs, 0)
    carry = jax.eval_shape(lambda m: start_member(m, task), member)
    step_fn = jax.make_jaxpr(lambda carry, member, data: step_member(carry, 0, member, data, task))
    equations = step_fn(carry, member, data).jaxpr.eqns
    values = [variable.aval for equation in equations for variable in equation.outvars]
    return sum(_bytes(value) for value in (*values, *jax.tree.leaves((carry, carry))))


def _bytes(value: Any) -> int:
    return int(np.prod(value.shape)) * np.dtype(np.float32).itemsize


def _memory_of(devices: Sequence[Any]) -> float:
    """Bytes that each device may use."""
    stats = devices[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return 0.9 * stats["bytes_limit"]
    return 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / len(devices)
