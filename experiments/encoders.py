"""Stage 3: represent the train and validation members and train the encoders on them."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from experiments.checks import learning_rates
from experiments.classes import load_counter
from experiments.common import bar, clock, mixture_data, needs_splits, stream
from experiments.done import is_done
from experiments.setup import check, encoder_name, make_encoder
from experiments.start import main
from genvec import classes, trees
from genvec.geometry import to_sphere
from genvec.objectives import weighted_sum
from genvec.represent import (
    REPRESENTATIONS,
    Context,
    Normaliser,
    fit_normaliser,
    normaliser_to_tree,
    represent,
)
from genvec.store import (
    checkpoint_parts,
    load_tree,
    load_zoo,
    read_jsonl,
    save_tree,
    set_aside,
    write_jsonl,
)
from genvec.symmetry import augment
from genvec.train import Examples, TrainedEncoder, train_encoder
from genvec.types import NotFiniteError, Zoo


def run_stage(config, run) -> None:
    pending = [
        (entry, seed)
        for entry in config.encoders.values()
        for seed in entry.seeds
        if not is_trained(run, seed_folder(run, entry, seed))
    ]
    if not pending:
        return
    setup = check(config)
    with clock(run, "encoders"):
        zoo = load_zoo(run.zoo, cell=setup.cell, split=("train", "val"), finite_only=True)
        needs_splits(zoo, "train", "val")
        used = context(config, run, setup, zoo)
        for (name, spread), jobs in groupby(pending, _what_is_read):
            inputs = _inputs(setup, name, spread, zoo, used)
            for entry, seed in jobs:
                _train(config, run, setup, entry, seed, inputs)
            del inputs  # before the next are made: they may be as large


def is_trained(run, folder) -> bool:
    """Whether an encoder and the log of its training are there."""
    trained, log = folder / "trained", folder / "log.jsonl"
    if not is_done(run, trained, load_tree):
        return False
    if is_done(run, log, read_jsonl, complete=lambda rows: len(rows) > 0):
        return True
    set_aside(run.path, *checkpoint_parts(trained))  # they are made together, and none is replaced
    return False


def _what_is_read(job) -> tuple[str, float]:
    entry, _ = job
    return entry.representation, entry.augment


class Inputs(NamedTuple):
    """What encoders of one representation learn from."""

    train: Examples
    val: Examples
    normaliser: Normaliser
    prepare: Callable[..., Any] | None  # of what the examples hold → features, where that differs


def _inputs(setup, name: str, spread: float, zoo, used: Context) -> Inputs:
    is_train = (zoo.members["split"] == "train").to_numpy()
    represented, member = represent(name, zoo.params, zoo.state, used), zoo.members["member"]
    trees.check_finite(f"representation {name!r}", represented, member, unit="member")
    normaliser = fit_normaliser(trees.take(represented, is_train), setup.family.spec)
    if spread > 0:  # parameters are drawn, augmented and only then represented
        held = zoo.params, zoo.state
        prepare = partial(_augmented, setup, name, spread, normaliser, used)
    else:
        held, prepare = normaliser(represented), None
    del represented  # it may be as large as the zoo
    targets = to_sphere(mixtures(zoo))
    train, val = (
        Examples(trees.take(held, rows), targets[rows], member.to_numpy()[rows])
        for rows in (is_train, ~is_train)
    )
    return Inputs(train, val, normaliser, prepare)


def _train(config, run, setup, entry, seed, inputs: Inputs) -> None:
    encoder = make_encoder(entry, setup.family, inputs.train.targets.shape[1])
    key = jax.random.fold_in(stream(config, "encoders"), seed)
    train_fn = partial(train_encoder, key, encoder, prepare=inputs.prepare)
    rates = rates_to_try(run, entry, seed)
    trained = _best_of_rates(entry, rates, f"seed {seed}", train_fn, inputs.train, inputs.val)
    folder = seed_folder(run, entry, seed)
    write_jsonl(folder / "log.jsonl", trained.log)
    save_tree(
        folder / "trained",
        {"params": trained.params["params"], "normaliser": normaliser_to_tree(inputs.normaliser)},
    )


def rates_to_try(run, entry, seed: int) -> tuple[float, ...]:
    """All of the entry with its first seed; with the others the one that was best there."""
    if seed == entry.seeds[0]:
        return learning_rates(entry.train)
    log = read_jsonl(seed_folder(run, entry, entry.seeds[0]) / "log.jsonl")
    return (float(log["learning_rate"].iloc[0]),)


def _best_of_rates(entry, rates, label, train_fn, train, val) -> TrainedEncoder:
    """Trained with each learning rate; the one that does best on validation.

    A rate with which training diverges is passed over, and said.

    Raises:
      NotFiniteError: it diverges with all of them.
    """
    objective = weighted_sum(entry.objective.to_dict())
    settings = {name: value for name, value in entry.train.items() if name != "learning_rate"}
    steps, tried, failed = entry.train.steps, [], []
    with bar(len(rates) * steps, f"{encoder_name(entry)} {label}", "step") as progress:

        def on_eval(row):
            done = len(tried) + len(failed)
            progress.update(done * steps + row["step"] - progress.n)
            progress.set_postfix({"val": f"{row['val_angle_deg']:.2f}°"})

        for rate in rates:
            try:
                trained = train_fn(
                    objective, train, val, on_eval=on_eval, learning_rate=rate, **settings
                )
            except NotFiniteError as error:
                failed.append(f"learning_rate={rate}: {error}")
                progress.write(f"{encoder_name(entry)} {label}, passed over: {failed[-1]}")
                continue
            log = [{**row, "learning_rate": rate} for row in trained.log]
            tried.append(trained._replace(log=log))
    if not tried:
        raise NotFiniteError(f"{encoder_name(entry)} {label} diverged: {'; '.join(failed)}")
    return min(tried, key=lambda trained: min(row["val_angle_deg"] for row in trained.log))


def _augmented(setup, name, spread, normaliser, used, key, member):
    """One member's features, from parameters with the same function but other numbers."""
    params, state = member
    if key is not None:
        params = augment(key, params, setup.family.spec, spread=spread)
    return normaliser(REPRESENTATIONS[name](params, state, used))


