"""Stage 5: embed the test members with the trained encoders, once, and write every number down."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

import jax
import numpy as np
import pandas as pd

from experiments.common import bar, clock, needs_splits, stream
from experiments.controls import TestMembers
from experiments.done import is_done
from experiments.encoders import context, seed_folder
from experiments.environment import environment
from experiments.setup import check, encoder_name, ensembles, make_encoder
from experiments.start import main
from genvec import trees
from genvec.geometry import angle_deg, to_sphere
from genvec.keys import fold_in_each
from genvec.represent import RUNNING, normaliser_from_tree, represent
from genvec.store import (
    load_tree,
    load_zoo,
    read_arrays,
    read_json,
    read_jsonl,
    read_table,
    write_arrays,
    write_json,
    write_jsonl,
    write_table,
)
from genvec.train import embed_represented, make_embed_fn


def run_stage(config, run) -> None:
    if _is_done(config, run):
        return
    setup = check(config)
    with clock(run, "evaluation"):
        zoo = load_zoo(run.zoo, cell=setup.cell, finite_only=True)
        needs_splits(zoo, "train", "val", "test")
        test = TestMembers(zoo, config.seed)
        embedded, encoders = {}, {}
        for entry, embeddings in _embedded(config, run, setup, zoo):
            name, running = encoder_name(entry), entry.representation in RUNNING
            embedded[name] = embeddings
            encoders[name], seed = _evaluate(run, name, embeddings, running, zoo, test)
            log = read_jsonl(seed_folder(run, entry, seed) / "log.jsonl")
            write_jsonl(run.encoder(name) / "log.jsonl", log.to_dict("records"))
        for name, parts in ensembles(config).items():
            joint = mean_embeddings([embedded[encoder_name(part)] for part in parts])
            runs_member = any(part.representation in RUNNING for part in parts)
            encoders[name], _ = _evaluate(run, name, joint, runs_member, zoo, test)
        _draw_samples(config, run, setup, zoo, test)
    timings = read_json(run.timings)
    best = min(encoders, key=lambda name: encoders[name]["val_angle_deg_mean"])
    metrics = {
        "dataset": config.data.name,
        "family": setup.family.name,
        "classes": read_json(run.classes)["classes"],
        "init": zoo.manifest["init"],
        "num_members": {name: len(rows) for name, rows in test.rows.items()},
        "num_diverged": zoo.manifest["num_members"] - len(zoo.members),
        "controls": read_json(run.controls),
        "encoders": encoders,
        "best_encoder": best,  # chosen on the validation members
        "timings_s": timings | {"total": sum(timings.values())},
        "environment": environment(),
    }
    write_json(run.metrics, metrics)


def _is_done(config, run) -> bool:
    """Whether every number, embedding and image is there."""
    names = {*map(encoder_name, config.encoders.values()), *ensembles(config)}
    parts: list[tuple[Any, Callable[[Any], Any]]] = [(run.samples, read_arrays)]
    for name in sorted(names):
        folder = run.encoder(name)
        parts += [(folder / "embeddings.parquet", read_table), (folder / "metrics.json", read_json)]
    for entry in config.encoders.values():
        parts.append((run.encoder(encoder_name(entry)) / "log.jsonl", read_jsonl))

    def complete(metrics) -> bool:
        return names <= set(metrics.get("encoders", ())) and "controls" in metrics

    done = [is_done(run, run.metrics, complete=complete)]
    for path, read_fn in parts:  # all of them: each that is damaged is moved away
        done.append(is_done(run, path, read_fn, complete=lambda found: len(found) > 0))
    return all(done)


def _embedded(config, run, setup, zoo) -> Iterator[tuple[Any, dict[int, np.ndarray]]]:
    """Every encoder's entry and its embeddings of all members, seed → [N, K]."""
    used = context(config, run, setup, zoo)
    num_outputs = len(zoo.manifest["classes"])
    with bar(len(config.encoders), "evaluation", "encoder") as progress:
        for kind, entries in groupby(config.encoders.values(), attrgetter("representation")):
            progress.set_postfix_str(kind)
            represented = represent(kind, zoo.params, zoo.state, used)
            for entry in entries:
                module = make_encoder(entry, setup.family, num_outputs)
                yield entry, _embed(run, entry, module, represented)
                progress.update()
            del represented  # before the next is made: it may be as large as the zoo


def _embed(run, entry, module, represented) -> dict[int, np.ndarray]:
    embeddings, embed = {}, make_embed_fn(module)
    for seed in entry.seeds:
        saved = load_tree(seed_folder(run, entry, seed) / "trained")
        normaliser, params = normaliser_from_tree(saved["normaliser"]), {"params": saved["params"]}
        embeddings[seed] = embed_represented(embed, params, normaliser, represented)
    return embeddings


def mean_embeddings(parts: Sequence[Mapping[int, np.ndarray]]) -> dict[int, np.ndarray]:
    """Of several encoders, seed by seed: their mean, back on the sphere."""
    return {
        seed: np.asarray(to_sphere(sum(part[seed] for part in parts)))
        for seed in parts[0]
        if all(seed in part for part in parts)
    }


def _evaluate(run, name, embedded, runs_member, zoo, test) -> tuple[dict[str, float], int]:
    """Metrics averaged over the seeds, and the seed best on val, whose embeddings are kept."""
    every = {}
    for seed, embeddings in embedded.items():
        what = f"embeddings by {name}, seed {seed}"
        trees.check_finite(what, embeddings, zoo.members["member"], unit="member")
        every[seed] = test.metrics(embeddings)
        for split in ("train", "val"):
            rows = test.rows[split]
            angle = angle_deg(embeddings[rows], test.mixtures[rows]).mean()
            every[seed][f"{split}_angle_deg_mean"] = float(angle)
        every[seed]["train_distance_mae"] = test.train_distance_mae(embeddings)
    best = min(every, key=lambda seed: every[seed]["val_angle_deg_mean"])
    columns = {f"embedding_{k}": column for k, column in enumerate(embedded[best].T)}
    table = zoo.members[["member", "split"]].assign(**columns)
    write_table(run.encoder(name) / "embeddings.parquet", table)
    frame = pd.DataFrame(list(every.values()))
    averaged = {"num_seeds": len(every), **frame.mean().to_dict(), "runs_member": runs_member}
    if len(every) > 1:
        averaged["angle_deg_std"] = float(np.std(frame["angle_deg_mean"], ddof=1))
    write_json(run.encoder(name) / "metrics.json", averaged)
    return averaged, best


def _draw_samples(config, run, setup, zoo, test) -> None:
    """Images generated by every test member, for the report."""
    rows = test.rows["test"]
    sample = partial(setup.family.sample, num=config.report.num_samples)
    names = zoo.members["member"].to_numpy()[rows]
    keys = fold_in_each(stream(config, "evaluate"), names)
    members = jax.tree.map(lambda leaf: leaf[rows], (zoo.params, zoo.state))
    images = jax.jit(jax.vmap(lambda key, p, s: sample(p, s, key)))(keys, *members)
    write_arrays(
        run.samples,
        {
            "member": names,
            "images": np.round(np.asarray(images) * 255).astype(np.uint8),
        },
    )


if __name__ == "__main__":
    main(run_stage)
