"""Kind "arrays": odd numbers into geometry, quality and objectives, held against slow float64."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.faults import references
from benchmarks.faults.actions import pick
from benchmarks.faults.oracle import Ended, Verdict, attempt, error_outcome, where
from benchmarks.faults.subject import Subject
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


class Input(NamedTuple):
    """Two clouds."""

    told: str
    x: np.ndarray
    y: np.ndarray
    must: str  # "be right", "show" (that it is no number), "be refused", or "end" somehow


def trial(rng: np.random.Generator, subject: Subject, folder: Path) -> Verdict:
    """One call."""
    del folder
    name = pick(rng, sorted(CASES))
    case = CASES[name](rng) if name in OBJECTIVE_NAMES else CASES[name]
    given = _input(rng, case)
    done = f"{name} of {given.told}"
    subject.note(done)
    numpy_too = name in ("pairwise_distances", "squared_distances", "angle_deg", "to_sphere")
    as_given = np.asarray if numpy_too and rng.random() < 0.5 else jnp.asarray
    ended = attempt(
        lambda: jax.tree.map(np.asarray, case.call(as_given(given.x), as_given(given.y)))
    )
    if ended.error is not None:
        outcome = error_outcome(ended.error)
        if outcome == "clear" and given.must == "be right" and _is_ordinary(given):
            return Verdict("silent", done, f"refused, though it is fine: {ended.told()}")
        return Verdict(outcome, done, ended.told() + where(ended.error))
    found = _wrong(case, given, ended)
    if found and ended.said.strip():
        return Verdict("clear", done, ended.told())
    return Verdict("silent" if found else "right", done, found or "as it should be")


def _is_ordinary(given: Input) -> bool:
    return given.told.startswith("ordinary")


def _wrong(case: Case, given: Input, ended: Ended) -> str | None:
    value = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(ended.value)])
    shown = " ".join(f"{v:.4g}" for v in value[:4])
    if given.must == "be refused":
        return f"it is taken, and gives {shown}"
    if given.must == "end":
        return None
    if given.must == "show":
        return f"it is hidden: {shown}" if np.isfinite(value).all() else None
    if not np.isfinite(value).all():
        return f"not finite: {shown}"
    if case.right is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right = np.ravel(case.right(given.x.astype(float), given.y.astype(float)))
    scale = np.abs(right).max() + 1e-3 * max(1.0, np.abs(given.x).max())
    if not np.isfinite(right).all() or np.abs(value - right).max() <= case.tolerance * scale:
        return None
    at = int(np.abs(value - right).argmax())
    return f"{value[at]:.6g}, not {right[at]:.6g}"


def _input(rng: np.random.Generator, case: Case) -> Input:
    m = NUM if case.paired else NUM_OTHER
    x, y = (rng.normal(size=(n, WIDTH)).astype(np.float32) for n in (NUM, m))
    how = pick(rng, sorted(set(ODD) - (set() if case.checked else {"other width", "flat"})))
    return ODD[how](rng, x, y, case)


def _spoilt(value, told, must):
    def spoil(rng, x, y, case):
        target = y if rng.random() < 0.5 and case.both else x
        target[int(rng.integers(len(target))), 0] = value
        return Input(f"points with {told}", x, y, must)

    return spoil


def _minus(rng, x, y, case):
    x[int(rng.integers(len(x))), 0] = -np.inf  # a logit that rules a class out
    return Input("logits of -inf", x, y, "be right" if case is CASES["inception_score"] else "end")


def _repeated(rng, x, y, case):
    x[1:4] = x[0]
    return Input("points of which four are equal", x, y, "be right")


def _shared(rng, x, y, case):
    y[:3] = x[:3]
    return Input("clouds that share three points", x, y, "be right")


def _collapsed(rng, x, y, case):
    x[:] = x[0]
    return Input("a cloud that is one point", x, y, "be right")


def _zeros(rng, x, y, case):
    (x if rng.random() < 0.7 else y)[int(rng.integers(4))] = 0
    return Input("a row of zeros", x, y, "be right")


def _all_zeros(rng, x, y, case):
    x[:] = 0
    return Input("zeros alone", x, y, "be right")


def _far(rng, x, y, case):
    return Input("clouds far apart", x, y + 3.0, "be right")


def _offset(rng, x, y, case):
    shift = np.float32(pick(rng, (100, 1000)))
    return Input(f"points around {shift:g}", x + shift, y + shift, "be right")


def _small(rng, x, y, case):
    return Input("points within 1e-4", x * np.float32(1e-4), y * np.float32(1e-4), "be right")


def _large(rng, x, y, case):
    return Input("points of size 1e4", x * np.float32(1e4), y * np.float32(1e4), "be right")


def _empty(rng, x, y, case):
    return Input("no points", x[:0], y[:0] if case.paired else y, "end" if case.empty else "be refused")


def _single(rng, x, y, case):
    return Input("a single point", x[:1], y[:1] if case.paired else y, "be right")


def _other_width(rng, x, y, case):
    return Input("points of two widths", x, y[:, :3], "be refused" if case.both else "end")


def _flat(rng, x, y, case):
    return Input("a vector in place of points", x[:, 0], y, "be refused")


def _ordinary(rng, x, y, case):
    return Input("ordinary points", x, y, "be right")


ODD: dict[str, Callable[..., Input]] = {
    "nan": _spoilt(np.nan, "a NaN", "show"),
    "nan too": _spoilt(np.nan, "a NaN", "show"),
    "infinite": _spoilt(np.inf, "an infinity", "end"),
    "minus": _minus,
    "repeated": _repeated,
    "shared": _shared,
    "collapsed": _collapsed,
    "zeros": _zeros,
    "all zeros": _all_zeros,
    "far": _far,
    "offset": _offset,
    "small": _small,
    "large": _large,
    "empty": _empty,
    "single": _single,
    "other width": _other_width,
    "flat": _flat,
    "ordinary": _ordinary,
}


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
        objective = make_group_objective(name, WIDTH, 4, options)
        kind = pick(rng, ("mixed", "one", "all different"))
        group = {"mixed": lambda n: np.arange(n) % 3, "one": lambda n: np.zeros(n, int)}.get(
            kind, lambda n: np.arange(n) % 4
        )
        params, state = objective.init(jax.random.key(0)), objective.start()

        def call(x, y):
            labels = jnp.asarray(group(len(x)), jnp.int32)

            def loss(x, y):
                batch = GroupBatch(x, labels, y if objective.two_views else None)
                return objective.loss(params, state, batch)[0]

            return jax.value_and_grad(loss)(x, y)

        return Case(call, paired=True, both=objective.two_views)

    return make


EPSILON = 0.5
CASES: dict[str, Any] = {
    "squared_distances": Case(
        geometry.squared_distances, references.squared_distances, checked=False, empty=True
    ),
    "pairwise_distances": Case(
        geometry.pairwise_distances, references.pairwise_distances, checked=False, empty=True
    ),
    "angle_deg": Case(
        geometry.angle_deg, references.angle_deg, paired=True, checked=False, empty=True
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
    ),
    "batch_norm": Case(_norm, _norm_right, 1e-2, both=False, checked=False, empty=True),
    **{name: _objective(name) for name in OBJECTIVES},
    **{f"groups: {name}": _group_objective(name) for name in GROUP_OBJECTIVES},
}
OBJECTIVE_NAMES = {name for name in CASES if not isinstance(CASES[name], Case)}
