"""Execution plans: how a chunk of members is run. They change its speed, never what is computed.

A chunk is `width` members on each device. Every plan starts and finishes a chunk by a vmap; they
differ in how they get from the first step to the last.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec

from genvec import trees
from genvec.mixtures import MixtureData
from genvec.registry import lookup
from genvec.zoo.inputs import MemberInputs
from genvec.zoo.member import Carry, Task, Trained, finish_member, start_member, step_member

# what jax.default_matmul_precision is asked for; parameters and all else stay float32
PRECISIONS = {"float32": "highest", "tensorfloat32": "TF32_TF32_F32", "bfloat16": "BF16_BF16_F32"}


class Plan(NamedTuple):
    """A way to run a chunk."""

    name: str = "scan"  # one of PLANS
    width: int = 16  # members on a device at once


class ChunkRunner(NamedTuple):
    """The programs of one plan; members carry the leading axis `size`."""

    plan: Plan
    task: Task
    size: int  # of a chunk: width · devices

    start: Callable[[MemberInputs], Carry]
    advance: Callable[[Carry, int, int, MemberInputs, MixtureData], Carry]  # first, last step
    finish: Callable[[Carry, MemberInputs, MixtureData], Trained]

    def __call__(self, inputs: MemberInputs, data: MixtureData) -> Trained:
        carry = self.advance(self.start(inputs), 0, self.task.steps, inputs, data)
        return self.finish(carry, inputs, data)


def chunk_runner(
    plan: Plan, task: Task, *, precision: str = "float32", devices: Sequence[Any] | None = None
) -> ChunkRunner:
    """The programs that run chunks of `plan` on all `devices` (of this process, by default).

    The members are sharded over the mesh axis "members"; the programs hold no collectives.

    Raises:
      KeyError: an unknown plan or precision.
      ValueError: a width that is not positive.
    """
    advance = lookup(PLANS, plan.name, kind="plan")
    matmul = lookup(PRECISIONS, precision, kind="precision")
    if plan.width < 1:
        raise ValueError(f"width is {plan.width}; it must be positive")
    devices = devices or jax.local_devices()
    types = (AxisType.Auto,)
    mesh = jax.make_mesh((len(devices),), ("members",), axis_types=types, devices=devices)

    def program(fn, num_members, num_shared, **options):
        """`fn` on sharded members, then on what all devices hold alike."""

        def with_precision(*args):
            with jax.default_matmul_precision(matmul):
                return fn(*args)

        shards = (PartitionSpec("members"),) * num_members + (PartitionSpec(),) * num_shared
        # check_vma is off: zeros made inside the loop are replicated, what they become is not
        sharded = jax.shard_map(
            with_precision,
            mesh=mesh,
            in_specs=shards,
            out_specs=PartitionSpec("members"),
            check_vma=False,
        )
        return jax.jit(sharded, **options)

    def start(inputs):
        return jax.vmap(partial(start_member, task=task))(inputs)

    def finish(carry, inputs, data):
        return jax.vmap(partial(finish_member, task=task), (0, 0, None))(carry, inputs, data)

    return ChunkRunner(
        plan,
        task,
        plan.width * len(devices),
        program(start, 1, 0),
        advance(task, partial(program, donate_argnums=0)),
        program(finish, 2, 1),
    )


def _vmapped(task: Task):
    def step_fn(carry, step, inputs, data):
        member_fn = partial(step_member, task=task)
        return jax.vmap(member_fn, (0, None, 0, None))(carry, step, inputs, data)

    return step_fn


def _unrolled(task: Task):
    def step_fn(carry, step, inputs, data):
        width = inputs.mixture.shape[0]
        members = [(trees.take(carry, i), trees.take(inputs, i)) for i in range(width)]
        return trees.stack([step_member(c, step, m, data, task) for c, m in members])

    return step_fn


def scan(task: Task, program) -> Callable[..., Carry]:
    """All steps of vmapped members in one program: nothing is dispatched in between."""
    step_fn = _vmapped(task)

    def all_steps(carry, inputs, data, first, last):
        return jax.lax.fori_loop(first, last, lambda i, c: step_fn(c, i, inputs, data), carry)

    run_fn = program(all_steps, 2, 3)
    return lambda carry, first, last, inputs, data: run_fn(
        carry, inputs, data, jnp.int32(first), jnp.int32(last)
    )


def _dispatched(step_fn, program) -> Callable[..., Carry]:
    run_fn = program(lambda carry, inputs, data, step: step_fn(carry, step, inputs, data), 2, 2)

    def advance(carry, first, last, inputs, data):
        for step in range(first, last):
            carry = run_fn(carry, inputs, data, jnp.int32(step))
        return carry

    return advance


def stepped(task: Task, program) -> Callable[..., Carry]:
    """One program a step, vmapped members: for operations that are slow inside a loop."""
    return _dispatched(_vmapped(task), program)


def unrolled(task: Task, program) -> Callable[..., Carry]:
    """One program a step, members one after the other in it: for what is slow under vmap."""
    return _dispatched(_unrolled(task), program)


PLANS = {"scan": scan, "stepped": stepped, "unrolled": unrolled}