def seed_folder(run, entry, seed: int):
    """Where one seed of an encoder is kept."""
    return run.encoder(encoder_name(entry)) / f"seed_{seed}"


def context(config, run, setup, zoo) -> Context:
    """What representations may use besides a member; others are aligned to the first train one."""
    needs_splits(zoo, "train")
    data = mixture_data(setup.dataset, run)
    first = int(np.flatnonzero(zoo.members["split"] == "train")[0])
    return Context(
        setup.family.spec,
        setup.family.encode,
        data.heldout_images / 255.0,
        sample=setup.family.sample,
        describe=partial(classes.features, load_counter(config, run)),
        reference=trees.take(zoo.params, first),
        decode=setup.family.decode,
    )


def mixtures(zoo: Zoo) -> np.ndarray:
    """The members' proportions [N, K], in the order of the manifest's classes."""
    return proportions(zoo.members, zoo.manifest["classes"])


def proportions(members: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """[N, K] of a members table, by the names of the classes: a metric may be called alike.

    Raises:
      ValueError: the table has no column of a class.
    """
    columns = [f"mixture_{name}" for name in classes]
    if missing := [name for name in columns if name not in members]:
        raise ValueError(
            f"the members table has no {', '.join(missing)}; its manifest has the classes "
            f"{', '.join(classes)}"
        )
    return members[columns].to_numpy()


def whole_triplets(members) -> list[list[int]]:
    """Rows of the members of D1, D2 and D1 + D2; the sum comes last, as in the table.

    A triplet that lost a diverged member is left out.
    """
    triplets = members[members["triplet"] >= 0].groupby("triplet").groups.values()
    return [sorted(rows) for rows in triplets if len(rows) == 3]


if __name__ == "__main__":
    main(run_stage)
