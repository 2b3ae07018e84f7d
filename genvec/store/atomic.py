"""Writing whole or not at all: beside the file, flushed to the disk, then renamed over it."""

import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from genvec.store.errors import (
    StoreError,
    entries,
    is_missing,
    naming_write_errors,
)

# hidden names that nobody else makes: the process number alone is not unique on a shared disk
LEFTOVER = re.compile(r"\..+\.genvec-[0-9a-f]{32}\.tmp")
REPLACED = re.compile(r"\.(.+)\.genvec-[0-9a-f]{32}\.old")  # what a replacement had moved away


def write_atomically(path: Path, write_fn: Callable[[Path], Any]) -> None:
    """Calls `write_fn(temporary path)` and renames: readers see the old file or all of the new.

    A link is followed: what it leads to is replaced, the link stays.

    Raises:
      StoreError: it cannot be written, or something lies there that is no file; the old file is
        still there, the temporary one is not.
    """
    with naming_write_errors(path):
        path = real_file(path)
        with temporary_beside(path) as temporary:
            write_fn(temporary)
            flush(temporary)
            os.replace(temporary, path)
            flush_entry(path.parent)


def real_file(path: Path) -> Path:
    """Where a file of this name lies or will lie, links followed.

    Raises:
      StoreError: a device, a pipe or a folder has the name.
    """
    real = Path(os.path.realpath(path))
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(real).st_mode):
            kind = "a folder" if real.is_dir() else "a device or a pipe"
            raise StoreError(f"{path} is {kind}, not a file; give the name of a file")
    return real


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A name beside `path` that nothing has, for what is unfinished; removed in the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = hidden_beside(path, ".tmp")
    try:
        yield temporary
    finally:
        remove(temporary)


def hidden_beside(path: Path, ending: str) -> Path:
    """A name beside `path` that nobody else has, known as the store's own by its form."""
    return path.with_name(f".{path.name}.genvec-{uuid.uuid4().hex}{ending}")


def set_aside(root: Path, *paths: Path) -> Path:
    """Moves files and folders below `root` to `root`/damaged/<time>/, each to its place there.

    Returns:
      The folder that holds them now.

    Raises:
      StoreError: they cannot be moved.
    """
    folder = root / "damaged" / datetime.now().strftime("%Y-%m-%dT%H-%M-%S.%f")
    with naming_write_errors(folder):
        for path in paths:
            if not is_missing(path):
                target = folder / path.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, target)  # onto another disk where a folder above is a link
    return folder


def remove(path: Path) -> None:
    """Removes a file or a folder with all in it, if it is there: only what the store made itself
    and nobody was told of."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
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
    """Removes what the store's own interrupted writes left in a folder; nothing else's."""
    for path in entries(folder):
        if LEFTOVER.fullmatch(path.name):
            remove(path)
