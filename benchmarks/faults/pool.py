"""Processes that run trials, one each at a time; one that hangs is killed, and another started."""

import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

MEMORY = 6 * 2**30  # bytes that a trial may ask for: what reads an enormous count must not take all
ENVIRONMENT = {  # compiled programs are kept, or most of the time would go into them
    "PYTHONHASHSEED": "0",  # the order of bokeh's sets is that of the text in a report
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "1",
    "JAX_COMPILATION_CACHE_DIR": str(
        Path(tempfile.gettempdir()) / f"genvec-faults-cache-{os.getuid()}"
    ),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


class Job(NamedTuple):
    """One trial."""

    seed: int
    number: int
    kind: str | None = None


class Worker:
    """One process, seen from here."""

    def __init__(self, work: Path):
        self.work = work
        context = multiprocessing.get_context("spawn")
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=serve, args=(there, str(work)), daemon=True)
        self.process.start()
        there.close()
        self.job: Job | None = None
        self.begun, self.doing = float("inf"), "nothing yet"

    def give(self, job: Job) -> None:
        """Has it run a trial."""
        self.job, self.begun, self.doing = job, float("inf"), "nothing yet"
        self.pipe.send(job)

    def kill(self) -> None:
        """Ends it, whatever it does."""
        from benchmarks.faults.kinds import folder_of

        self.process.kill()
        self.process.join()
        self.pipe.close()
        shutil.rmtree(folder_of(self.work, self.process.pid or 0), ignore_errors=True)


def run(
    jobs: Sequence[Job], work: Path, *, workers: int, limit: float
) -> Iterator[tuple[Job, Any]]:
    """Runs the trials → each with its `Verdict`, in the order in which they end."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    waiting = deque(jobs)
    crew = [Worker(work)]
    crew[0].give(Job(0, 0, "prepare"))  # one makes the run that all of them copy
    try:
        while waiting or any(worker.job for worker in crew):
            for worker in crew:
                if worker.job is None and waiting:
                    worker.give(waiting.popleft())
            for worker in _spoken(crew):
                for verdict in _heard(worker):
                    job, worker.job = worker.job, None
                    assert job is not None
                    if job.kind == "prepare":
                        more = min(workers, len(jobs)) - len(crew)
                        crew += [Worker(work) for _ in range(more)]
                    else:
                        yield job, verdict
            for place, worker in enumerate(crew):
                if (verdict := _dead(worker, limit)) is not None:
                    job = worker.job
                    worker.kill()
                    crew[place] = Worker(work)
                    if job is None or job.kind == "prepare":
                        raise RuntimeError(f"a worker ended: {verdict.happened}")
                    yield job, verdict
    finally:
        for worker in crew:
            worker.kill()


def _spoken(crew: Sequence[Worker]) -> list[Worker]:
    ready = connection.wait([worker.pipe for worker in crew if worker.job], timeout=0.5)
    return [worker for worker in crew if worker.pipe in ready]


def _heard(worker: Worker) -> Iterator[Any]:
    """What it says: that it has begun, what it does, and its verdict."""
    try:
        while worker.pipe.poll():
            what, told = worker.pipe.recv()
            if what == "begun":
                worker.begun = time.monotonic()
            elif what == "doing":
                worker.doing = told
            else:
                yield told
    except (EOFError, OSError):
        worker.process.join(5)


def _dead(worker: Worker, limit: float) -> Any:
    """A verdict on a worker that takes too long, or is no more."""
    from benchmarks.faults.oracle import Verdict

    if not worker.process.is_alive() and not worker.pipe.closed:
        code = worker.process.exitcode
        return Verdict("traceback", worker.doing, f"the process died with code {code}")
    if worker.job and time.monotonic() - worker.begun > limit:
        return Verdict("hang", worker.doing, f"not done after {limit:g} s")
    return None


def serve(pipe: connection.Connection, work: str) -> None:
    """The worker's side: runs what it is given until the pipe is closed."""
    from benchmarks.faults.kinds import run_trial
    from benchmarks.faults.oracle import ROOT
    from benchmarks.faults.subject import Subject

    os.chdir(ROOT)
    sys.stdin = open(os.devnull)  # noqa: SIM115 - it stays open as long as the process lives
    subject = Subject(Path(work), lambda done: pipe.send(("doing", done)))
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY, resource.RLIM_INFINITY))
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        if job.kind == "prepare":
            subject.make()
            pipe.send(("done", None))
            continue
        pipe.send(("begun", None))
        pipe.send(("done", run_trial(job.seed, job.number, subject, job.kind)))
