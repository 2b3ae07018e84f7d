"""How much the vectors of groups tell: each group's two halves, its class, single objects."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from genvec import trees
from genvec.collections.aggregate import Aggregation, aggregate
from genvec.collections.bounds import BOUNDS, Groups, all_bounds, largest_negative, violated
from genvec.collections.data import Collections, Members, check_sizes, members_of

EPISODES = 1_000
PAIRS_AT_ONCE = 256
ROUNDING = 1e-5  # of the largest distance: what float32 may add to a bound or take from it


class Halves(NamedTuple):
    """The objects of every group in two halves, drawn once for all encoders."""

    first: Members
    second: Members


def split_halves(collections: Collections, seed: int) -> Halves:
    """Half of each group's objects, and the other half; of an odd number, one more in the second.

    Raises:
      ValueError: a group with fewer than two objects; the message names it.
    """
    check_sizes(collections, 2, "the distance of a group's halves")
    generator = np.random.default_rng(seed)
    half = np.empty(len(collections.group), int)
    for group in range(len(collections.group_names)):
        rows = generator.permutation(np.flatnonzero(collections.group == group))
        half[rows[: len(rows) // 2]], half[rows[len(rows) // 2 :]] = 0, 1
    parts = []
    for side in (0, 1):
        rows = np.flatnonzero(half == side)
        members = members_of(collections._replace(group=collections.group[rows]))
        parts.append(Members(rows[members.index].astype(np.int32), members.mask))
    return Halves(*parts)


def group_vectors(
    aggregation: Aggregation, params: Mapping[str, Any], x: np.ndarray, members: Members
) -> np.ndarray:
    """Vectors [G, D] of groups, from those of all objects [M, D].

    Raises:
      NotFiniteError: vectors of objects are not finite; names them by their rows.
      ValueError: a group without an object.
    """
    trees.check_finite("vectors of objects", x, unit="object")
    grouped = jnp.asarray(x[members.index])
    return np.asarray(aggregate(aggregation, params, grouped, jnp.asarray(members.mask)))


def group_metrics(
    vectors_of: Callable[[Members], np.ndarray], collections: Collections, halves: Halves
) -> dict[str, float]:
    """Retrieval of a group's other half, mean distances, and purity of nearest neighbours.

    Distances are Euclidean, between first halves and second halves: of one group (within_character,
    as of a drawn letter), of two groups of one class (within_alphabet), of groups of two classes
    (between_alphabets). The rank of the own second half is the number of second halves at least
    as near, so ties count against it.
    Purity is the share of groups whose nearest other group is of their class.

    Raises:
      NotFiniteError: vectors are not finite; names their groups.
    """
    first, second = (vectors_of(half) for half in halves)
    whole, names = vectors_of(members_of(collections)), np.array(collections.group_names)
    for vectors in (first, second, whole):
        trees.check_finite("vectors of groups", vectors, names, unit="group")
    distance = cdist(first, second)
    own = np.diagonal(distance)
    rank = (distance <= own[:, None]).sum(axis=1)
    same = collections.group_class[:, None] == collections.group_class
    other = ~np.eye(len(own), dtype=bool)
    nearest = np.argmin(np.where(other, cdist(whole, whole), np.inf), axis=1)
    return {
        "retrieval_r1": float(np.mean(rank == 1)),
        "retrieval_mrr": float(np.mean(1 / rank)),
        "within_character": float(own.mean()),
        "within_alphabet": float(distance[same & other].mean()),
        "between_alphabets": float(distance[~same].mean()),
        "alphabet_purity": float(np.mean(same[np.arange(len(own)), nearest])),
    }


def one_shot(x: np.ndarray, members: Members, *, ways: int, seed: int) -> float:
    """Accuracy of the nearest of `ways` single objects, one a group: x [M, D].

    `EPISODES` draws of groups, of a support and of a query object in each; ties count against.
    Reference: Vinyals et al. 2016, arXiv 1606.04080, section 4.1.1 (groups of all classes).

    Raises:
      ValueError: fewer groups than ways.
      NotFiniteError: vectors are not finite; names the objects by their rows.
    """
    trees.check_finite("vectors of objects", x, unit="object")
    num = len(members.index)
    if num < ways:
        raise ValueError(f"{ways} ways need as many groups; there are {num}")
    generator, right = np.random.default_rng(seed), []
    for _ in range(EPISODES):
        groups = generator.choice(num, ways, replace=False)
        order = generator.random(members.mask[groups].shape)
        drawn = np.argsort(np.where(members.mask[groups], order, np.inf), axis=1)[:, :2]
        support, query = x[np.take_along_axis(members.index[groups], drawn, axis=1)].swapaxes(0, 1)
        distance = cdist(query, support)
        right.append((distance <= np.diagonal(distance)[:, None]).sum(axis=1) == 1)
    return float(np.mean(right))


def pixel_vectors(images: np.ndarray) -> np.ndarray:
    """uint8 [M, H, W, C] → float32 [M, H·W·C] in [0, 1]: what an encoder has to beat."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def principal_components(
    known: np.ndarray, unseen: np.ndarray, num: int
) -> tuple[np.ndarray, np.ndarray]:
    """Both [M, F] on the first `num` principal components of `known` (at most F of them)."""
    pca = PCA(min(num, *known.shape), random_state=0).fit(known)
    return pca.transform(known), pca.transform(unseen)


