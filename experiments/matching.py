"""Models and data sets in one space: trained on some classes, tested on data sets never seen.

python -m experiments.matching --config=configs/unseen.py [--workdir=DIR]
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import classes, zoo
from experiments.banks import Bank, Scale, describe_run
from experiments.checks import check_fields, check_seeds, check_training
from experiments.common import bar, best_score, clock, needs_splits, stream
from experiments.done import is_done
from experiments.encoders import is_trained, mixtures
from experiments.environment import environment
from experiments.errors import ConfigError, named_section
from experiments.finished import matched_encoders
from experiments.pairs import TestPairs, tested_members
from experiments.settings import check_settings
from experiments.setup import Setup, check, chosen_classes, unseen_classes
from experiments.start import main
from genvec import trees
from genvec.arguments import check_number
from genvec.matching import READS, PairEncoder, contrast
from genvec.report import matching_table
from genvec.represent import (
    Context,
    fit_normaliser,
    graph,
    normaliser_from_tree,
    normaliser_to_tree,
    represent,
)
from genvec.store import (
    load_zoo,
    read_json,
    read_jsonl,
    read_table,
    save_tree,
    write_json,
    write_jsonl,
    write_table,
)
from genvec.symmetry import augment
from genvec.train import Examples, train_encoder
from genvec.validity import without_images

COUNTED = ("dimension", "images_a_class", "set_size", "images_a_set", "num_queries", "pairs")
WIDTH = 64  # members or data sets embedded at once


def run_stage(config, run) -> None:
    for stage in (classes, zoo):
        stage.run_stage(config, run)
    metrics = run.matching / "metrics.json"
    table = run.matching / "embeddings.parquet"
    if not (is_done(run, metrics) and is_done(run, table, read_table, lambda t: len(t) > 0)):
        with clock(run, "matching"):
            found = _match(config, run)
        timings = read_json(run.timings)
        write_json(metrics, {**found, "timings_s": timings, "environment": environment()})
    print(matching_table(read_json(metrics)))


def _match(config, run) -> dict[str, Any]:
    setup = check(config)
    images = describe_run(config, run, setup.dataset)
    zoo = load_zoo(run.zoo, cell=setup.cell, finite_only=True)
    needs_splits(zoo, "train", "val", "test")
    family, data = setup.family, images.data
    of_known = np.isin(np.asarray(data.heldout_labels), images.known)
    context = Context(
        family.spec,
        family.encode,
        data.heldout_images[np.flatnonzero(of_known)] / 255.0,  # no image of an unseen class
        sample=family.sample,
        describe=images.describe,
        decode=family.decode,
    )
    matcher = Matcher(config, run, context, zoo, images.learned, images.scale)
    seeds = config.matching.seeds
    for seed in seeds:
        if not is_trained(run, matcher.folder(seed)):
            matcher.train(seed)
    test = TestPairs(config, setup, zoo, images.heldout, images.describe)
    found = [test.metrics(*matcher.embed(seed, test.sets)) for seed in seeds]
    best = min(seeds, key=matcher.val_loss)
    columns = {f"embedding_{k}": x for k, x in enumerate(matcher.embed(best)[0].T)}
    table = zoo.members[["member", "split"]].assign(**columns)
    write_table(run.matching / "embeddings.parquet", table)
    return {
        "dataset": config.data.name,
        "family": family.name,
        "init": zoo.manifest["init"],
        "classes": read_json(run.classes)["classes"],
        "unseen_classes": unseen_classes(config),
        "num_members": zoo.members["split"].value_counts().to_dict(),
        "reads": config.matching.reads,
        "num_seeds": len(seeds),
        "best_seed": best,
        "encoder": _over_seeds(found),
        "controls": test.controls(),
    }


class Matcher:
    """Pairs of a member and its data set, and the encoders that bring them together."""

    def __init__(self, config, run, context: Context, zoo, bank: Bank, scale: Scale):
        self.config, self.path, self.zoo, self.bank = config, run.matching, zoo, bank
        self.context, self.scale = context, scale
        args = config.matching.get("model", {})
        self.encoder = PairEncoder(context.spec, config.matching.dimension, **args)
        self.read = {  # of every member
            name: represent(READS[name], zoo.params, zoo.state, context)
            for name in config.matching.reads
        }

    def folder(self, seed: int):
        return self.path / f"seed_{seed}"

    def train(self, seed: int) -> None:
        """On train members of the known classes; the best step by the loss on val members."""
        settings, members = self.config.matching, self.zoo.members
        rows = [np.flatnonzero(members["split"] == name) for name in ("train", "val")]
        spec, held = self.context.spec, dict(self.read)
        normalisers = {  # generated images are standardised as the data's are
            name: fit_normaliser(trees.take(x, rows[0]), spec)
            for name, x in held.items()
            if name != "samples"
        }
        proportions = jnp.asarray(mixtures(self.zoo), jnp.float32)
        of_train = proportions[rows[0]]
        if "reconstruction" in held:
            held["reconstruction"] = normalisers["reconstruction"](held["reconstruction"])
        if "weights" in held:  # parameters are drawn, augmented and only then made a graph
            held["weights"] = self.zoo.params

        def prepare(key, member):
            read, mixture = dict(member[0]), member[1]
            keys = jax.random.split(jax.random.key(0) if key is None else key, 4)
            if "weights" in read:
                params = read["weights"]
                if key is not None:
                    params = augment(keys[0], params, spec, spread=settings.augment)
                read["weights"] = normalisers["weights"](graph(params, {}, self.context))
            if "samples" in read:
                drawn = jax.random.permutation(keys[1], read["samples"])
                read["samples"] = drawn[: settings.set_size]
            other = jax.random.choice(keys[2], of_train)
            sets = jnp.stack([mixture, other, (mixture + other) / 2])
            draw = jax.vmap(partial(self.bank.draw, num=settings.set_size))
            return read, draw(jax.random.split(keys[3], len(sets)), sets)

        train, val = (
            Examples(
                trees.take((held, proportions), part),
                proportions[part],
                members["member"].to_numpy()[part],
            )
            for part in rows
        )
        objective = contrast(settings.temperature)
        with bar(settings.train.steps, f"matching seed {seed}", "step") as progress:

            def on_eval(row):
                progress.update(row["step"] - progress.n)
                progress.set_postfix({"val loss": f"{row['val_loss']:.3f}"})

            trained = train_encoder(
                jax.random.fold_in(stream(self.config, "matching"), seed),
                self.encoder,
                objective,
                train,
                val,
                prepare=prepare,
                score=objective,
                score_name="loss",
                on_eval=on_eval,
                **settings.train,
            )
        write_jsonl(self.folder(seed) / "log.jsonl", trained.log)
        saved = {"params": trained.params["params"], "scale": self.scale._asdict()}
        if normalisers:
            saved["normalisers"] = {name: normaliser_to_tree(x) for name, x in normalisers.items()}
        save_tree(self.folder(seed) / "trained", saved)

    def val_loss(self, seed: int) -> float:
        """Of the step that was kept."""
        return best_score(read_jsonl(self.folder(seed) / "log.jsonl"), "val_loss")

    def embed(self, seed: int, sets: np.ndarray | None = None) -> list[np.ndarray]:
        """All members [N, D]; and data sets [n, D], from features [n, M, F] of their images."""
        saved = matched_encoders(self.folder(seed))
        read = dict(self.read)
        for name, tree in saved.get("normalisers", {}).items():
            read[name] = normaliser_from_tree(tree)(read[name])
        found = []
        for method, inputs in (
            (PairEncoder.embed_model, read),
            (PairEncoder.embed_dataset, sets),
        ):
            if inputs is not None:
                apply = partial(self.encoder.apply, {"params": saved["params"]}, method=method)
                of_all = jax.jit(partial(jax.lax.map, apply, batch_size=WIDTH))
                found.append(np.asarray(of_all(jax.tree.map(jnp.asarray, inputs))))
        return found


def _over_seeds(found: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Mean, and with several seeds standard deviation, of every metric of every section."""
    sections: dict[str, dict[str, float]] = {}
    for section, metrics in found[0].items():
        values = {name: [run[section][name] for run in found] for name in metrics}
        sections[section] = {name: float(np.mean(x)) for name, x in values.items()}
        if len(found) > 1:
            spread = {f"{name}_std": float(np.std(x, ddof=1)) for name, x in values.items()}
            sections[section] |= spread
    return sections


