"""A training on its way, on disk now and then, so that an interruption costs a minute."""

import time
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from experiments.done import is_done
from genvec.store import RunFolder, load_tree, save_tree

SAVE_EVERY = 60.0  # seconds of training that an interruption can cost


class Unfinished:
    """`resume` and `on_step` of a training whose state is a NamedTuple with a `step`."""

    def __init__(self, run: RunFolder, path: Path, progress: tqdm):
        self.run, self.path = run, path
        self.progress, self.saved = progress, time.monotonic()

    def resume(self, start: Any) -> Any:
        if not is_done(self.run, self.path, load_tree):
            return start
        leaves = [leaf for _, leaf in sorted(load_tree(self.path).items())]
        training = jax.tree.unflatten(jax.tree.structure(start), leaves)
        self.progress.update(int(training.step))
        return training._replace(step=int(training.step))

    def on_step(self, training: Any, loss: jax.Array) -> None:
        self.progress.update()
        if self.progress.n % 20 == 0:  # reading the loss waits for the update
            self.progress.set_postfix({"loss": f"{loss:.3f}"})
        if time.monotonic() - self.saved > SAVE_EVERY:
            leaves = enumerate(jax.tree.leaves(training))
            save_tree(self.path, {f"{number:05d}": leaf for number, leaf in leaves})
            self.saved = time.monotonic()
