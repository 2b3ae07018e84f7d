"""Calls of the operating system on files below one folder, counted, and refused where asked.

Patched are the functions by which Python code touches files, its own file objects included; what
TensorStore does in C++ is not seen, see `checkpoints`.
"""

import builtins
import contextlib
import fcntl
import io
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

OF_OS = {  # function of os → what it counts as
    "open": "open",
    "write": "write",
    "pwrite": "write",
    "pread": "read",
    "read": "read",
    "ftruncate": "write",
    "truncate": "write",
    "replace": "replace",
    "rename": "replace",
    "link": "replace",
    "fsync": "flush",
    "fdatasync": "flush",
    "stat": "stat",
    "lstat": "stat",
    "fstat": "stat",
    "access": "stat",
    "listdir": "list",
    "scandir": "list",
    "mkdir": "make",
    "unlink": "remove",
    "remove": "remove",
    "rmdir": "remove",
}
MAIN = threading.main_thread()


class Fault(NamedTuple):
    """What is refused."""

    call: str
    number: int  # which of these calls, from 1
    for_good: bool  # all later ones of the name fail too
    how: BaseException | int  # an exception, or an error number


class Gate:
    """Every call passes here first."""

    def __init__(self, folder: Path, fault: Fault | None):
        self.folder, self.fault = str(folder.parent) + os.sep, fault
        self.counts: Counter[str] = Counter()
        self.lock, self.target_of = threading.Lock(), os.readlink

    def inside(self, place: Any) -> bool:
        """Whether a path or a descriptor is of the folder."""
        try:
            if isinstance(place, int):
                return self.target_of(f"/proc/self/fd/{place}").startswith(self.folder)
            path = os.fspath(place)
            path = os.fsdecode(path) if isinstance(path, bytes) else path
            return os.path.join(os.getcwd(), path).startswith(self.folder)
        except (OSError, TypeError, ValueError):
            return False

    def passing(self, call: str, place: Any) -> None:
        """Raises where this call is to be refused."""
        if call != "thread" and not self.inside(place):
            return
        with self.lock:
            self.counts[call] += 1
            number, fault = self.counts[call], self.fault
        if fault is None or fault.call != call or number < fault.number:
            return
        if number > fault.number and not fault.for_good:
            return
        if isinstance(fault.how, KeyboardInterrupt) and threading.current_thread() != MAIN:
            return  # no other thread gets it
        if isinstance(fault.how, int):
            raise OSError(fault.how, os.strerror(fault.how), _text(place))
        raise fault.how


def _text(place: Any) -> str | None:
    return None if isinstance(place, int) else os.fsdecode(place)


class _File(io.FileIO):
    """A file whose reading and writing pass the gate."""

    gate: Gate

    def readinto(self, buffer):
        self.gate.passing("read", self.name)
        return super().readinto(buffer)

    def readall(self):
        self.gate.passing("read", self.name)
        return super().readall()

    def read(self, size=-1):
        self.gate.passing("read", self.name)
        return super().read(size)

    def write(self, data):
        self.gate.passing("write", self.name)
        return super().write(data)


@contextlib.contextmanager
def injected(fault: Fault | None, run: Path) -> Iterator[Gate]:
    """Refuses calls on what is below the folder that holds the run."""
    gate = Gate(run, fault)
    with contextlib.ExitStack() as stack:

        def patch(target: Any, name: str, replacement: Any) -> None:
            stack.enter_context(mock.patch.object(target, name, replacement))

        for name, call in OF_OS.items():
            patch(os, name, _guarded(gate, call, getattr(os, name)))
        opened = _open_through(gate)
        patch(io, "open", opened)
        patch(builtins, "open", opened)
        patch(fcntl, "flock", _guarded(gate, "lock", fcntl.flock))
        patch(threading.Thread, "start", _starting(gate, threading.Thread.start))
        yield gate


@contextlib.contextmanager
def counted(run: Path) -> Iterator[dict[str, int]]:
    """The number of calls by name; refuses none."""
    found: dict[str, int] = {}
    with injected(None, run) as gate:
        yield found
    found.update(gate.counts)


def _guarded(gate: Gate, call: str, real: Callable) -> Callable:
    def guarded(*args, **kwargs):
        gate.passing(call, args[0] if args else ".")
        return real(*args, **kwargs)

    return guarded


def _starting(gate: Gate, real: Callable) -> Callable:
    def start(self):
        gate.passing("thread", None)
        return real(self)

    return start


def _open_through(gate: Gate) -> Callable:
    """`open` whose files below the folder pass the gate in what they do."""
    real = io.open

    def opened(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *rest):
        if isinstance(file, int) or not gate.inside(file) or rest:
            return real(file, mode, buffering, encoding, errors, newline, *rest)
        gate.passing("open", file)
        raw = _File(file, mode.replace("b", "").replace("t", ""))
        raw.gate = gate
        if buffering == 0:
            return raw
        kind = io.BufferedRandom if "+" in mode else io.BufferedReader
        buffered = (io.BufferedWriter if set(mode) & set("wxa") and "+" not in mode else kind)(raw)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, io.text_encoding(encoding), errors, newline)

    return opened
