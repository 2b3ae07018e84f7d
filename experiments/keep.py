"""Keeps what a run has measured as a small file, with the retrieval of its matching run beside it.

python -m experiments.keep results/mnist.json runs/mnist [runs/unseen_mnist]

Instead of the first run a file may stand that was kept before.
"""

import sys
from pathlib import Path
from typing import Any

from genvec.store import RunFolder, StoreError, read_json, write_json

PARTS = ("retrieval_seen", "retrieval_unseen")


def main(out: Path, source: Path, *matched: Path) -> None:
    """Writes `out`: metrics.json of the run, and `PARTS` of the encoder and controls of another."""
    kept = read_json(RunFolder(source).metrics if source.is_dir() else source)
    for path in matched:
        kept |= _retrieval(read_json(RunFolder(path).matching / "metrics.json"))
    write_json(out, kept)


def _retrieval(metrics: dict[str, Any]) -> dict[str, Any]:
    found = {"encoder": metrics["encoder"], **metrics["controls"]}
    parts = {
        part: {name: values[part] for name, values in found.items() if part in values}
        for part in PARTS
    }
    return {**parts, "retrieval_environment": metrics["environment"]}


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    try:
        main(*map(Path, sys.argv[1:]))
    except StoreError as error:
        sys.exit(f"error: {error}")
