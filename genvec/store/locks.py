"""A folder belongs to one process at a time; the kernel frees it when its owner dies."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from genvec.store.errors import StoreError, naming_write_errors

UNKNOWN = "another process"
FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW  # a link may lead anywhere


@contextmanager
def lock_folder(path: str | os.PathLike) -> Iterator[None]:
    """Holds `path` for this process; makes the folder where there is none.

    The lock is on the open file `.lock`, whose text tells who holds it. Programs started meanwhile
    do not inherit it. The file is never removed: another process may be about to lock it.

    Raises:
      StoreError: another process, or another block of this one, holds the folder.
    """
    path = Path(path).absolute()
    with naming_write_errors(path / ".lock"):
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path / ".lock", FLAGS, 0o666)
    try:
        with naming_write_errors(path / ".lock"):
            _take(path, descriptor)
        yield
    finally:
        os.close(descriptor)


def _take(path: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StoreError(
            f"{path} is in use by {_owner(descriptor)}; wait for it or choose another folder"
        ) from error
    if os.fstat(descriptor).st_size and _owner(descriptor) == UNKNOWN:
        raise StoreError(f"{path / '.lock'} is no lock of genvec's; move it away")
    owner = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(owner).encode(), 0)


def _owner(descriptor: int) -> str:
    """Who wrote the lock file; it is empty for the moment in which its owner takes it."""
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (ValueError, KeyError, TypeError):
        return UNKNOWN
