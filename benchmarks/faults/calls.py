"""Kind "calls": the operating system refuses the k-th of the calls by which files are touched."""

import errno
from pathlib import Path

import numpy as np

from benchmarks.faults import replacing
from benchmarks.faults.actions import do, draw_task, judge, pick, weighted
from benchmarks.faults.inject import Fault, counted, injected
from benchmarks.faults.oracle import Verdict, attempt, snapshot
from benchmarks.faults.subject import Subject

NUMBERS = (
    errno.EIO,
    errno.ENOSPC,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTCONN,
    errno.EHOSTDOWN,
    errno.EAGAIN,
    errno.EREMOTEIO,
    errno.ECONNRESET,
    errno.ENODEV,
    errno.ESTALE,
    errno.EMFILE,
    errno.ENFILE,
    errno.EDQUOT,
    errno.EROFS,
    errno.ETIMEDOUT,
    errno.ENOMEM,
)
# what may fail, and how often it is drawn, in parts
CALLS = {
    "open": 4,
    "read": 4,
    "write": 3,
    "replace": 3,
    "flush": 2,
    "stat": 3,
    "list": 2,
    "make": 2,
    "remove": 2,
    "lock": 1,
    "thread": 2,
}


def trial(rng: np.random.Generator, subject: Subject, folder: Path) -> Verdict:
    """Counts the calls of an action on one copy, and refuses one of them on another."""
    place, how = rng.random(), _fault(rng)
    if rng.random() < 0.2:
        return replacing.trial(rng, subject, folder, how)
    task = draw_task(rng, subject, folder)
    numbers = _calls_of(subject, task, folder)
    call = weighted(rng, {name: CALLS[name] for name in CALLS if numbers.get(name)})
    number = 1 + int(place * numbers[call])
    for_good = bool(rng.random() < 0.4) and call != "thread"
    if isinstance(how, MemoryError) and call not in ("read", "write"):
        how = errno.ENOMEM  # memory runs out where a file's content is taken in
    if call == "thread":
        how = RuntimeError("can't start new thread")
    done = f"{call} {number} of {numbers[call]}: {_name(how)}{' for good' * for_good}; {task}"
    subject.note(done)
    before = snapshot(task.run)
    with injected(Fault(call, number, for_good, how), task.run):
        ended = attempt(lambda: do(task))
    return judge(task, done, ended, subject, before, harmless=True, recover=True)


def _fault(rng: np.random.Generator) -> BaseException | int:
    """An error number, or now and then no memory, or the user's Ctrl-C."""
    kind = rng.random()
    if kind < 0.06:
        return MemoryError()
    return KeyboardInterrupt() if kind < 0.12 else pick(rng, NUMBERS)


def _name(how: BaseException | int) -> str:
    return errno.errorcode[how] if isinstance(how, int) else repr(how)


COUNTS: dict[tuple[str, str], dict[str, int]] = {}


def _calls_of(subject: Subject, task, folder: Path) -> dict[str, int]:
    """How often the action makes each call when nothing fails; counted once in this process.

    The second time is counted: the first one in a process also starts what lasts, such as threads.
    """
    if (task.state, task.action) not in COUNTS:
        for name in ("warm", "twin"):
            twin = task._replace(run=subject.copy(task.state, folder / name), relative=False)
            with counted(twin.run) as numbers:
                attempt(lambda twin=twin: do(twin))
        COUNTS[task.state, task.action] = numbers
    return COUNTS[task.state, task.action]
