"""Variants are timed in processes of their own that live for the whole run and take turns.

A worker's life: it imports, waits for a line, compiles and tunes, answers with what it chose, and
from then on does its fixed work at every line and answers with the seconds per step and member.
Standard library only: workers of every interpreter use it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
Turn = Callable[[], float]  # does the work of one turn → seconds per step and member


def repeated(run_fn: Callable[[], Any], step_members: int, turn_s: float) -> Turn:
    """Turns of about `turn_s` seconds, always of the same work.

    Args:
      run_fn: the least piece of work; its first run is a warm-up, unless it fills a turn alone.
      step_members: steps × members in one run.
      turn_s: seconds.
    """
    start = time.perf_counter()
    run_fn()
    if time.perf_counter() - start < turn_s:
        start = time.perf_counter()
        run_fn()
    times = max(1, round(turn_s / (time.perf_counter() - start)))

    def turn() -> float:
        start = time.perf_counter()
        for _ in range(times):
            run_fn()
        return (time.perf_counter() - start) / (times * step_members)

    return turn


def serve(prepare_fn: Callable[[], tuple[Turn, Mapping[str, Any]]]) -> None:
    """The worker's side: prepares at the first line, takes a turn at every further one."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    if not sys.stdin.readline():
        return
    turn, info = prepare_fn()
    print(json.dumps(info), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps({"seconds": turn()}), file=answers, flush=True)


class WorkerError(Exception):
    """A worker ended before it answered; the message is the last line it wrote."""


class Worker:
    """The benchmark's side of one worker."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close()
        self.begun = False
        self.info: dict[str, Any] | None = None
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        assert self.process.stdin and self.process.stdout
        self.questions, self.answers = self.process.stdin, self.process.stdout

    def ask(self) -> None:
        """Says "go"; the answer is to be fetched."""
        try:
            self.questions.write("go\n")
            self.questions.flush()
        except BrokenPipeError:
            pass  # it has ended; `answer` says of what

    def answer(self) -> dict[str, Any]:
        """Waits for the answer to the last "go".

        Raises:
          WorkerError: it ended without one.
        """
        line = self.answers.readline()
        if not line:
            self.log.seek(0)
            lines = self.log.read().strip().splitlines()
            raise WorkerError(lines[-1] if lines else "ended without a word")
        return json.loads(line)

    def begin(self) -> None:
        """Lets it compile and tune; `prepare` waits for the end of it."""
        if not self.begun:
            self.begun = True
            self.ask()

    def prepare(self) -> dict[str, Any]:
        """Waits until it has compiled and tuned → what it chose."""
        self.begin()
        if self.info is None:
            self.info = self.answer()
        return self.info

    def close(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()
        self.questions.close()
        self.answers.close()
        self.log.close()


def turn_of(workers: Sequence[Worker]) -> float:
    """Seconds per step and member of workers that run at the same time; their rates add up."""
    for worker in workers:
        worker.ask()
    return 1.0 / sum(1.0 / worker.answer()["seconds"] for worker in workers)


def fastest(candidates: Mapping[str, Turn], times: int = 3) -> str:
    """Name of the candidate with the least median of a few turns, taken in alternation."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(times):
        for name, turn in candidates.items():
            seconds[name].append(turn())
    return min(seconds, key=lambda name: median(seconds[name]))
