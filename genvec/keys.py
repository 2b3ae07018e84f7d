"""Keys from names and indices: no draw depends on the order of a table, a filter or a border.

A key is folded with a number. What has a name gets the number of its name, a member its index in
the zoo, an update its step. Adding a name, losing a member or evaluating more often then changes
the random numbers of nothing else.
"""

import zlib
from collections.abc import Mapping

import jax
import numpy as np

Array = jax.Array | np.ndarray
NONE: Mapping[str, int] = {}
# Steps that share the first of the two keys of a step. It was the number of updates between two
# evaluations, from whose borders the keys came; the same 200 keeps the draws of those runs.
BLOCK = 200


def number_of(name: str, kept: Mapping[str, int] = NONE) -> int:
    """The number of a name, below 2³²: the CRC-32 of its UTF-8 bytes, whatever else has a name.

    Args:
      name: of a stage, a network, a hyper-parameter.
      kept: name → number, for names that had another number before, whose draws are to stay.
    """
    return kept[name] if name in kept else zlib.crc32(name.encode())


def fold_in_name(key: jax.Array, name: str, kept: Mapping[str, int] = NONE) -> jax.Array:
    """The key of what is called `name`; arguments as in `number_of`."""
    return jax.random.fold_in(key, np.uint32(number_of(name, kept)))


def fold_in_each(key: jax.Array, indices: Array) -> jax.Array:
    """Keys [n] of n members, by their indices in the zoo (not by their rows in a selection)."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, indices)


def fold_in_step(key: jax.Array, step: int | jax.Array) -> jax.Array:
    """The key of one update, by its step alone."""
    return jax.random.fold_in(jax.random.fold_in(key, step - step % BLOCK), step % BLOCK)


def random_cycle(num: int, seed: int) -> np.ndarray:
    """For each of num ≥ 2 places another one, [num]: a random cycle, so that none keeps its own."""
    order = np.random.default_rng(seed).permutation(num)
    partner = np.empty(num, int)
    partner[order] = np.roll(order, 1)
    return partner
