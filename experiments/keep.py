"""Keeps what a run has measured as a small file, with the retrieval of matching runs beside it.

python -m experiments.keep results/mnist.json runs/mnist [runs/unseen_mnist …]

Instead of the first run a file may stand that was kept before, or a matching run to be kept whole.
Of a run of `experiments.retrieval` the controls take the place of those in the file:

python -m experiments.keep results/unseen_mnist.json results/unseen_mnist.json runs/unseen_mnist
"""

import sys
from pathlib import Path
from typing import Any

from genvec.report import matched_entries
from genvec.store import RunFolder, StoreError, read_json, write_json

PARTS = ("retrieval_seen", "retrieval_unseen")


def main(out: Path, source: Path, *matched: Path) -> None:
    """Writes `out`: metrics.json of the run, and `PARTS` of the encoders and controls of others."""
    kept, runs = _measured(source), [_measured(path) for path in matched]
    every = [metrics for metrics in runs if "encoder" in metrics]
    for part in PARTS if every else ():
        kept[part] = {
            name: values[part]
            for metrics in every
            for name, values in matched_entries(metrics).items()
            if part in values
        }
    if every:
        kept["retrieval_environments"] = [metrics["environment"] for metrics in every]
    for metrics in runs:
        if "encoder" not in metrics:
            _replace_controls(kept, metrics)
    write_json(out, kept, sums=False)


def _replace_controls(kept: dict[str, Any], measured: dict[str, Any]) -> None:
    """Of a matching run, and of the retrieval beside another one."""
    if kept["dataset"] != measured["dataset"]:
        raise StoreError(f"controls on {measured['dataset']}, and the file is of {kept['dataset']}")
    if "unseen_classes" in kept:
        kept["controls"] = measured["controls"]
    for part in PARTS:
        if part in kept:
            kept[part] |= {name: values[part] for name, values in measured["controls"].items()}
    kept["controls_environment"] = measured["environment"]


def _measured(path: Path) -> dict[str, Any]:
    """Of a run or a kept file; where the run's folder lay is left out of its command."""
    matching = RunFolder(path).matching
    found = (RunFolder(path).metrics, matching / "metrics.json", matching / "controls.json")
    metrics = read_json(next(filter(Path.exists, found), found[0]) if path.is_dir() else path)
    if "environment" in metrics:
        words = metrics["environment"]["command"].split(" ")
        told = " ".join(word for word in words if not word.startswith("--workdir"))
        metrics["environment"]["command"] = told
    return metrics


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        main(*map(Path, sys.argv[1:]))
    except (StoreError, OSError) as error:
        sys.exit(f"error: {error}")
