"""What is called with odd points: measures, norms and objectives, and what is right of each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.faults import references
from benchmarks.faults.actions import pick
from genvec import geometry, quality
from genvec.networks.pairs.normal import batch_norm
from genvec.objectives import GROUP_OBJECTIVES, OBJECTIVES, GroupBatch, make_group_objective

NUM, NUM_OTHER, WIDTH = 12, 8, 4


class Case(NamedTuple):
    """A function of two clouds of points."""

    call: Callable[[Any, Any], Any]  # (x [M, F], y [M', F]) → numbers
    right: Callable[[np.ndarray, np.ndarray], Any] | None = None  # in float64; None: finite is all
    tolerance: float = 2e-3
    paired: bool = False  # row i belongs to row i
    both: bool = True  # y is read, too
    checked: bool = True  # it looks at shapes; what only others of ours call need not
    empty: bool = False  # of no points there is a result
    logits: bool = False  # x are logits, where −∞ means something
    zeros: bool = True  # there is one of a row of zeros
    floor: float = 1e-3  # beside the largest value, what the tolerance is a part of


def _frechet(x, y):
    return quality.frechet_distance(quality.gaussian_moments(x), quality.gaussian_moments(y))


def _norm(x, y):
    maps = x.T[:, None, None, :]
    params = {"scale": jnp.ones(len(maps)), "bias": jnp.zeros(len(maps))}
    stats = {"mean": jnp.zeros(len(maps)), "var": jnp.ones(len(maps))}
    return batch_norm(params, stats, maps, True)[0]


def _norm_right(x, y):
    return references.batch_norm(x.T[:, None, None, :])


def _objective(name: str) -> Callable[[np.random.Generator], Case]:
    """Value and gradient of an objective of embeddings and targets."""

    def make(rng):
        fn = OBJECTIVES[name]
        return Case(jax.value_and_grad(fn, argnums=(0, 1)), paired=True)

    return make


def _group_objective(name: str) -> Callable[[np.random.Generator], Case]:
    """Value and gradient of an objective of objects and groups, of all kinds of batches."""

    def make(rng):
        options = {}
        if name == "gaussian_triplet":
            options = {"log_variance_bound": pick(rng, (1.0, 3.0, 100.0, 1000.0))}
        kind = pick(rng, ("mixed", "one", "all different"))
        group = {"mixed": lambda n: np.arange(n) % 3, "one": lambda n: np.zeros(n, int)}.get(
            kind, lambda n: np.arange(n) % 4
        )

        def call(x, y):
            objective = make_group_objective(name, WIDTH, 4, options)
            params, state = objective.init(jax.random.key(0)), objective.start()
            labels = jnp.asarray(group(len(x)), jnp.int32)

            def loss(x, y):
                batch = GroupBatch(x, labels, y if objective.two_views else None)
                return objective.loss(params, state, batch)[0]

            return jax.value_and_grad(loss)(x, y)

        two_views = make_group_objective(name, WIDTH, 4, {}).two_views
        return Case(call, paired=True, both=two_views)

    return make


EPSILON = 0.5
FIXED: dict[str, Case] = {
    "squared_distances": Case(
        geometry.squared_distances, references.squared_distances, checked=False, empty=True
    ),
    "pairwise_distances": Case(
        geometry.pairwise_distances, references.pairwise_distances, checked=False, empty=True
    ),
    "angle_deg": Case(
        geometry.angle_deg,
        references.angle_deg,
        paired=True,
        checked=False,
        empty=True,
        zeros=False,
    ),
    "wasserstein_1d": Case(
        lambda x, y: quality.wasserstein_1d(x[:, 0], y[:, 0]),
        lambda x, y: references.wasserstein_1d(x[:, 0], y[:, 0]),
        checked=False,
    ),
    "sliced_wasserstein": Case(lambda x, y: quality.sliced_wasserstein(jax.random.key(0), x, y)),
    "sinkhorn": Case(
        lambda x, y: quality.sinkhorn(x, y, epsilon=EPSILON),
        lambda x, y: references.sinkhorn(x, y, epsilon=EPSILON),
    ),
    "sinkhorn_divergence": Case(
        lambda x, y: quality.sinkhorn_divergence(x, y, epsilon=EPSILON),
        lambda x, y: references.sinkhorn_divergence(x, y, epsilon=EPSILON),
    ),
    "mmd": Case(quality.mmd, references.mmd),
    "knn_kl": Case(quality.knn_kl),
    "precision_recall": Case(quality.precision_recall, references.precision_recall),
    "frechet_distance": Case(_frechet, references.frechet_distance, 1e-2),
    "inception_score": Case(
        lambda x, y: quality.inception_score(x),
        lambda x, y: references.inception_score(x),
        both=False,
        logits=True,
    ),
    "batch_norm": Case(_norm, _norm_right, 1e-2, both=False, checked=False, empty=True, floor=1.0),
}


def _always(case: Case) -> Callable[[np.random.Generator], Case]:
    return lambda rng: case


# name → the case, of which some are drawn
CASES: dict[str, Callable[[np.random.Generator], Case]] = {
    **{name: _always(case) for name, case in FIXED.items()},
    **{name: _objective(name) for name in OBJECTIVES},
    **{f"groups: {name}": _group_objective(name) for name in GROUP_OBJECTIVES},
}
