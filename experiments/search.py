"""Finds the members whose training data were most like some images.

python -m experiments.search --zoo=runs/unseen/zoo --query=FOLDER [--num=10] [--page=search.html]
python -m experiments.search --zoo=runs/unseen/zoo --query=mnist:heldout:3,8

The query is a folder of images, or a part of a data set: its name, "train" or "heldout", and if
wanted the names of classes. The run must have been made by experiments.matching. How images of a
folder are decoded, and which are refused, says genvec.decoding; what is skipped is listed.
"""

import os
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.banks import Scale, describe_images
from experiments.cells import hold_zoo
from experiments.classes import load_counter
from experiments.common import stream
from experiments.encoders import mixtures
from experiments.errors import ConfigError, named_section
from experiments.finished import finished_run, matched_encoders, start
from experiments.setup import check
from genvec import trees
from genvec.classes import features
from genvec.data import class_indices, load_dataset
from genvec.decoding import printable
from genvec.images import read_images
from genvec.keys import fold_in_each
from genvec.matching import PairEncoder, nearest
from genvec.report import Found, write_search
from genvec.store import StoreError, load_zoo, read_json, read_table
from genvec.types import Dataset
from genvec.validity import without_images

MAX_IMAGES = 4_096  # of the query, evenly taken
SHOWN = 12  # images of a member, and of the query, on the page
PARTS = ("train", "heldout")

flags.DEFINE_string("zoo", None, "Folder of the zoo to search, RUN/zoo.")
flags.DEFINE_string("query", None, "A folder of images, or DATASET:train|heldout[:CLASS,…].")
flags.DEFINE_integer("num", 10, "How many members to show.")
flags.DEFINE_string("page", "search.html", "Where the page with their samples is written.")


class Hits(NamedTuple):
    """Members, the best first."""

    members: np.ndarray  # [n] their numbers in the zoo
    scores: np.ndarray  # [n] cosine of member and query


def search(zoo: str, query: str, num: int) -> tuple[Hits, np.ndarray, tuple[Any, ...]]:
    """The members nearest to a query, its images uint8 [M, H, W, C]; config, run and its setup.

    Raises:
      StoreError: the zoo's run has no common space of models and data sets.
      ConfigError: the query is no folder of fitting images and no part of a data set.
    """
    config, run = finished_run(zoo)
    metrics = run.matching / "metrics.json"
    if not metrics.exists():
        raise StoreError(
            f"{run.path} has no encoder of data sets; make one with "
            "python -m experiments.matching --config=configs/unseen.py"
        )
    if num < 1:
        raise ConfigError(f"--num is {num}; it must be positive")
    setup = check(config)
    hold_zoo(config, setup.cells, run)
    with named_section(f"--query={query}"):
        images = _query(query, setup.dataset.images.shape[1:], config)
    saved = matched_encoders(run.matching / f"seed_{read_json(metrics)['best_seed']}")
    described = describe_images(partial(features, load_counter(config, run)), images)
    point = PairEncoder(setup.family.spec, config.matching.dimension).apply(
        {"params": saved["params"]},
        jnp.asarray(Scale(**saved["scale"])(described)),
        method=PairEncoder.embed_dataset,
    )
    table = read_table(run.matching / "embeddings.parquet")
    found = nearest(np.asarray(point), table.filter(like="embedding_").to_numpy(), num)
    rows, scores = (np.array(column) for column in zip(*found, strict=True))
    return Hits(table["member"].to_numpy()[rows], scores), images, (config, run, setup)


def _query(query: str, image_shape, config) -> np.ndarray:
    if not query:
        raise ValueError("the query is empty; give a folder of images, or DATASET:train|heldout")
    name, _, rest = query.partition(":")
    if rest and not os.path.lexists(query):
        images = _part(query, load_dataset(name, data_dir=config.data.data_dir or None))
        if images.shape[1:] != tuple(image_shape):
            raise ValueError(
                f"images of {name} are {images.shape[1:]}, the encoder was trained on {image_shape}"
            )
    else:
        read = read_images(query, image_shape)
        images = read.images
        print("".join(f"{line}\n" for line in read.told()), end="")
    rows = np.unique(np.linspace(0, len(images) - 1, MAX_IMAGES).round().astype(int))
    return images[rows]


def _part(query: str, dataset: Dataset) -> np.ndarray:
    """The images of DATASET:train|heldout[:CLASS,…]; at least one of each class asked for."""
    _, part, *names = query.split(":", 2)
    if part not in PARTS:
        raise ValueError(f"{query}: {part!r} is no part of a data set; known: train, heldout")
    images, labels = (
        (dataset.images, dataset.labels)
        if part == "train"
        else (dataset.heldout_images, dataset.heldout_labels)
    )
    if names and names[0]:
        classes = class_indices(dataset, names[0].split(","))
        if missing := without_images(dataset, labels, classes):
            raise ValueError(f"{query}: there is no {part} image of class {', '.join(missing)}")
        images = images[np.isin(labels, classes)]
    if not len(images):
        raise ValueError(f"{query}: there is no {part} image")
    return images


def _found(hits: Hits, config, run, setup) -> list[Found]:
    """The members with their mixtures, and images that they generate."""
    zoo = load_zoo(run.zoo, cell=setup.cell, members=hits.members)
    order = {member: row for row, member in enumerate(zoo.members["member"])}
    rows = np.array([order[member] for member in hits.members])
    keys = fold_in_each(stream(config, "evaluate"), hits.members)
    sample = jax.jit(jax.vmap(lambda key, p, s: setup.family.sample(p, s, key, SHOWN)))
    images = np.asarray(sample(keys, *trees.take((zoo.params, zoo.state), rows)))
    names = zoo.manifest["classes"]
    shares, splits = mixtures(zoo), zoo.members["split"].to_numpy()
    return [
        Found(
            rank=rank,
            member=int(hits.members[rank - 1]),
            split=str(splits[row]),
            score=float(hits.scores[rank - 1]),
            shares=dict(zip(names, map(float, shares[row]), strict=True)),
            images=images[rank - 1],
        )
        for rank, row in enumerate(rows, start=1)
    ]


def main() -> None:
    asked = flags.FLAGS
    hits, images, made_by = search(asked.zoo, asked.query, asked.num)
    found = _found(hits, *made_by)
    for one in found:
        where = f"{one.rank:3d}  member {one.member:6d}  {one.split:6s}"
        print(f"{where}  {one.score:.3f}  {one.trained_on()}")
    reads = made_by[0].matching.get("reads", ("weights",))  # runs before it had but these
    shown = images[:SHOWN]
    query = printable(asked.query)
    page = write_search(Path(asked.page), query, shown, len(images), found, reads)
    print(f"\n{printable(page)}")


if __name__ == "__main__":
    start(main, "zoo", "query")
