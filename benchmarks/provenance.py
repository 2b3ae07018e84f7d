"""What a measurement must tell of itself: machine, versions, date, command, commit."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def provenance(module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Of a benchmark that was started as `python -m module arguments`."""
    # folders are nobody's business
    arguments = [Path(word).name if os.path.isabs(word) else word for word in arguments]
    head = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "cores": num_cores(),
        "cpu": cpu_model(),
        "python": platform.python_version(),
        "jax": importlib.metadata.version("jax"),
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(["python", "-m", module, *arguments]),
        "commit": commit or None,
    }


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def cpu_model() -> str:
    """The CPU's name as the kernel gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
