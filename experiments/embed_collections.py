"""Vectors of groups of objects: encoders of objects, aggregations, bounds, and what they tell.

python -m experiments.embed_collections --config=configs/omniglot.py [--workdir=DIR]
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from experiments.checks import check_fields, check_once, check_seed, check_seeds, check_training
from experiments.common import DecodingBar, bar, clock, stream
from experiments.done import is_done
from experiments.environment import environment
from experiments.errors import named_section
from experiments.settings import check_settings
from experiments.start import main
from experiments.unfinished import Unfinished
from genvec.arguments import check_options
from genvec.collections import (
    AGGREGATIONS,
    OBJECT_NETWORKS,
    Collections,
    ObjectEncoder,
    check_sizes,
    group_metrics,
    group_vectors,
    load_collections,
    measure_bounds,
    members_of,
    object_embedder,
    one_shot,
    pixel_vectors,
    principal_components,
    select_classes,
    split_halves,
    train_objects,
    train_pooling,
    turned,
)
from genvec.networks import initialise
from genvec.objectives import GroupObjective, make_group_objective
from genvec.registry import lookup
from genvec.report import collections_table, write_collections
from genvec.store import (
    discard_tree,
    load_tree,
    read_arrays,
    read_json,
    read_table,
    save_tree,
    write_arrays,
    write_json,
    write_table,
)

DRAWINGS = 10  # of each group, on the report


class Setup(NamedTuple):
    """What a checked config stands for."""

    known: Collections  # to learn from, without the turned copies
    learned: Collections  # with them, if the config wants them
    unseen: Collections  # of other classes
    network: Any  # Flax module
    objectives: dict[str, GroupObjective]


def run_stage(config, run) -> None:
    setup = check(config)
    if not _is_done(run):
        for name in config.objectives:
            for seed in config.seeds:
                if not is_done(run, _folder(run, name, seed), load_tree):
                    with clock(run, name):
                        _train(config, run, setup, name, seed)
        with clock(run, "evaluate"):
            found = _evaluate(config, run, setup)
        found |= {"timings_s": read_json(run.timings), "environment": environment()}
        write_json(run.metrics, found)
    write_collections(run)
    print(collections_table(read_json(run.metrics)))
    print(f"\n{run.report}")


def _is_done(run) -> bool:
    """Whether all of the evaluation is there."""
    others = ((run.path / "groups.npz", read_arrays), (run.path / "bounds.parquet", read_table))
    return is_done(run, run.metrics) and all(
        is_done(run, path, read_fn, complete=lambda found: len(found) > 0)
        for path, read_fn in others
    )


def check(config) -> Setup:
    """Builds all that costs nothing, so that a bad config fails before any compute is spent."""
    check_settings(config, "data", "network", "objectives", "evaluate", "dimension", "seeds")
    data = config.data
    with named_section("config"):
        check_seed(seed=config.seed)
        check_seeds(seeds=config.seeds)
        check_fields(config, "dimension")
    with named_section("config.data"):
        check_fields(data, "size", "validation", least=0)
        known, unseen = load_collections(
            data.name,
            size=data.size,
            data_dir=data.data_dir or None,
            progress=DecodingBar(data.name),
        )
        if data.validation:  # the evaluation classes are left alone
            known, unseen = select_classes(known, data.validation)
        check_sizes(unseen, 2, "the distance of a group's halves")
        learned = turned(known) if data.turned else known
    with named_section("config.network"):
        make = lookup(OBJECT_NETWORKS, config.network.name, kind="network of objects")
        check_options(make, config.network.args, kind="network")
        network = make(config.dimension, **config.network.args)
        images = np.zeros((2, *known.images.shape[1:]), np.float32)
        jax.eval_shape(network.init, jax.random.key(0), images)
    objectives = {}
    for name, entry in config.objectives.items():
        with named_section(f"config.objectives.{name}"):
            num_groups, options = len(learned.group_names), entry.options.to_dict()
            objectives[name] = make_group_objective(
                entry.objective, config.dimension, num_groups, options
            )
            check_training(entry.train)
            check_sizes(learned, entry.train.objects, "a batch")
            if entry.train.groups > num_groups:
                raise ValueError(f"groups is {entry.train.groups}; allowed: 1..{num_groups}")
    with named_section("config.evaluate"):
        check_fields(config.evaluate, "ways", "num_pairs", "pooling_steps")
        check_once(config.evaluate.aggregations, str, "an aggregation")
        check_once(config.evaluate.controls, str, "a control")
        for name in config.evaluate.aggregations:
            lookup(AGGREGATIONS, name, kind="aggregation")
        for name in config.evaluate.controls:
            lookup(CONTROLS, name, kind="control of collections")
        lookup(objectives, config.evaluate.shown, kind="objective of this config")
        if config.evaluate.ways > len(unseen.group_names):
            raise ValueError(
                f"ways is {config.evaluate.ways}; there are {len(unseen.group_names)} groups"
            )
    return Setup(known, learned, unseen, network, objectives)


def _folder(run, name: str, seed: int):
    return run.encoder(name) / f"seed_{seed}" / "trained"


def _train(config, run, setup: Setup, name: str, seed: int) -> None:
    entry, folder = config.objectives[name], _folder(run, name, seed)
    with bar(entry.train.steps, f"{name} seed {seed}", "step") as progress:
        unfinished = Unfinished(run, folder.parent / "unfinished", progress)
        encoder = train_objects(
            jax.random.fold_in(stream(config, "collections"), seed),
            setup.network,
            setup.objectives[name],
            setup.learned,
            resume=unfinished.resume,
            on_step=unfinished.on_step,
            **entry.train,
        )
    kept = {name: tree for name, tree in encoder._asdict().items() if tree}
    save_tree(folder, kept)
    discard_tree(unfinished.path)


def _load(run, name: str, seed: int) -> ObjectEncoder:
    saved = load_tree(_folder(run, name, seed))
    return ObjectEncoder(saved["variables"], saved.get("objective", {}))


def _evaluate(config, run, setup: Setup) -> dict[str, Any]:
    settings = config.evaluate
    found: dict[str, list[dict[str, float]]] = {}
    bounds = {}
    learns = any(AGGREGATIONS[name].init for name in settings.aggregations)
    with bar(len(setup.objectives) * len(config.seeds), "evaluating", "encoder") as progress:
        for name, objective in setup.objectives.items():
            embed = object_embedder(setup.network, objective)
            for seed in config.seeds:
                encoder = _load(run, name, seed)
                unseen = embed(encoder, setup.unseen.images)
                known = embed(encoder, setup.known.images) if learns else None
                measured = _measure(config, setup, settings.aggregations, known, unseen, seed)
                for aggregation, values in measured.items():
                    found.setdefault(f"{name}/{aggregation}", []).append(values)
                if (name, seed) == (settings.shown, config.seeds[0]):
                    bounds = _show(config, run, setup, unseen)
                progress.update()
    controls = {}
    for name in settings.controls:
        unseen = CONTROLS[name](config, setup)
        controls[name] = _measure(config, setup, ("mean",), None, unseen, 0)["mean"]
    return {
        "dataset": config.data.name,
        "network": config.network.name,
        "num_groups": {
            "train": len(setup.learned.group_names),
            "test": len(setup.unseen.group_names),
        },
        "num_seeds": len(config.seeds),
        "shown": {"objective": settings.shown, "aggregation": "mean"},
        "objectives": {name: _over_seeds(values) for name, values in found.items()},
        "controls": controls,
        "bounds": bounds,
    }


def _measure(config, setup: Setup, aggregations, known, unseen, seed: int):
    """Aggregation → metrics on groups of unseen classes, from vectors of all objects.

    `known`, vectors of the objects to learn from, is read by aggregations that learn alone.
    """
    key = jax.random.fold_in(stream(config, "collections"), seed)
    halves, ways = split_halves(setup.unseen, config.seed), config.evaluate.ways
    accuracy = one_shot(unseen, members_of(setup.unseen), ways=ways, seed=config.seed)
    measured = {}
    for name in aggregations:
        aggregation, steps = AGGREGATIONS[name], config.evaluate.pooling_steps
        params = train_pooling(key, aggregation, known, members_of(setup.known), steps=steps)
        vectors_of = partial(group_vectors, aggregation, params, unseen)
        metrics = group_metrics(vectors_of, setup.unseen, halves)
        measured[name] = {**metrics, f"one_shot_{ways}way": accuracy}
    return measured


def _show(config, run, setup: Setup, unseen: np.ndarray) -> dict[str, dict[str, float]]:
    """Keeps the groups and the bounds of the encoder that the report shows."""
    groups, members = setup.unseen, members_of(setup.unseen)
    write_arrays(
        run.path / "groups.npz",
        {
            "vectors": group_vectors(AGGREGATIONS["mean"], {}, unseen, members),
            "group_class": groups.group_class,
            "group_names": np.array(groups.group_names),
            "class_names": np.array(groups.class_names),
            "drawings": groups.images[members.index[:, :DRAWINGS]],
        },
    )
    table = measure_bounds(unseen, groups, num_pairs=config.evaluate.num_pairs, seed=config.seed)
    columns = dict(zip("xyz", table.pairs.T, strict=True))
    columns["largest_negative"] = table.largest_negative
    for name in table.bound:
        columns |= {f"bound_{name}": table.bound[name], f"true_{name}": table.true[name]}
    write_table(run.path / "bounds.parquet", pd.DataFrame(columns))
    return table.summary()


def _over_seeds(values: list[dict[str, float]]) -> dict[str, float]:
    """Means over the seeds, and standard deviations where there are several."""
    table = pd.DataFrame(values)
    spread = table.std(ddof=1).add_suffix("_std").to_dict() if len(table) > 1 else {}
    return {**table.mean().to_dict(), **spread}


def _pixels(config, setup: Setup):
    return pixel_vectors(setup.unseen.images)


def _principal_components(config, setup: Setup):
    known = pixel_vectors(setup.known.images)
    return principal_components(known, _pixels(config, setup), config.dimension)[1]


def _untrained(config, setup: Setup):
    """The network as it is drawn."""
    shape = setup.known.images.shape[1:]
    key = jax.random.fold_in(stream(config, "collections"), config.seeds[0])
    variables = initialise(setup.network, key, np.zeros((1, *shape), np.float32))
    objective = make_group_objective("triplet", config.dimension, 2, {})
    embed = object_embedder(setup.network, objective)
    return embed(ObjectEncoder(variables, {}), setup.unseen.images)


CONTROLS = {"pixels": _pixels, "pca": _principal_components, "untrained": _untrained}


if __name__ == "__main__":
    main(run_stage, check)