def check_matching(config) -> Setup:
    """Raises ConfigError, before any compute is spent, for what only this script needs."""
    check_settings(config, "matching")
    setup, settings = check(config), config.matching
    family, dataset = setup.family, setup.dataset
    with named_section("config.matching"):
        check_fields(settings, *COUNTED)
        check_number(temperature=settings.temperature, above=0)
        check_number(augment=settings.augment, least=0)
        check_seeds(seeds=settings.seeds)
        check_training(settings.train)
        PairEncoder(family.spec, settings.dimension, **settings.get("model", {}))
    if not unseen_classes(config):
        raise ConfigError(
            "config.mixtures.unseen is missing: the classes that are held out; "
            "configs/unseen.py has it"
        )
    chosen = chosen_classes(config, dataset) or range(len(dataset.class_names))
    if empty := without_images(dataset, dataset.heldout_labels, chosen):
        raise ConfigError(
            f"config.classes: {dataset.name} has no held-out image of class {', '.join(empty)}; "
            "the data sets that are searched for are drawn from held-out images of every class"
        )
    for name, members in tested_members(config, setup).items():
        if len(members) < 2:
            raise ConfigError(
                f"{len(members)} members are tested as {name}; at least two are needed: see "
                "config.mixtures, config.zoo.members and config.matching.num_queries"
            )
    reads = settings.reads
    if not reads or set(reads) - set(READS) or len(set(reads)) < len(reads):
        raise ConfigError(f"config.matching.reads is {reads}; allowed: some of {', '.join(READS)}")
    if "reconstruction" in reads and family.decode is None:
        raise ConfigError(
            f"config.matching.reads has reconstruction, and a {family.name} gives no images back; "
            "it reads autoencoders of any kind and VAEs"
        )
    if not config.mixtures.num_triplets:
        raise ConfigError(
            "config.mixtures.num_triplets is 0; the sum of two models needs at least 2 triplets"
        )
    return setup


if __name__ == "__main__":
    main(run_stage, check_matching)
