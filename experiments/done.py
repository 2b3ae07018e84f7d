"""What a stage has already made: whole, or moved away and made again."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from genvec.store import (
    DamageError,
    RunFolder,
    is_missing,
    is_saved,
    load_tree,
    read_json,
    retire,
    sums_path,
)


def is_done(
    run: RunFolder,
    path: Path,
    read_fn: Callable[[Path], Any] = read_json,
    complete: Callable[[Any], bool] = bool,
) -> bool:
    """True where a file or checkpoint of the run is there, is read, and is what its stage writes.

    Otherwise it is to be made: what is damaged is moved to RUN/damaged/<time>/, and that is told.

    Args:
      run: the folder below which `path` lies.
      path: of a file, or of a checkpoint where `read_fn` is `load_tree`.
      read_fn: reads it.
      complete: whether what was read is all of it; by default, whether it is anything.
    """
    if not (is_saved(path) if read_fn is load_tree else not is_missing(path)):
        if not is_missing(sums_path(path)):
            print(f"{path} was written and is gone; it is made again", file=sys.stderr)
        return False

    def read_all(path: Path) -> None:
        found = read_fn(path)
        try:
            whole = complete(found)
        except (AttributeError, KeyError, TypeError):  # JSON of another form
            whole = False
        if not whole:
            raise DamageError(f"{path} is damaged: it is not what its stage writes")

    if reason := retire(run.path, path, read_all, checkpoint=read_fn is load_tree):
        print(f"{reason}; it is made again", file=sys.stderr)
    return reason is None


def read_done(run: RunFolder, path: Path) -> dict[str, Any]:
    """A JSON object of the run that stages add to; an empty one where there is none, or a damaged
    one had to be moved away."""
    return read_json(path) if is_done(run, path, complete=_is_of_numbers) else {}


def _is_of_numbers(value: Any) -> bool:
    return isinstance(value, dict) and None not in value.values()
