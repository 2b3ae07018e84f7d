"""Writing whole or not at all: beside the file, flushed to the disk, then renamed over it."""

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OF_THE_READER = (  # why a file that is whole cannot be read
    errno.EACCES,
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ESTALE,
    errno.ETIMEDOUT,
)


class StoreError(Exception):
    """A file of a run or a zoo that is missing, damaged, unfinished or of another version."""


class DamageError(StoreError):
    """A file that is not what was written; reading it again will not help."""


def write_atomically(path: Path, write_fn: Callable[[Path], Any]) -> None:
    """Calls `write_fn(temporary path)` and renames: readers see the old file or all of the new.

    Raises:
      StoreError: it cannot be written; the old file is still there, the temporary one is not.
    """
    with replacing(path) as temporary:
        write_fn(temporary)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """`write_atomically` as a block: what it writes to the path it gets replaces `path`."""
    with naming_write_errors(path), temporary_beside(path) as temporary:
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
        flush_entry(path.parent)


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A name beside `path` that nothing has, for what is unfinished; removed in the end."""
    temporary = path.with_name(f".{path.name}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(temporary)
    try:
        yield temporary
    finally:
        remove(temporary)


@contextmanager
def naming_write_errors(path: Path, kinds: type[Exception] = OSError) -> Iterator[None]:
    """What goes wrong while writing becomes one line that names the file and how to go on."""
    try:
        yield
    except StoreError:
        raise
    except kinds as error:
        mended = "once there is room" if os_code(error) in NO_ROOM else "once that is mended"
        raise StoreError(
            f"{path} cannot be written: {reason_of(error)}; "
            f"what is committed is kept, the same command goes on {mended}"
        ) from error


def read_error(path: Path, error: Exception) -> StoreError:
    """What to raise where reading `path` failed: damage, unless the reader is to blame."""
    if isinstance(error, MemoryError) or os_code(error) in OF_THE_READER:
        return StoreError(f"{path} cannot be read: {reason_of(error)}")
    return DamageError(f"{path} is damaged: {reason_of(error)}")


def os_code(error: BaseException) -> int | None:
    """The operating system's number of an error, also where TensorStore wrote it into a text."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"os_error_code='(\d+)'", str(error))
    return int(found[1]) if found else None


def reason_of(error: BaseException) -> str:
    """An error in one line, in the operating system's words where it has some."""
    if code := os_code(error):
        return os.strerror(code)
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def remove(path: Path) -> None:
    """Removes a file or a folder with all in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Has the disk take a file, or all of a folder, so that it outlasts a power failure."""
    if path.is_dir():
        for inside in path.iterdir():
            flush(inside)
        flush_entry(path)
        return
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def flush_entry(folder: Path) -> None:
    """Has the disk take a folder's names; some network file systems cannot, and need not."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def discard_leftovers(folder: Path) -> None:
    """Removes what interrupted writes left in a folder: `.<name>.tmp`, and Orbax's own."""
    for path in folder.iterdir() if folder.exists() else ():
        hidden = path.name.startswith(".") and path.name.endswith(".tmp")
        if hidden or ".orbax-checkpoint-tmp" in path.name:
            remove(path)
