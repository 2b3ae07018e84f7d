"""A finished run as its folder tells it, for scripts that take no config."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict

from experiments.errors import USER_ERRORS, mending
from experiments.values import tuples
from genvec.store import RunFolder, StoreError, load_tree, read_json


def start(stage: Callable[[], Any], *required: str) -> None:
    """Runs a script with flags of its own. What a user can mend ends in one message."""
    for name in required:
        flags.mark_flag_as_required(name)
    app.run(lambda argv: _run(stage, argv))


def _run(stage, argv) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file
    jax.config.update("jax_num_cpu_devices", 1)
    try:
        stage()
    except USER_ERRORS as error:
        sys.exit(f"error: {error}{mending(error)}")


def finished_run(zoo: str) -> tuple[Any, RunFolder]:
    """Config and folder of the run whose zoo this is.

    Raises:
      StoreError: no run lies around it.
    """
    path = Path(zoo).absolute()
    run = RunFolder(path.parent)
    if not (path / "manifest.json").exists():
        raise StoreError(f"{path} holds no zoo: manifest.json is missing; give RUN/zoo")
    if not run.config.exists() or path.name != "zoo":
        raise StoreError(f"{path} lies in no run folder: give RUN/zoo, where RUN has a config.json")
    return ConfigDict(tuples(read_json(run.config))), run


def matched_encoders(folder: Path) -> dict[str, Any]:
    """Parameters, scale and, by what is read, normalisers of one seed of a matching run.

    Raises:
      StoreError: they are of before the encoder of data sets read moments, or normalisers had
        names.
    """
    saved = load_tree(folder / "trained")
    if "project" not in saved["params"]["dataset"] or "normaliser" in saved:
        raise StoreError(
            f"{folder} holds encoders of an earlier genvec; remove {folder.parent} and train them "
            "again with python -m experiments.matching, the zoo is kept"
        )
    return saved
