"""Which workers a case needs, and the rounds in which they take turns."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from benchmarks.cases import Case
from benchmarks.provenance import num_cores
from benchmarks.workers import Worker, WorkerError, turn_of

PEAK_FLOPS = 2 * 2048**3  # of the matmul that the peak workers time
COMPILED = ("naive", "single", "step_loop")  # nothing is tuned: may be prepared all at once
TORCH_LOOPS = ("torch_loop_1", "torch_loop_all", "torch_processes")
TORCH_VMAPS = ("torch_vmap_1", "torch_vmap_all", "torch_vmap_processes")
Workers = dict[str, list[Worker]]  # variant → those that run at the same time


class Effort(NamedTuple):
    """How much is measured."""

    rounds: int
    turn_s: float  # about; a turn is never less than one run of the variant's program
    quick: bool


class Timings(NamedTuple):
    """What the rounds of one case gave."""

    seconds: dict[str, list[float]]  # variant → seconds per step and member, a round each
    info: dict[str, dict[str, Any]]  # variant → what its worker chose
    missing: dict[str, str]  # variant → why it has no seconds
    peak: dict[str, list[float]]  # "jax", "torch" → GFLOP/s of a matmul, a round each


def jax_worker(kind: str, case: Case, effort: Effort, cache: str) -> list[Worker]:
    """A JAX variant: the engine with a device a core, the others with one device."""
    env = {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": cache,  # the engine compiles the same program every turn
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    devices = num_cores() if kind == "engine" else 1
    command = [sys.executable, "-m", "benchmarks.jax_worker", kind, case.name]
    command += [f"--devices={devices}", f"--turn={effort.turn_s}"]
    return [Worker(command + ["--quick"] * effort.quick, env)]


def torch_worker(kind: str, case: Case, effort: Effort, python: str, threads: int) -> Worker:
    """A PyTorch variant with so many threads."""
    command = [python, "-m", "benchmarks.torch_worker", kind, case.name]
    return Worker([*command, f"--threads={threads}", f"--turn={effort.turn_s}"], {})


def start_torch(case: Case, effort: Effort, python: str) -> Workers:
    """Workers of the PyTorch variants; a worker of one thread serves two of them."""
    cores = num_cores()

    def start(kind: str, threads: int, num: int = 1) -> list[Worker]:
        return [torch_worker(kind, case, effort, python, threads) for _ in range(num)]

    loops = start("loop", 1, cores)
    vmaps = start("vmap", 1, cores if case.torch_vmap_processes else 1)
    started = {
        "torch_loop_1": loops[:1],
        "torch_loop_all": start("loop", cores),
        "torch_processes": loops,
        "torch_vmap_1": vmaps[:1],
        "torch_vmap_all": start("vmap", cores),
    }
    return started | ({"torch_vmap_processes": vmaps} if case.torch_vmap_processes else {})


def start_peaks(case: Case, effort: Effort, python: str | None, cache: str) -> Workers:
    """Workers of the matmul peak, which serve all cases."""
    started = {"jax": jax_worker("peak", case, effort, cache)}
    if python:
        started["torch"] = [torch_worker("peak", case, effort, python, num_cores())]
    return started


def measure(
    cases: Sequence[Case],
    effort: Effort,
    *,
    python: str | None,
    cache: str,
    log: Callable[[str], None],
) -> list[Timings]:
    """Measures case by case: prepares all variants, then lets them take turns.

    Args:
      cases: to be trained.
      effort: rounds and their length.
      python: an interpreter with PyTorch; None leaves its variants out.
      cache: folder for compiled programs.
      log: told of the progress.
    """
    peaks = start_peaks(cases[0], effort, python, cache)
    try:
        return [_measure_case(case, effort, python, cache, peaks, log) for case in cases]
    finally:
        close(peaks)


def _measure_case(case, effort, python, cache, peaks: Workers, log) -> Timings:
    # the ratios with a target need no more than naive, and every program takes its time to compile
    kinds = (*COMPILED[:1], "engine") if effort.quick else (*COMPILED, "engine")
    started = {kind: jax_worker(kind, case, effort, cache) for kind in kinds}
    if python:
        started |= start_torch(case, effort, python)
    try:
        return take_turns(started | peaks, effort.rounds, lambda text: log(f"{case.name}: {text}"))
    finally:
        close(started)


def close(started: Workers) -> None:
    """Ends all workers."""
    for worker in {id(worker): worker for group in started.values() for worker in group}.values():
        worker.close()


def prepare_all(workers: Sequence[Worker]) -> dict[str, Any]:
    """Lets workers of one kind compile and tune, one after the other → what the first chose."""
    chosen = [worker.prepare() for worker in workers]
    return chosen[0]


def take_turns(started: Workers, rounds: int, log: Callable[[str], None]) -> Timings:
    """All rounds; a variant whose worker ends is missing from then on, with its last words."""
    result = Timings({}, {}, {}, {})

    def attempt(name: str, step: Callable[[Sequence[Worker]], Any]) -> Any:
        if name in result.missing:
            return None
        try:
            return step(started[name])
        except WorkerError as error:
            result.missing[name] = str(error)
            result.seconds.pop(name, None)
            log(f"{name} is missing: {error}")
            return None

    for name in set(COMPILED) & set(started):
        started[name][0].begin()
    for name in started:
        log(f"prepare {name}")
        if info := attempt(name, prepare_all):
            result.info[name] = info
    for number in range(rounds):
        log(f"round {number + 1} of {rounds}")
        for name in started:
            seconds = attempt(name, turn_of)
            if seconds and name in ("jax", "torch"):
                result.peak.setdefault(name, []).append(PEAK_FLOPS / seconds / 1e9)
            elif seconds:
                result.seconds.setdefault(name, []).append(seconds)
    return result
