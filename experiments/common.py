"""What the stages share: streams of random numbers, the chosen images, clock and bars."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import pandas as pd
from tqdm import tqdm

from experiments.done import read_done
from genvec.keys import fold_in_name
from genvec.mixtures import MixtureData, group_by_class
from genvec.store import RunFolder, StoreError, read_json, write_json
from genvec.types import Dataset, Zoo

# stages that had these numbers before names had numbers of their own: their draws stay
STREAMS = {
    "classes": 0,
    "mixtures": 1,
    "zoo": 2,
    "encoders": 3,
    "evaluate": 4,
    "gallery": 5,
    "matching": 6,
    "collections": 7,
}


def stream(config: Any, name: str) -> jax.Array:
    """The key of one stage: no stage's numbers depend on how many another has drawn."""
    return fold_in_name(jax.random.key(config.seed), name, STREAMS)


def mixture_data(dataset: Dataset, run: RunFolder) -> MixtureData:
    """The images of the classes that the run has chosen."""
    return group_by_class(dataset, read_json(run.classes)["indices"])


def needs_splits(zoo: Zoo, *splits: str) -> None:
    """Whether members are left in each split, after those that diverged were dropped.

    Raises:
      StoreError: a split without any.
    """
    counts = zoo.members["split"].value_counts()
    if empty := [name for name in splits if name not in counts]:
        raise StoreError(
            f"no member of the split {', '.join(empty)} is left: all of them diverged, and what "
            f"stays is {counts.to_dict()}; train the zoo again, in another folder, with a smaller "
            "learning rate"
        )


def best_score(log: pd.DataFrame, column: str) -> float:
    """The smallest score in the log of a training; infinite, and so never chosen, without any."""
    scores = log[column].to_numpy(float)
    return float(np.min(scores, initial=np.inf, where=np.isfinite(scores)))


@contextmanager
def clock(run: RunFolder, stage: str) -> Iterator[None]:
    """Adds the seconds spent to the run's timings, also where the stage is interrupted."""
    start = time.perf_counter()
    try:
        yield
    finally:
        timings = read_done(run, run.timings)
        timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - start
        write_json(run.timings, timings)


def chunks(num: int, width: int) -> Iterator[np.ndarray]:
    """Rows 0..num-1, `width` at a time; the last one again where there are fewer."""
    for first in range(0, num, width):
        yield np.minimum(np.arange(first, first + width), num - 1)


def bar(total: int, what: str, unit: str, done: int = 0) -> tqdm:
    """A progress bar on stderr."""
    return tqdm(total=total, initial=done, desc=what, unit=unit, dynamic_ncols=True, smoothing=0.1)


class DecodingBar:
    """A bar that appears only where a data set has to be decoded."""

    def __init__(self, name: str):
        self.name, self.bar = name, None

    def __call__(self, done: int, total: int) -> None:
        self.bar = self.bar or bar(total, f"decoding {self.name}", "image")
        self.bar.update(done - self.bar.n)
        if done == total:
            self.bar.close()
