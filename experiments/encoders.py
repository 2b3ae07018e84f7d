"""Stage 3: represent the train and validation members and train the encoders on them."""

from functools import partial

import jax

from experiments.common import (
    bar,
    check,
    clock,
    context,
    encoder_name,
    main,
    make_encoder,
    mixture_data,
    stream,
)
from genvec import trees
from genvec.geometry import to_sphere
from genvec.objectives import weighted_sum
from genvec.represent import REPRESENTATIONS, fit_normaliser, normaliser_to_tree, represent
from genvec.store import load_zoo, record_path, save_tree, write_jsonl
from genvec.symmetry import augment
from genvec.train import Examples, train_encoder


def run_stage(config, run) -> None:
    pending = [
        (entry, seed)
        for entry in config.encoders.values()
        for seed in entry.seeds
        if not record_path(seed_folder(run, entry, seed) / "trained").exists()
    ]
    if not pending:
        return
    setup = check(config)
    with clock(run, "encoders"):
        zoo = load_zoo(run.zoo, cell=setup.cell, split=("train", "val"), finite_only=True)
        data = mixture_data(setup.dataset, run)
        for entry, seed in pending:
            _train(config, run, setup, entry, seed, zoo, data)


def _train(config, run, setup, entry, seed, zoo, data) -> None:
    represented = features(zoo, setup.family, data, entry.representation)
    is_train = (zoo.members["split"] == "train").to_numpy()
    normaliser = fit_normaliser(trees.take(represented, is_train), setup.family.spec)
    targets = to_sphere(mixtures(zoo.members))
    if entry.augment > 0:  # parameters are drawn, augmented and only then represented
        inputs, prepare = (
            (zoo.params, zoo.state),
            partial(_augmented, setup, entry, normaliser, context(setup.family, data)),
        )
    else:
        inputs, prepare = normaliser(represented), None
    train, val = (
        Examples(trees.take(inputs, rows), targets[rows]) for rows in (is_train, ~is_train)
    )
    encoder = make_encoder(entry, setup.family, targets.shape[1])
    with bar(entry.train.steps, f"{encoder_name(entry)} seed {seed}", "step") as progress:

        def on_eval(row):
            progress.update(row["step"] - progress.n)
            progress.set_postfix({"val": f"{row['val_angle_deg']:.2f}°"})

        trained = train_encoder(
            jax.random.fold_in(stream(config, "encoders"), seed),
            encoder,
            weighted_sum(entry.objective.to_dict()),
            train,
            val,
            prepare=prepare,
            on_eval=on_eval,
            **entry.train,
        )
    folder = seed_folder(run, entry, seed)
    write_jsonl(folder / "log.jsonl", trained.log)
    save_tree(
        folder / "trained",
        {"params": trained.params["params"], "normaliser": normaliser_to_tree(normaliser)},
    )


def _augmented(setup, entry, normaliser, images_context, key, member):
    """One member's features, from parameters with the same function but other numbers."""
    params, state = member
    if key is not None:
        params = augment(key, params, setup.family.spec, spread=entry.augment)
    return normaliser(REPRESENTATIONS[entry.representation](params, state, images_context))


def seed_folder(run, entry, seed: int):
    """Where one seed of an encoder is kept."""
    return run.encoder(encoder_name(entry)) / f"seed_{seed}"


def features(zoo, family, data, representation: str):
    """A representation of all members of a zoo, leading N."""
    return represent(representation, zoo.params, zoo.state, context(family, data))


def mixtures(members):
    """The proportions [N, K] in a members table."""
    return members.filter(like="mixture_").to_numpy()


if __name__ == "__main__":
    main(run_stage)
