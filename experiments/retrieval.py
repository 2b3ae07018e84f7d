"""The controls of a matching run alone: generated images against data sets, without an encoder.

python -m experiments.retrieval --config=configs/unseen.py:mnist [--workdir=DIR]

Only tested members are needed. Where the run has no zoo yet, just they are trained, and kept in
WORKDIR/matching/tested; their numbers are those of the whole zoo's members but for rounding. Writes
matching/controls.json, which `experiments.keep` puts into a file of results.
"""

from typing import Any

import numpy as np

from experiments import classes
from experiments.banks import describe_run
from experiments.cells import members_table
from experiments.common import bar, clock
from experiments.done import is_done
from experiments.environment import environment
from experiments.matching import check_matching
from experiments.pairs import TestPairs, tested_members
from experiments.setup import check
from experiments.start import main
from experiments.zoo import inputs_of, planned_mixtures
from genvec import trees
from genvec.report import matching_table
from genvec.store import is_missing, load_tree, load_zoo, read_json, save_tree, write_json
from genvec.types import Zoo
from genvec.zoo import Plan, chunk_runner, train_zoo


def run_stage(config, run) -> None:
    classes.run_stage(config, run)
    path = run.matching / "controls.json"
    if not is_done(run, path):
        setup = check(config)
        images = describe_run(config, run, setup.dataset)
        with clock(run, "retrieval"):
            if is_missing(run.zoo / "manifest.json"):
                zoo = _tested_zoo(config, run, setup, images.data)
            else:
                zoo = load_zoo(run.zoo, cell=setup.cell, finite_only=True)
            test = TestPairs(config, setup, zoo, images.heldout, images.describe)
            found = test.controls()
        tested = {name: len(query.members) for name, query in test.queries.items()}
        timings = read_json(run.timings)
        told = {"timings_s": timings, "environment": environment()}
        write_json(
            path,
            {"dataset": config.data.name, "num_tested": tested, "controls": found, **told},
        )
    print(matching_table(read_json(path)))


def _tested_zoo(config, run, setup, data) -> Zoo:
    """The tested members as a zoo of their own, without those that diverged."""
    names = read_json(run.classes)["classes"]
    parts = tested_members(config, setup)
    members = np.concatenate([*parts.values()])
    mixtures = planned_mixtures(config, setup.split, names)
    path = run.matching / "tested"
    if not is_done(run, path, load_tree):
        inputs = inputs_of(config, setup.cells[setup.cell], mixtures)
        save_tree(path, _train(setup.cells[setup.cell], trees.take(inputs, members), data))
    trained = load_tree(path)
    table = members_table(setup.split, mixtures, names).iloc[members].reset_index(drop=True)
    finite = np.flatnonzero(trained["finite"])
    params, state = trees.take((trained["params"], trained.get("state", {})), finite)
    table = table.iloc[finite].reset_index(drop=True)
    return Zoo(params, state, table, {"classes": names})


def _train(cell, inputs, data) -> dict[str, Any]:
    """Parameters, state and finiteness of all members of `inputs`."""
    settings = cell.settings
    plan = Plan("scan" if settings.plan == "auto" else settings.plan, settings.width)
    runner = chunk_runner(plan, cell.task, precision=settings.precision)
    num, whole = len(inputs.mixture), {}
    with bar(num, "tested members", "member") as progress:

        def on_segment(number, trained) -> None:
            whole.update(params=trained.params, finite=trained.metrics["finite"])
            if trained.state:  # an empty dict would not come back from disk
                whole["state"] = trained.state

        def on_chunk(num) -> None:
            progress.update(num)

        train_zoo(runner, inputs, data, {0: slice(0, num)}, on_segment, on_chunk)
    return whole


if __name__ == "__main__":
    main(run_stage, check_matching)
