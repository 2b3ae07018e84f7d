"""Two kinds of trouble with files: damage, which is proved by what lies there, and all the rest.

Damage is a checksum that differs, content that does not parse, a file that is not there. Whatever
else goes wrong while reading is the reader's: no permission, no memory, a disk that does not
answer, a package that has changed. It is told, and the file is left alone.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path

NO_ROOM = (ENOSPC, EDQUOT, EFBIG)
# what parsers raise on wrong bytes in memory; pyarrow has OSErrors of its own, zlib a plain one
UNPARSED = (ArithmeticError, EOFError, LookupError, OSError, RecursionError, ValueError)


class StoreError(Exception):
    """A file of a run or a zoo that is missing, damaged, unfinished or of another version."""


class DamageError(StoreError):
    """A file that is not what was written; reading it again will not help."""


@contextmanager
def naming_write_errors(
    path: Path, kinds: type[Exception] | tuple[type[Exception], ...] = (OSError, MemoryError)
) -> Iterator[None]:
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


@contextmanager
def naming_read_errors(path: Path) -> Iterator[None]:
    """What the operating system refuses while reading becomes one line that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"{path} does not exist; the stage that writes it has not run") from error
    except (OSError, MemoryError) as error:
        raise StoreError(f"{path} cannot be read: {reason_of(error)}") from error


@contextmanager
def naming_parse_errors(path: Path) -> Iterator[None]:
    """Bytes that do not parse are damage; what else a parser raises is no word about the bytes."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        zlib_error = type(error).__name__ in ("BadZipFile", "error")  # zlib.error, struct.error
        if isinstance(error, UNPARSED) or zlib_error:
            raise DamageError(f"{path} is damaged: {reason_of(error)}") from error
        raise StoreError(f"{path} cannot be read: {reason_of(error)}") from error


def is_missing(path: Path) -> bool:
    """True where nothing lies there, for certain: not where one may not look, or a disk is silent.

    Raises:
      StoreError: it cannot be told.
    """
    with naming_read_errors(path):
        try:
            os.lstat(path)
        except FileNotFoundError:
            return True
        return False


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted; nothing where there is none.

    Raises:
      StoreError: it cannot be listed. (`Path.glob` would pass over what it may not read.)
    """
    if is_missing(folder):
        return []
    with naming_read_errors(folder):
        return sorted(folder / name for name in os.listdir(folder))


def os_code(error: BaseException) -> int | None:
    """The operating system's number of an error, also where TensorStore wrote it into a text."""
    if isinstance(error, OSError):
        return error.errno
    match = re.search(r"os_error_code='(\d+)'", str(error))
    return int(match[1]) if match else None


def reason_of(error: BaseException) -> str:
    """An error in one line, in the operating system's words where it has some."""
    if code := os_code(error):
        return os.strerror(code)
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
