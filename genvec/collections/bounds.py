"""How far apart the vectors of two groups can be, from the distances of their objects alone.

x [n₁, D] and y [n₂, D] are the objects of two groups of one class, z [n₃, D] those of a group of
another class (a negative group); d is the Euclidean distance, μ a mean, c a medoid, and

    m = max over a in x, p in y, n in z of d(a, p) − d(a, n),

the least m for which every triplet keeps d(a, p) − d(a, n) ≤ m. Proofs, and configurations that
attain the bounds, are in docs/collections.md.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from genvec.collections.aggregate import medoid
from genvec.geometry import pairwise_distances
from genvec.types import Array

MAX_COPIES = 1024  # objects in an assignment: unequal groups are matched as copies of themselves


class Groups(NamedTuple):
    """Two groups of one class and one of another."""

    x: jax.Array  # [n₁, D]
    y: jax.Array  # [n₂, D]
    z: jax.Array  # [n₃, D]


class Bound(NamedTuple):
    """A number that another can not exceed (upper) or not fall below (lower)."""

    bound: Callable[[Groups], jax.Array]
    true: Callable[[Groups], jax.Array]
    upper: bool


def margin(groups: Groups) -> jax.Array:
    """m, the largest d(a, p) − d(a, n)."""
    farthest = jnp.max(pairwise_distances(groups.x, groups.y), axis=1)
    return jnp.max(farthest - _nearest_negative(groups))


def largest_negative(groups: Groups) -> jax.Array:
    """max d(a, n), the second column of the table of the theorem."""
    return jnp.max(pairwise_distances(groups.x, groups.z))


def theorem(groups: Groups) -> jax.Array:
    """2 max{m, max d(a, n)}."""
    return 2 * jnp.maximum(margin(groups), largest_negative(groups))


def margin_and_nearest(groups: Groups) -> jax.Array:
    """m + mean over a of min over n of d(a, n)."""
    return margin(groups) + jnp.mean(_nearest_negative(groups))


def mean_distance(groups: Groups) -> jax.Array:
    """The mean of d(x, y) over all pairs."""
    return jnp.mean(pairwise_distances(groups.x, groups.y))


def wasserstein(groups: Groups) -> jax.Array:
    """W₁, the least mean distance of a matching of the two groups."""
    return wasserstein_1(groups.x, groups.y)


def wasserstein_1(x: jax.Array, y: jax.Array) -> jax.Array:
    """W₁ of x [n₁, D] and y [n₂, D] with equal weights, exactly, by assignment.

    Groups of unequal size are matched as copies, as many as their least common multiple.
    Reference: Peyré & Cuturi 2019, arXiv 1803.00567, section 2.3 (the optimal coupling is a
    permutation).

    Raises:
      ValueError: the least common multiple of the sizes is above `MAX_COPIES`.
    """
    copies = math.lcm(len(x), len(y))
    if copies > MAX_COPIES:
        raise ValueError(
            f"groups of {len(x)} and {len(y)} objects need {copies} copies; at most {MAX_COPIES}"
        )
    x, y = (jnp.repeat(part, copies // len(part), axis=0) for part in (x, y))
    cost = pairwise_distances(x, y)
    # with a NaN the algorithm need not end; any assignment will do, the mean is then NaN
    known = jnp.where(jnp.isfinite(cost), cost, 0)
    rows, columns = optax.assignment.hungarian_algorithm(known)
    return jnp.mean(cost[rows, columns])


def from_all_distances(groups: Groups) -> jax.Array:
    """√(mean d²(x, y) − ½ mean d²(x, x′) − ½ mean d²(y, y′)): ‖μ₁ − μ₂‖ itself."""
    x, y, _ = groups
    between, inside_x, inside_y = (
        jnp.mean(pairwise_distances(a, b) ** 2) for a, b in ((x, y), (x, x), (y, y))
    )
    return jnp.sqrt(jnp.maximum(0, between - (inside_x + inside_y) / 2))


def largest_gap(groups: Groups) -> jax.Array:
    """max over x, y of d(x, y) − ‖x − μ₁‖ − ‖y − μ₂‖; below zero it says nothing."""
    x, y, _ = groups
    gaps = pairwise_distances(x, y) - _from_centre(x)[:, None] - _from_centre(y)
    return jnp.maximum(0, jnp.max(gaps))


def negative_margin(groups: Groups) -> jax.Array:
    """√(mean over a of max(0, max over p of d(a, p) − m)² − var x − var z), p in x as well.

    Of the distance of μ₁ to the centroid of the negative group; m is that of x with itself.
    """
    x, _, z = groups
    own = Groups(x, x, z)
    farthest = jnp.max(pairwise_distances(x, x), axis=1)
    kept = jnp.mean(jnp.maximum(0, farthest - margin(own)) ** 2)
    return jnp.sqrt(jnp.maximum(0, kept - _variance(x) - _variance(z)))


def negative_wasserstein(groups: Groups) -> jax.Array:
    """W₁ of the group and the negative one."""
    return wasserstein_1(groups.x, groups.z)


def medoid_nearest(groups: Groups) -> jax.Array:
    """m + min over n of d(c₁, n)."""
    c = _medoid(groups.x)
    return margin(groups) + jnp.min(_distances_from(c, groups.z))


def medoid_wasserstein(groups: Groups) -> jax.Array:
    """W₁ + mean d(c₁, x) + mean d(c₂, y)."""
    return wasserstein(groups) + _to_medoid(groups.x) + _to_medoid(groups.y)


def medoid_gap(groups: Groups) -> jax.Array:
    """mean d(x, y) − mean d(c₁, x) − mean d(c₂, y); below zero it says nothing."""
    apart = mean_distance(groups) - _to_medoid(groups.x) - _to_medoid(groups.y)
    return jnp.maximum(0, apart)


def between_means(groups: Groups) -> jax.Array:
    """‖μ₁ − μ₂‖."""
    return jnp.linalg.norm(jnp.mean(groups.x, axis=0) - jnp.mean(groups.y, axis=0))


def to_negative_mean(groups: Groups) -> jax.Array:
    """‖μ₁ − μ₃‖."""
    return between_means(Groups(groups.x, groups.z, groups.z))


def between_medoids(groups: Groups) -> jax.Array:
    """‖c₁ − c₂‖."""
    return jnp.linalg.norm(_medoid(groups.x) - _medoid(groups.y))


def all_bounds(groups: Groups) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Name → (bound, what it bounds), of every entry of `BOUNDS`.

    Raises:
      ValueError: a group without objects, or vectors of different lengths.
    """
    chex.assert_rank(list(groups), 2)
    if min(map(len, groups)) == 0:
        raise ValueError(f"groups of {', '.join(str(len(g)) for g in groups)}; each needs objects")
    if len({group.shape[1] for group in groups}) > 1:
        raise ValueError(f"vectors of {', '.join(str(g.shape[1]) for g in groups)} numbers")
    return {name: (entry.bound(groups), entry.true(groups)) for name, entry in BOUNDS.items()}


