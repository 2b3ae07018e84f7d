"""Where, when and from what code numbers came."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import jax

import genvec
from experiments.cells import PACKAGES


def commit_of(folder: Path) -> str:
    """The commit of the repository whose files lie in `folder`, "-dirty" where they were changed.

    "unknown" where the folder is in none, or only ignored or not added there, as an installed
    package in a virtual environment within another repository is.
    """
    try:
        if not _git(folder, "ls-files", "."):
            return "unknown"
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", *CODE)
        return _git(folder, "rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: Path, *args: str) -> str:
    command = ["git", "-C", str(folder), *args]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


CODE = (":/genvec", ":/experiments", ":/configs")  # what numbers come from, in a repository
# of the code that was loaded, whatever is committed while it runs, and wherever it is called from
COMMIT = commit_of(Path(genvec.__file__).parent)


def environment() -> dict[str, str]:
    """Where, when and from what code the numbers came."""
    return {
        "date": datetime.date.today().isoformat(),
        "commit": COMMIT,
        "command": " ".join(
            ["python", "-m", f"experiments.{Path(sys.argv[0]).stem}", *sys.argv[1:]]
        ),
        "device": f"{jax.device_count()} × {jax.devices()[0].device_kind}",
        "processor": f"{os.cpu_count()} cores, {platform.machine()}",
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }
