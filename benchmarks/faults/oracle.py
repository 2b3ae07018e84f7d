"""What a trial ended in, and whether files are still there: judged without the code under test."""

import contextlib
import hashlib
import io
import linecache
import os
import traceback
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import configs
import experiments
import genvec
from benchmarks.faults.command import Left

OUTCOMES = ("clear", "right", "traceback", "silent", "lost", "hang")
BAD = ("traceback", "silent", "lost", "hang")
ROOT = Path(__file__).parents[2]
OURS = tuple(
    os.path.dirname(os.path.abspath(package.__path__[0])) + os.sep + package.__name__ + os.sep
    for package in (genvec, experiments, configs)
)
FOR_USERS = (
    "StoreError",
    "ConfigError",
    "AssertionError",  # of chex, at a public entrance
    "FloatingPointError",
    "ValueError",
    "TypeError",
    "KeyError",
    "FileNotFoundError",
)


class Verdict(NamedTuple):
    """Of one trial."""

    outcome: str  # one of OUTCOMES
    done: str  # the fault and the action, in a line
    happened: str  # in a line


class Ended(NamedTuple):
    """How an action ended."""

    value: Any
    error: BaseException | None
    said: str  # stdout, stderr and warnings

    def told(self) -> str:
        """Its error in a line, or the last line that it printed."""
        if self.error is None:
            return (self.said.strip().splitlines() or ["ended without a word"])[-1][:200]
        code = self.error.code if isinstance(self.error, SystemExit) else None
        text = code if isinstance(code, str) else str(self.error)
        if isinstance(code, int):
            lines = self.said.strip().splitlines() or [f"exit {code}"]
            text = next((line for line in lines if "error" in line or "FATAL" in line), lines[-1])
        return f"{type(self.error).__name__}: {' '.join(text.split())[:300]}"


def attempt(action: Callable[[], Any]) -> Ended:
    """Does it; what it prints, warns of and raises is kept."""
    said, value, error = io.StringIO(), None, None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                value = action()
            except BaseException as raised:
                error = raised
    warned = [w for w in caught if not _of_tools(w)]
    return Ended(value, error, said.getvalue() + "".join(f"{w.message}\n" for w in warned))


def _of_tools(warning: warnings.WarningMessage) -> bool:
    """Of flags' own loader, and of a module that is run a second time."""
    again = "found in sys.modules" in str(warning.message)
    return again or issubclass(warning.category, DeprecationWarning)


def error_outcome(error: BaseException, *, of_script: bool = False) -> str:
    """ "clear" for a message meant for users, "traceback" for any other exception.

    A script ends by `SystemExit`, with a message or after it has printed one. Elsewhere a message
    of ours is an exception of `FOR_USERS` that a `raise` in this repository made, or chex for it.
    """
    if isinstance(error, (SystemExit, Left)):
        return "clear"
    if of_script:
        return "traceback"
    kinds = {kind.__name__ for kind in type(error).__mro__}
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/chex/" not in f.filename]
    if not kinds & set(FOR_USERS) or not frames:
        return "traceback"
    last = frames[-1]
    line = linecache.getline(last.filename, last.lineno or 0)
    raised = line.strip().startswith("raise") or "chex.assert" in line
    return "clear" if last.filename.startswith(OURS) and raised else "traceback"


def where(error: BaseException) -> str:
    """The innermost frame of ours, for the list of bad trials."""
    ours = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(OURS)]
    if not ours:
        return ""
    name = "/".join(Path(ours[-1].filename).parts[-3:])
    return f" at {name}:{ours[-1].lineno}"


def snapshot(folder: Path) -> dict[str, str]:
    """Relative path of all below a folder → SHA-256 of a file, or where a link points to."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in [*files, *(f for f in folders if os.path.islink(os.path.join(parent, f)))]:
            path = os.path.join(parent, name)
            found[os.path.relpath(path, folder)] = _mark(path)
    return found


def _mark(path: str) -> str:
    if os.path.islink(path):
        return f"link to {os.readlink(path)}"
    if not os.path.isfile(path):
        return f"special {os.path.basename(path)}"
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lost_files(before: Mapping[str, str], folder: Path, spoiled: Collection[str] = ()) -> list[str]:
    """Those whose bytes are nowhere below the folder any more; `spoiled` ones were damaged before.

    What a stage writes as one small file may be written anew: there its contents are compared, not
    its bytes. Checkpoints, the config and whatever is not of a run may not.
    """
    after = snapshot(folder)
    there = set(after.values())
    return [
        path
        for path, mark in before.items()
        if mark not in there and path not in spoiled and not (path in after and _rewritten(path))
    ]


REWRITTEN = (
    ".lock",
    "bounds.parquet",
    "classes.json",
    "controls.json",
    "embeddings.parquet",
    "log.jsonl",
    "manifest.json",
    "members.parquet",
    "metrics.json",
    "report.html",
    "samples.npz",
    "speed.json",
    "timings.json",
)


def _rewritten(path: str) -> bool:
    """Such a file, or the SHA-256 beside it."""
    name = os.path.basename(path)
    return name in REWRITTEN or name.removeprefix(".").removesuffix(".sha256") in REWRITTEN
