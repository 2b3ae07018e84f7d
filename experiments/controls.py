"""Stage 4: what a claim must beat, fitted on train members and evaluated on the test members."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments.classes import load_counter
from experiments.common import bar, clock, needs_splits, stream
from experiments.done import is_done
from experiments.encoders import context, mixtures, whole_triplets
from experiments.setup import check
from experiments.start import main
from genvec import trees
from genvec.controls import CONTROLS, FITTED_CONTROLS, Labelled, sampled_proportions
from genvec.encoders import MessagePassing
from genvec.evaluate import Predictions, distances, evaluate, leak_curve
from genvec.keys import fold_in_each
from genvec.networks import initialise
from genvec.represent import RUNNING, fit_normaliser, represent
from genvec.store import load_zoo, write_json
from genvec.types import Zoo

DISTANT = 500  # train members whose distances are evaluated: 124,750 pairs


def run_stage(config, run) -> None:
    if is_done(run, run.controls, complete=lambda found: _names(config) <= set(found)):
        return
    setup = check(config)
    with clock(run, "controls"):
        zoo = load_zoo(run.zoo, cell=setup.cell, finite_only=True)
        needs_splits(zoo, "train", "val", "test")
        used = context(config, run, setup, zoo)
        test = TestMembers(zoo, config.seed)
        inputs = {"constant": ("constant", partial(np.ones, (len(zoo.members), 1)), False)}
        for name in config.controls.features:
            label, control = FITTED_CONTROLS[name]
            represented = partial(represent, name, zoo.params, zoo.state, used)
            untrained = partial(_untrained, config, zoo, setup, represented)
            features_fn = untrained if name == "graph" else represented
            inputs[label] = control, features_fn, name in RUNNING
        with bar(len(inputs) + len(config.controls.num_samples), "controls", "control") as progress:
            metrics = {}
            for name, (control, features_fn, runs_member) in inputs.items():
                progress.set_postfix_str(name)
                found = test.metrics_of_control(CONTROLS[control], features_fn())
                metrics[name] = {**found, "runs_member": runs_member}
                progress.update()
            for num_samples in config.controls.num_samples:
                progress.set_postfix_str(f"{num_samples} samples")
                metrics |= _sampling(config, run, setup, zoo, test, num_samples)
                progress.update()
        write_json(run.controls, metrics)


def _names(config) -> set[str]:
    """Of all controls that the config asks for."""
    fitted = (FITTED_CONTROLS[name][0] for name in config.controls.features)
    sampled = (
        f"{num:,} samples, {label}"
        for num in config.controls.num_samples
        for label in ("raw", "calibrated")
    )
    return {"constant", *fitted, *sampled}


class TestMembers:
    """The members that are looked at once, and what is measured on them."""

    __test__ = False  # not a test case

    def __init__(self, zoo: Zoo, seed: int):
        members = zoo.members
        self.mixtures, self.seed = mixtures(zoo), seed
        self.rows = {
            name: np.flatnonzero(members["split"] == name) for name in members["split"].unique()
        }
        whole = whole_triplets(members)
        self.triplets = np.array(whole) if len(whole) >= 2 else None
        self.curve = leak_curve(self.mixtures[self.rows["test"]], seed=seed)

    def metrics(self, embeddings: np.ndarray) -> dict[str, float]:
        """Every evaluation of embeddings [N, K], row by row as in the table."""
        rows = self.rows["test"]
        triplets = exact = None
        if self.triplets is not None:
            triplets, exact = embeddings[self.triplets], self.mixtures[self.triplets]
        predictions = Predictions(embeddings[rows], self.mixtures[rows], triplets, exact)
        return evaluate(predictions, self.curve, seed=self.seed)

    def train_distance_mae(self, embeddings: np.ndarray) -> float:
        """Of pairs of the first train members, to be held against that of test members."""
        rows = self.rows["train"][:DISTANT]
        learned = Predictions(embeddings[rows], self.mixtures[rows])
        return distances(learned, self.curve, self.seed)["distance_mae"]

    def metrics_of_control(self, control, represented: np.ndarray) -> dict[str, float]:
        """Fits a control on the train and val members' features [N, F]."""
        train, val = (
            Labelled(represented[self.rows[name]], self.mixtures[self.rows[name]])
            for name in ("train", "val")
        )
        return self.metrics(control(train, val, represented))


def _untrained(config, zoo, setup, represented) -> np.ndarray:
    """What message passing reads out of a member before any training."""
    graphs = represented()
    train = (zoo.members["split"] == "train").to_numpy()
    graphs = fit_normaliser(trees.take(graphs, train), setup.family.spec)(graphs)
    module = MessagePassing(setup.family.spec, readout=config.controls.untrained_readout)
    params = initialise(module, stream(config, "evaluate"), trees.take(graphs, 0))
    read_out = jax.jit(
        lambda graphs: jax.lax.map(partial(module.apply, params), graphs, batch_size=256)
    )
    return np.asarray(read_out(jax.tree.map(jnp.asarray, graphs)))


def _sampling(config, run, setup, zoo, test, num_samples: int) -> dict[str, dict[str, float]]:
    """Counts of classified samples, raw, and calibrated on train and val members.

    Of a member that calibrates, `controls.calibration_samples` are counted where that is fewer. The
    error of such counts flattens the calibration: better few samples of all members than many of
    a few, but not too few (a share is off by up to ½ / √samples).
    """
    classifier = load_counter(config, run)

    def counted(rows: np.ndarray, num: int) -> np.ndarray:
        members = zoo.members["member"].to_numpy()[rows]
        return sampled_proportions(
            fold_in_each(stream(config, "evaluate"), members),
            trees.take(zoo.params, rows),
            trees.take(zoo.state, rows),
            sample=setup.family.sample,
            classify=partial(classifier.apply, classifier.variables),
            num_samples=num,
        )

    rows = test.rows["test"]
    learned = [test.rows[split][: config.controls.num_calibration] for split in ("train", "val")]
    few = min(num_samples, config.controls.get("calibration_samples", num_samples))
    parts = np.split(counted(np.concatenate(learned), few), [len(learned[0])])
    train, val = (
        Labelled(x, test.mixtures[index]) for x, index in zip(parts, learned, strict=True)
    )
    counts = counted(rows, num_samples)
    calibrated = {"num_calibration": len(learned[0]), "calibration_samples": few}
    return {
        f"{num_samples:,} samples, {label}": {
            **evaluate(
                Predictions(CONTROLS[control](train, val, counts), test.mixtures[rows]),
                test.curve,
                seed=config.seed,
            ),
            "runs_member": True,
            **told,
        }
        for label, control, told in (("raw", "raw", {}), ("calibrated", "ridge", calibrated))
    }


if __name__ == "__main__":
    main(run_stage)
