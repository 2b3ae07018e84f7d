"""Embeds every member of a zoo with an encoder that a run has trained; writes a table.

python -m experiments.embed --zoo=runs/digits/zoo [--run=RUN] [--encoder=NAME] [--out=FILE]

Without --run, the encoders are those of the run around the zoo. Encoders of vectors read the
architecture that they were trained on only; graph encoders any one with the same groups of neurons.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from absl import flags

from experiments.cells import hold_zoo
from experiments.common import best_score
from experiments.encoders import context, seed_folder
from experiments.errors import ConfigError, named_section
from experiments.evaluate import mean_embeddings
from experiments.finished import finished_run, start
from experiments.setup import check, encoder_name, ensembles, make_encoder
from genvec import trees
from genvec.families import FAMILIES
from genvec.registry import lookup
from genvec.represent import normaliser_from_tree, represent
from genvec.store import (
    StoreError,
    cell_paths,
    check_output,
    load_tree,
    load_zoo,
    read_json,
    read_jsonl,
    write_table,
)
from genvec.symmetry import check_spec
from genvec.train import embed_represented, make_embed_fn
from genvec.types import Family, Zoo

flags.DEFINE_string("zoo", None, "Folder of the zoo to embed, RUN/zoo.")
flags.DEFINE_string("run", "", "Run folder that holds the encoder; by default the one of the zoo.")
flags.DEFINE_string("encoder", "", "Its name as in metrics.json; by default the best.")
flags.DEFINE_string("cell", "", "Cell of the zoo, where it has several.")
flags.DEFINE_string("out", "", "File to write; embeddings.parquet beside the zoo by default.")


def embed_zoo(zoo_path: str, run_path: str, name: str, cell: str) -> tuple[pd.DataFrame, str]:
    """Member, split and embedding_0 … of every member, and the encoder's name.

    Raises:
      StoreError: the run has no such encoder.
      ConfigError: the encoder is unknown, or does not read members of this architecture.
    """
    config, run = finished_run(f"{run_path}/zoo" if run_path else zoo_path)
    if not run.metrics.exists():
        raise StoreError(f"{run.path} has no evaluated encoder: metrics.json is missing")
    if not name and "best_encoder" not in (metrics := read_json(run.metrics)):
        raise StoreError(f"{run.metrics} names no best encoder; run its experiment again")
    name = name or metrics["best_encoder"]
    single = {encoder_name(entry): [entry] for entry in config.encoders.values()}
    with named_section("--encoder"):
        entries = lookup(single | ensembles(config), name, kind="encoder")
    with named_section("--zoo"):
        zoo = load_zoo(zoo_path, cell=cell or _only_cell(zoo_path), finite_only=True)
    setup = check(config)
    hold_zoo(config, setup.cells, run)
    family = _family_of(zoo)
    if family.architecture != setup.family.architecture or family.name != setup.family.name:
        for entry in entries:
            _accept(entry, encoder_name(entry), setup.family, family)
    used = context(config, run, setup, load_zoo(run.zoo, cell=setup.cell, finite_only=True))
    used = used._replace(spec=family.spec, encode=family.encode, sample=family.sample)
    seed = _best_seed(run, entries)
    embedded = [_embed(run, entry, seed, family, zoo, used) for entry in entries]
    joint = mean_embeddings([{seed: embeddings} for embeddings in embedded])[seed]
    if len(bad := zoo.members["member"].to_numpy()[~trees.finite_rows(joint)]):
        print(f"{trees.named('member', bad)} cannot be embedded by {name}: NaN in the table")
    columns = {f"embedding_{k}": column for k, column in enumerate(joint.T)}
    return zoo.members[["member", "split"]].assign(**columns), name


def _embed(run, entry, seed: int, family: Family, zoo: Zoo, used) -> np.ndarray:
    """Embeddings [N, D] by one encoder."""
    features = represent(entry.representation, zoo.params, zoo.state, used)
    saved = load_tree(seed_folder(run, entry, seed) / "trained")
    module = make_encoder(entry, family, len(read_json(run.classes)["classes"]))
    _check_fits(module, saved, features, encoder_name(entry), family)
    normaliser, params = normaliser_from_tree(saved["normaliser"]), {"params": saved["params"]}
    return embed_represented(make_embed_fn(module), params, normaliser, features)


def _only_cell(zoo_path: str) -> str:
    cells = list(cell_paths(Path(zoo_path)))
    if len(cells) > 1:
        raise ConfigError(f"{zoo_path} holds the cells {', '.join(cells)}; name one with --cell")
    return cells[0]


def _family_of(zoo: Zoo) -> Family:
    """The family that trained a zoo, from its manifest."""
    make = lookup(FAMILIES, zoo.manifest["family"], kind="family")
    architecture = dict(zoo.manifest["architecture"])
    family = make(tuple(architecture.pop("image_shape")), **architecture)
    check_spec(family.spec, jax.tree.map(lambda x: x[0], zoo.params))
    return family


def _accept(entry: Any, name: str, known: Family, family: Family) -> None:
    """Graph encoders read other architectures, and say so; the others refuse."""
    told = [f"{f.name} {dict(f.architecture)}" for f in (known, family)]
    if entry.representation != "graph":
        raise ConfigError(
            f"{name} reads {told[0]}, and the zoo's members are {told[1]}; an encoder of vectors "
            "knows one architecture, use one of graphs or train one on this zoo"
        )
    print(f"{name} was trained on {told[0]}; it now reads {told[1]}")


def _check_fits(module, saved, features, name: str, family: Family) -> None:
    """Whether the trained parameters are those that this architecture asks for."""
    first = jax.tree.map(lambda x: x[0], features)
    needed = jax.eval_shape(module.init, jax.random.key(0), first)["params"]
    shapes, found = (jax.tree.map(lambda x: x.shape, tree) for tree in (needed, saved["params"]))
    if shapes != found:
        raise ConfigError(
            f"{name} has no parameters for {family.name} {dict(family.architecture)}: images of "
            "another size, or other groups of neurons, than it was trained on, or features as an "
            "earlier genvec made them"
        )


def _best_seed(run, entries) -> int:
    """Of the seeds that all entries have, the one best on validation."""
    common = [seed for seed in entries[0].seeds if all(seed in entry.seeds for entry in entries)]

    def angle(seed):
        logs = (read_jsonl(seed_folder(run, entry, seed) / "log.jsonl") for entry in entries)
        return sum(best_score(log, "val_angle_deg") for log in logs)

    return min(common, key=angle)


def main() -> None:
    asked = flags.FLAGS
    out = Path(asked.out or Path(asked.zoo).absolute().parent / "embeddings.parquet")
    check_output(out)
    table, name = embed_zoo(asked.zoo, asked.run, asked.encoder, asked.cell)
    write_table(out, table, sums=False)
    print(f"{len(table)} members by {name}: {out}")


if __name__ == "__main__":
    start(main, "zoo")
