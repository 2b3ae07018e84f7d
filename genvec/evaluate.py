"""How well embeddings tell what data the members learned. In numpy float64, on unseen members."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from genvec.geometry import angle_deg, to_simplex, to_sphere
from genvec.keys import random_cycle

MAX_PAIRS = 2_000_000  # beyond (2,000 members) a drawn subset: rank correlation to ± 0.001
LABEL_GRID = np.unique(np.geomspace(1, 1e6, 73).round().astype(int))  # 12 a decade
LEAK_ROWS = 8192  # simulated members a grid point: the mean angle to about 1 %


class Predictions(NamedTuple):
    """An encoder's or a control's answers on test members."""

    embeddings: np.ndarray  # [n, K] on the positive orthant of the unit sphere
    mixtures: np.ndarray  # [n, K] true proportions
    triplets: np.ndarray | None = None  # [R, 3, K] embeddings of members of D1, D2 and D1 + D2
    triplet_mixtures: np.ndarray | None = None  # [R, 3, K] their true proportions


class LeakCurve(NamedTuple):
    """Mean angle between a member's mixture and the proportions of labels drawn from it."""

    num_labels: np.ndarray  # [G] increasing
    angle_deg: np.ndarray  # [G] never increasing


def leak_curve(mixtures: np.ndarray, *, seed: int) -> LeakCurve:
    """Simulates the curve that `n_leaked` reads; once for a set of mixtures, for all its encoders.

    Multinomial draws on a geometric grid of 1 to 10⁶ labels; made monotone by isotonic regression,
    since single mixtures (½, ½: two labels beat three) and the simulation's noise are not.

    Args:
      mixtures: [n, K] proportions.
      seed: of the draws.
    """
    repeats = -(-LEAK_ROWS // len(mixtures))
    proportions = np.repeat(to_simplex(np.asarray(mixtures, np.float64)), repeats, axis=0)
    generator = np.random.default_rng(seed)
    angles = [
        angle_deg(generator.multinomial(num, proportions), proportions).mean() for num in LABEL_GRID
    ]
    return LeakCurve(LABEL_GRID, isotonic_regression(angles, increasing=False).x)


def n_leaked(curve: LeakCurve, mean_angle_deg: float) -> float:
    """The number of labelled draws from the true mixture that err by the same mean angle.

    Makes errors comparable across K and data sets. Log-log interpolation of the curve, clamped to
    its ends: 1 for an angle not below that of one label, 10⁶ for one not above that of 10⁶ labels.
    Reference: after Suri & Evans 2021, arXiv 2109.06024 (n_leaked).
    """
    if mean_angle_deg >= curve.angle_deg[0]:
        return float(curve.num_labels[0])
    if mean_angle_deg <= curve.angle_deg[-1]:
        return float(curve.num_labels[-1])
    angles = np.log(np.maximum(curve.angle_deg, np.finfo(float).tiny))
    labels = np.interp(np.log(mean_angle_deg), angles[::-1], np.log(curve.num_labels)[::-1])
    return float(np.exp(labels))


def compose(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The embedding of the union of two equally large data sets, from their embeddings [.., K].

    Both are scaled to proportions, averaged there, and the mean goes back to the sphere. It is not
    the literal sum, which weighs a pure mixture less than its share: (1, 0) + (½, ½)/‖·‖ is not on
    the ray of (¾, ¼). `composition` measures both.
    """
    return to_sphere((to_simplex(first) + to_simplex(second)) / 2)


def angles(predictions: Predictions, curve: LeakCurve, seed: int) -> dict[str, float]:
    """Angle between x_i and d_i in degrees, and |p̂ − p| averaged over members and classes."""
    embeddings, mixtures = predictions.embeddings, predictions.mixtures
    angle = angle_deg(embeddings, mixtures)
    return {
        "angle_deg_mean": float(angle.mean()),
        "angle_deg_median": float(np.median(angle)),
        "mixture_mae": float(np.abs(to_simplex(embeddings) - mixtures).mean()),
    }


def distances(predictions: Predictions, curve: LeakCurve, seed: int) -> dict[str, float]:
    """‖x_i − x_j‖ of pairs of models against ‖d_i − d_j‖: Spearman and mean absolute difference.

    All pairs i < j up to `MAX_PAIRS`, else that many drawn with replacement by the seed. The rank
    correlation of a constant (all embeddings equal, or a single pair) is undefined: 0 here.
    """
    num = len(predictions.embeddings)
    if num * (num - 1) // 2 <= MAX_PAIRS:
        first, second = np.triu_indices(num, 1)
    else:
        generator = np.random.default_rng(seed)
        first = generator.integers(num, size=MAX_PAIRS)
        second = (first + generator.integers(1, num, size=MAX_PAIRS)) % num
    models, data_sets = (
        np.linalg.norm(x[first] - x[second], axis=1)
        for x in (predictions.embeddings, to_sphere(predictions.mixtures))
    )
    constant = np.ptp(models) == 0 or np.ptp(data_sets) == 0
    ranks = np.stack([rankdata(models), rankdata(data_sets)])
    return {
        "distance_spearman": 0.0 if constant else float(np.corrcoef(ranks)[0, 1]),
        "distance_mae": float(np.abs(models - data_sets).mean()),
    }


def retrieval(predictions: Predictions, curve: LeakCurve, seed: int) -> dict[str, float]:
    """Rank of the own dataset vector among all test dataset vectors, by cosine similarity to x_i.

    Ties count against the encoder: the rank is the number of dataset vectors at least as similar,
    its own included. So a constant gets R@1 ≤ 1/n, and equal mixtures take rank 2 even at best.
    Unit vectors are as near as they are similar; the distance resolves what the cosine rounds off.
    """
    squared = cdist(predictions.embeddings, to_sphere(predictions.mixtures), "sqeuclidean")
    found = retrieved(squared)
    return {"retrieval_r1": found["r1"], "retrieval_mrr": found["mrr"]}


def retrieved(distances: np.ndarray) -> dict[str, float]:
    """R@1, R@5 and mean reciprocal rank where item i is what query i asks for.

    Args:
      distances: [n, n] from queries (rows) to items; ties, and NaN, count against the query.
    """
    rank = (~(distances > np.diagonal(distances)[:, None])).sum(axis=1)
    return {
        "r1": float((rank == 1).mean()),
        "r5": float((rank <= 5).mean()),
        "mrr": float((1 / rank).mean()),
    }


def single_classes(predictions: Predictions, curve: LeakCurve, seed: int) -> dict[str, float]:
    """How often the largest share is that of the member's class; empty unless each has but one."""
    if not (predictions.mixtures.max(axis=1) == 1).all():
        return {}
    right = np.argmax(predictions.embeddings, axis=1) == np.argmax(predictions.mixtures, axis=1)
    return {"class_accuracy": float(right.mean())}


def leakage(predictions: Predictions, curve: LeakCurve, seed: int) -> dict[str, float]:
    """`n_leaked` at the mean angle of these predictions."""
    angle = angle_deg(predictions.embeddings, predictions.mixtures).mean()
    return {"n_leaked": n_leaked(curve, float(angle))}


def composition(predictions: Predictions, curve: LeakCurve, seed: int) -> dict[str, float]:
    """Angles in degrees to the embedding x_3 of the member of D1 + D2; empty without triplets.

    `composition`: of `compose(x_1, x_2)`, the vector of the mean proportions; `.._random`: the same
    with the second part of another triplet (`strangers`). `composition_sum`: of the literal sum
    x_1 + x_2, normalised; `.._sum_random` likewise; `.._sum_exact`: of that sum of exact dataset
    vectors d_1 + d_2 to d_3. An encoder without any error would have the last one; the mean of
    exact proportions has no error.
    """
    if predictions.triplets is None:
        return {}
    first, second, union = np.moveaxis(predictions.triplets, 1, 0)
    stranger = strangers(second, seed)
    angle, of_sum = angle_deg(compose(first, second), union), angle_deg(first + second, union)
    metrics = {
        "composition_deg_mean": float(angle.mean()),
        "composition_deg_median": float(np.median(angle)),
        "composition_random_deg_mean": float(angle_deg(compose(first, stranger), union).mean()),
        "composition_sum_deg_mean": float(of_sum.mean()),
        "composition_sum_deg_median": float(np.median(of_sum)),
        "composition_sum_random_deg_mean": float(angle_deg(first + stranger, union).mean()),
    }
    if predictions.triplet_mixtures is not None:
        d_1, d_2, d_3 = np.moveaxis(to_sphere(predictions.triplet_mixtures), 1, 0)
        metrics["composition_sum_exact_deg_mean"] = float(angle_deg(d_1 + d_2, d_3).mean())
    return metrics


def strangers(parts: np.ndarray, seed: int) -> np.ndarray:
    """Rows [R, ..] in a random cycle by the seed: none keeps its place, R ≥ 2.

    The random partner wherever there is one: here, in `genvec.matching` and on the report's page.
    """
    return parts[random_cycle(len(parts), seed)]


EVALUATIONS: Mapping[str, Callable[[Predictions, LeakCurve, int], dict[str, float]]] = {
    "angles": angles,
    "distances": distances,
    "retrieval": retrieval,
    "leakage": leakage,
    "composition": composition,
    "single_classes": single_classes,
}


def evaluate(predictions: Predictions, curve: LeakCurve, *, seed: int) -> dict[str, float]:
    """Every evaluation in one dict; the composition keys are left out where there are no triplets.

    Args:
      predictions: of test members, at least two, and at least two triplets if any.
      curve: `leak_curve` of the same mixtures.
      seed: of the pairs drawn beyond `MAX_PAIRS` and of the random partners.

    Raises:
      ValueError: shapes that do not fit, rows that are not finite, negative or zero, or mixtures
        that are not proportions; the message names the row.
    """
    checked = _checked(predictions)
    metrics: dict[str, float] = {}
    for evaluate_fn in EVALUATIONS.values():
        metrics |= evaluate_fn(checked, curve, seed)
    return metrics


def _checked(predictions: Predictions) -> Predictions:
    """The same in float64, embeddings of exactly unit length."""
    embeddings = np.asarray(predictions.embeddings, np.float64)
    mixtures = np.asarray(predictions.mixtures, np.float64)
    if embeddings.ndim != 2 or embeddings.shape != mixtures.shape or len(mixtures) < 2:
        raise ValueError(
            f"embeddings {embeddings.shape} and mixtures {mixtures.shape} "
            "must both be [n, K] with n ≥ 2"
        )
    _check_rows("embeddings", embeddings)
    _check_rows("mixtures", mixtures)
    if np.any(off := np.abs(mixtures.sum(axis=1) - 1) > 1e-4):
        raise ValueError(f"mixtures row {np.argmax(off)} does not sum to one")
    if predictions.triplets is None:
        return Predictions(to_sphere(embeddings), to_simplex(mixtures))
    triplets = np.asarray(predictions.triplets, np.float64)
    if triplets.shape[1:] != (3, mixtures.shape[1]) or len(triplets) < 2:
        raise ValueError(f"triplets {triplets.shape} must be [R, 3, {mixtures.shape[1]}], R ≥ 2")
    _check_rows("triplets", triplets)
    exact = predictions.triplet_mixtures
    if exact is not None:
        exact = np.asarray(exact, np.float64)
        if exact.shape != triplets.shape:
            raise ValueError(f"triplet_mixtures {exact.shape} must be those of {triplets.shape}")
        _check_rows("triplet_mixtures", exact)
    return Predictions(to_sphere(embeddings), to_simplex(mixtures), to_sphere(triplets), exact)


def _check_rows(name: str, x: np.ndarray) -> None:
    flat = x.reshape(len(x), -1)
    zero = ~x.any(axis=-1).reshape(len(x), -1).all(axis=1)
    for fault, bad in (
        ("not finite", ~np.isfinite(flat).all(axis=1)),
        ("negative", (flat < 0).any(axis=1)),
        ("zero", zero),
    ):
        if bad.any():
            raise ValueError(f"{name} row {np.argmax(bad)} is {fault} ({bad.sum()} such rows)")
