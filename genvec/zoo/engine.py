"""The zoo: one pure function trains one member; chunks of its vmap train the population."""

import collections
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from genvec import trees
from genvec.mixtures import MixtureData
from genvec.zoo.inputs import MemberInputs
from genvec.zoo.member import Task, Trained, start_member, step_member
from genvec.zoo.plans import ChunkRunner

IN_FLIGHT = 2  # chunks handed to the devices: while one is read and saved, the next is trained


def train_zoo(
    runner: ChunkRunner,
    inputs: MemberInputs,
    data: MixtureData,
    segments: Mapping[int, slice],
    on_segment: Callable[[int, Trained], None],
    on_chunk: Callable[[int], None] = lambda num: None,
) -> None:
    """Trains the members of `segments`, and hands each finished segment over.

    A member's bits depend on the plan, its width and the number of devices, by rounding alone; they
    do not depend on the segment it came in, nor on how many processes there are.

    Args:
      runner: the compiled plan, from `chunk_runner`.
      inputs: of all N members.
      data: images to draw from.
      segments: number → consecutive members.
      on_segment: called with (number, members as numpy arrays with leading axis n).
      on_chunk: called with the number of members that were finished.
    """
    flying: collections.deque[tuple[_Chunk, Trained]] = collections.deque()
    parts: list[Trained] = []
    waiter = ThreadPoolExecutor(1)  # a wait in another thread leaves this one free to hear a signal

    def land():
        chunk, trained = flying.popleft()
        trained = waiter.submit(jax.device_get, trained).result()
        parts.append(trees.take(trained, slice(0, chunk.size)))
        on_chunk(chunk.size)
        if chunk.last:
            on_segment(chunk.segment, trees.concatenate(parts))
            parts.clear()

    try:
        for chunk in _chunks(segments, runner.size):
            flying.append((chunk, runner(trees.take(inputs, chunk.index), data)))
            if len(flying) == IN_FLIGHT:
                land()
        while flying:
            land()
    finally:
        waiter.shutdown(wait=False, cancel_futures=True)


class _Chunk(NamedTuple):
    segment: int
    index: np.ndarray  # [width · devices] members; the last one repeated where there are fewer
    size: int  # how many there are
    last: bool  # of its segment


def _chunks(segments: Mapping[int, slice], whole: int) -> Iterator[_Chunk]:
    for number, rows in segments.items():
        for first in range(rows.start, rows.stop, whole):
            stop = min(first + whole, rows.stop)
            index = np.minimum(np.arange(first, first + whole), stop - 1)
            yield _Chunk(number, index, stop - first, stop == rows.stop)


def step_flops(inputs: MemberInputs, data: MixtureData, task: Task) -> float:
    """Floating-point operations of one step of one member, as XLA counts them before optimising."""
    member = trees.take(inputs, 0)
    carry = jax.eval_shape(lambda m: start_member(m, task), member)
    step_fn = jax.jit(lambda carry, member, data: step_member(carry, 0, member, data, task))
    cost: Any = step_fn.lower(carry, member, data).cost_analysis()
    return float(cost["flops"])