class BoundTable(NamedTuple):
    """Every bound on many pairs of groups of one class, each with a negative group."""

    pairs: np.ndarray  # int [n, 3] groups of x, y and z
    largest_negative: np.ndarray  # [n] max d(a, n)
    bound: Mapping[str, np.ndarray]  # name → [n]
    true: Mapping[str, np.ndarray]  # name → [n] what it bounds

    def summary(self) -> dict[str, dict[str, float]]:
        """Name → the median of bound / true, and how many pairs break it by more than rounding.

        Pairs at distance zero have no ratio; without any other it is NaN.
        """
        scale = ROUNDING * max(map(np.max, self.bound.values()))
        return {
            name: {
                "median_ratio": _median_ratio(self.bound[name], self.true[name]),
                "violations": int(np.sum(violated(name, self.bound[name], self.true[name], scale))),
            }
            for name in BOUNDS
        }


def measure_bounds(
    x: np.ndarray, collections: Collections, *, num_pairs: int, seed: int
) -> BoundTable:
    """All bounds on pairs of groups of one class, drawn with a group of another class each.

    Args:
      x: vectors [M, D] of the objects.
      collections: whose they are. Of every group the first n objects count, n the size of the
        smallest, so that all pairs are one program.
      num_pairs: drawn with replacement.
      seed: of the draws.

    Raises:
      ValueError: a single class, or no class of two groups.
      NotFiniteError: vectors are not finite; names the objects by their rows.
    """
    trees.check_finite("vectors of objects", x, unit="object")
    members, group_class = members_of(collections), collections.group_class
    pairs = draw_triples(group_class, num_pairs, seed)
    objects = jnp.asarray(x[members.index[:, : members.sizes.min()]])

    @jax.jit
    def measure(rows):
        groups = Groups(*jnp.swapaxes(objects[rows], 0, 1))
        return jax.vmap(lambda g: (largest_negative(g), all_bounds(g)))(groups)

    parts = []
    for start in range(0, num_pairs, PAIRS_AT_ONCE):
        rows = np.arange(start, start + PAIRS_AT_ONCE) % num_pairs
        parts.append(jax.device_get(measure(pairs[rows])))
    largest, found = jax.tree.map(lambda *x: np.concatenate(x)[:num_pairs], *parts)
    return BoundTable(
        pairs,
        largest,
        {name: bound for name, (bound, _) in found.items()},
        {name: true for name, (_, true) in found.items()},
    )


def _median_ratio(bound: np.ndarray, true: np.ndarray) -> float:
    apart = true != 0
    return float(np.median(bound[apart] / true[apart])) if apart.any() else float("nan")


def draw_triples(group_class: np.ndarray, num: int, seed: int) -> np.ndarray:
    """Two groups of one class and one of another, int [num, 3], all pairs of groups alike."""
    generator = np.random.default_rng(seed)
    same = group_class[:, None] == group_class
    first, second = np.nonzero(np.triu(same, 1))
    if len(first) == 0 or same.all():
        raise ValueError(
            f"{len(group_class)} groups of {len(np.unique(group_class))} classes: bounds need two "
            "groups of one class, and one of another"
        )
    chosen = generator.integers(len(first), size=num)
    first, second = first[chosen], second[chosen]
    order = generator.random((num, len(group_class)))
    negative = np.argmax(np.where(same[first], -1, order), axis=1)
    return np.stack([first, second, negative], axis=1)