def violated(name: str, bound: Array, true: Array, tolerance: Array) -> Array:
    """Where a bound is broken by more than rounding: bool, of the shape of `bound`.

    A NaN counts as broken, whichever of the two it is: it is not known to hold.
    """
    upper = BOUNDS[name].upper
    return ~((true <= bound + tolerance) if upper else (true >= bound - tolerance))


def _nearest_negative(groups: Groups) -> jax.Array:
    return jnp.min(pairwise_distances(groups.x, groups.z), axis=1)


def _from_centre(x: jax.Array) -> jax.Array:
    return _distances_from(jnp.mean(x, axis=0), x)


def _distances_from(point: jax.Array, x: jax.Array) -> jax.Array:
    return pairwise_distances(point[None], x)[0]


def _variance(x: jax.Array) -> jax.Array:
    return jnp.mean(_from_centre(x) ** 2)


def _medoid(x: jax.Array) -> jax.Array:
    return medoid({}, x, jnp.ones(len(x), bool))


def _to_medoid(x: jax.Array) -> jax.Array:
    return jnp.mean(_distances_from(_medoid(x), x))


BOUNDS: Mapping[str, Bound] = {
    "theorem": Bound(theorem, between_means, True),
    "margin_and_nearest": Bound(margin_and_nearest, between_means, True),
    "mean_distance": Bound(mean_distance, between_means, True),
    "wasserstein": Bound(wasserstein, between_means, True),
    "from_all_distances": Bound(from_all_distances, between_means, True),
    "largest_gap": Bound(largest_gap, between_means, False),
    "negative_wasserstein": Bound(negative_wasserstein, to_negative_mean, True),
    "negative_margin": Bound(negative_margin, to_negative_mean, False),
    "medoid_theorem": Bound(theorem, between_medoids, True),
    "medoid_nearest": Bound(medoid_nearest, between_medoids, True),
    "medoid_wasserstein": Bound(medoid_wasserstein, between_medoids, True),
    "medoid_gap": Bound(medoid_gap, between_medoids, False),
}
