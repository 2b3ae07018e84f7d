"""SHA-256 of what was written, in a hidden file beside it: `.<name>.sha256`, as `sha256sum` has it.

Storage does not notice a flipped byte, and neither does a JSON parser where a digit became another
one. The sums are written before the file that they are of, together with those of the file that is
replaced, and once more after it: wherever a write is interrupted, what lies there is known. Files
without sums, as earlier versions wrote them, are read as they are.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from genvec.store.atomic import real_file, set_aside, write_atomically
from genvec.store.errors import (
    DamageError,
    StoreError,
    is_missing,
    naming_read_errors,
    naming_write_errors,
)


def sums_path(path: Path) -> Path:
    """Where the sums of the file or folder `path` lie."""
    return path.with_name(f".{path.name}.sha256")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with naming_read_errors(path):
        return _sha256(path.read_bytes())


def read_bytes(path: Path) -> bytes:
    """A file's bytes, held against its sums where it has some.

    Raises:
      DamageError: two readings are not what was written.
      StoreError: it is not there, or cannot be read.
    """
    with naming_read_errors(path):
        real_file(path)
    for _ in range(2):
        with naming_read_errors(path):
            content = path.read_bytes()
        if known(path, content):
            return content
    raise DamageError(f"{path} is damaged: its SHA-256 is not the one in {sums_path(path).name}")


def known(path: Path, content: bytes) -> bool:
    """True where these are bytes that were written to `path`, or where nobody can tell."""
    sums = read_sums(sums_path(Path(os.path.realpath(path))))  # links are followed
    return sums is None or _sha256(content) in {digest for digest, _ in sums}


def was_written(path: Path, content: bytes) -> bool:
    """True where the sums say that these are bytes that were written to `path`."""
    return read_sums(sums_path(Path(os.path.realpath(path)))) is not None and known(path, content)


def write_known(path: Path, content: bytes) -> None:
    """Writes a file with its sums."""
    with naming_write_errors(path):
        path = real_file(path)
    lines = [(_sha256(content), path.name)]
    if not is_missing(path):
        with naming_read_errors(path):
            before = path.read_bytes()
        if known(path, before):
            lines.append((_sha256(before), path.name))
        else:  # somebody else wrote it
            set_aside(path.parent, path)
    write_sums(sums_path(path), lines)
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
    write_sums(sums_path(path), lines[:1])


def read_sums(path: Path) -> set[tuple[str, str]] | None:
    """Pairs of SHA-256 and name; None where there is no such file."""
    try:
        with naming_read_errors(path):
            text = path.read_bytes().decode(errors="replace")
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    pairs = (line.split("  ", 1) for line in text.splitlines())
    return {(pair[0], pair[-1]) for pair in pairs}


def write_sums(path: Path, lines: Iterable[tuple[str, str]]) -> None:
    """Replaces the sums at `path` by these pairs of SHA-256 and name."""
    text = "".join(f"{digest}  {name}\n" for digest, name in lines)
    write_atomically(path, lambda temporary: temporary.write_text(text))


def sums_of_files(folder: Path) -> list[tuple[str, str]]:
    """SHA-256 and name, below the folder's parent, of every file in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(sha256_of(path), str(path.relative_to(folder.parent))) for path in files]


def changed_files(path: Path, start: str) -> list[str]:
    """Which files of `path`, by its sums, are gone or have other bytes: names that begin so.

    Raises:
      StoreError: a file cannot be read.
    """
    changed = []
    for digest, name in sorted(read_sums(sums_path(path)) or ()):
        file = path.parent / name
        if name.startswith(start) and (is_missing(file) or sha256_of(file) != digest):
            changed.append(name)
    return changed


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
