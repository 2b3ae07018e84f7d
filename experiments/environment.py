"""Where, when and from what code numbers came."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import jax

from experiments.cells import PACKAGES


def _commit() -> str:
    git = ["git", "rev-parse", "--short=12", "HEAD"]
    try:
        result = subprocess.run(git, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return result.stdout.strip() or "unknown"


COMMIT = _commit()  # of the code that was loaded, whatever is committed while it runs


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
