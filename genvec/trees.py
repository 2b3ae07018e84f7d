"""Pytrees by name: a parameter is addressed as "decoder/dense_0/kernel", never by leaf position."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genvec.types import Array, NotFiniteError

Tree = Any
ROWS = 64  # looked at together: beside a large array there is no second of its size
NAMED = 10  # rows in a message


def flatten_names(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts → one flat dict, keys joined by "/", in the order of the nested dicts."""
    flat = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten_names(value, f"{name}/"))
        else:
            flat[name] = value
    return flat


def unflatten_names(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten_names`, for trees without empty dicts."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def stack(trees: Sequence[Tree]) -> Tree:
    """N trees of one structure → one tree whose leaves carry the leading axis N."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def concatenate(trees: Sequence[Tree]) -> Tree:
    """Stacked trees → one, joined along the leading axis (numpy leaves stay numpy)."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *trees)


def gather(parts: Iterable[Tree], num: int) -> Tree:
    """As `concatenate`, of parts made one by one that have `num` rows together, as numpy arrays.

    Each goes to its place before the next is made: memory holds the whole and one part.

    Raises:
      ValueError: the parts have fewer rows, or more.
    """
    whole, start = None, 0
    for part in parts:
        if whole is None:
            whole = jax.tree.map(lambda leaf: np.empty((num, *leaf.shape[1:]), leaf.dtype), part)
        rows = slice(start, start + len(jax.tree.leaves(part)[0]))
        jax.tree.map(np.copyto, take(whole, rows), part)
        start = rows.stop
    if start != num:
        raise ValueError(f"parts of {start} rows in all, not of {num}")
    return whole


def take(tree: Tree, index: Any) -> Tree:
    """Members `index` (an int, a slice, an int array [I] or a mask [N]) of a stacked tree."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def mean_and_std(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over N of an array [N, ..], in double precision, which x is not
    copied to: a zoo's weights may fill half of the memory."""
    mean = np.asarray(np.mean(x, axis=0, dtype=np.float64))
    squares = sum(np.square(x[i : i + 64] - mean).sum(axis=0) for i in range(0, len(x), 64))
    return mean, np.sqrt(squares / len(x))


def ravel(params: Mapping[str, Any]) -> jax.Array:
    """One member's parameters → a vector [P], in the sorted order of the parameter names."""
    flat = flatten_names(params)
    return jnp.concatenate([jnp.ravel(flat[name]) for name in sorted(flat)])


def unravel(vector: jax.Array, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """The exact inverse of `ravel`.

    Args:
      vector: [P].
      shapes: parameter name → shape; P is the sum of their sizes.

    Raises:
      ValueError: P is not what the shapes add up to.
    """
    sizes = {name: int(np.prod(shapes[name], dtype=int)) for name in sorted(shapes)}
    if vector.shape != (sum(sizes.values()),):
        raise ValueError(f"vector of shape {vector.shape} for {sum(sizes.values())} parameters")
    parts = jnp.split(vector, np.cumsum(list(sizes.values()))[:-1])
    return unflatten_names(
        {name: part.reshape(shapes[name]) for name, part in zip(sizes, parts, strict=True)}
    )


def all_finite(tree: Tree) -> jax.Array:
    """True where every number of every inexact leaf is finite; a scalar bool."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(jnp.asarray(x).dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def finite_rows(tree: Tree) -> np.ndarray:
    """Which rows of a stacked tree hold finite numbers alone: bool [N]."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    finite = np.ones(len(leaves[0]), bool)
    for leaf in leaves:
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            for i in range(0, len(leaf), ROWS):
                part = np.isfinite(leaf[i : i + ROWS])
                finite[i : i + ROWS] &= part.reshape(len(part), -1).all(axis=1)
    return finite


def check_finite(what: str, tree: Tree, numbers: Array | None = None, *, unit: str = "row") -> None:
    """Refuses a stacked tree in which a number is NaN or infinite.

    Args:
      what: the tree holds, for the message: "train features".
      tree: leading axis N.
      numbers: [N] of the rows, as the reader knows them; 0..N-1 by default.
      unit: of what: "member".

    Raises:
      NotFiniteError: some are; names the rows.
    """
    finite = finite_rows(tree)
    if not finite.all():
        numbers = np.arange(len(finite)) if numbers is None else np.asarray(numbers)
        bad = numbers[~finite]
        rows = f"{named(unit, bad)} ({len(bad)} of {len(finite)})"
        raise NotFiniteError(f"{what} must be finite numbers; they are not in {rows}")


def named(unit: str, numbers: Array) -> str:
    """The first of many, for a message: "member 3, 8, 11, …"."""
    more = ", …" if len(numbers) > NAMED else ""
    return f"{unit} {', '.join(str(number) for number in numbers[:NAMED])}{more}"
