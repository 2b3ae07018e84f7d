"""What a claim must beat: mixtures predicted from features by plain means, fitted on train only.

Every control has the skeleton `fn(train, val, features [n, P]) → [n, K]` on the positive orthant of
the unit sphere; what it has to choose it chooses by the mean angle on `val`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.linalg
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from genvec import trees
from genvec.geometry import angle_deg, to_sphere
from genvec.types import NotFiniteError, Params, State

ALPHAS = np.logspace(6, -2, 9)  # eigenvalues of standardised features average max(n, P) ≈ 10³–10⁴
CLASSIFIED = 500  # generated images at once: a ResNet takes 1.7 times as long with 5,000
ROWS, COLUMNS = 256, 4_096  # of features that ridge holds in double precision at once
BOOSTING: dict[str, Any] = {
    "max_iter": 400,  # the most rounds; how many are used is chosen on val
    "max_leaf_nodes": 15,  # half of the default, and a quarter of the bins: as good in a third
    "max_bins": 63,  # of the time
    "early_stopping": False,
    "random_state": 0,
}


class Labelled(NamedTuple):
    """Members with known mixtures."""

    features: np.ndarray  # [n, P]
    mixtures: np.ndarray  # [n, K] proportions


def sampled_proportions(
    keys: jax.Array,
    params: Params,
    state: State,
    *,
    sample: Callable[..., jax.Array],
    classify: Callable[[jax.Array], jax.Array],
    num_samples: int,
) -> np.ndarray:
    """Generates images with each member, classifies them and counts: proportions [n, K].

    Args:
      keys: [n], a stream of noise for each member.
      params, state: of n members, leading axis n.
      sample: the family's, (params, state, key, num) → images [num, H, W, C].
      classify: images in [0, 1] → logits [num, K].
      num_samples: images a member.

    Raises:
      NotFiniteError: images, and so their logits, of a member are not finite; names its row.
    """

    draw = jax.jit(lambda key, params, state: sample(params, state, key, num_samples))
    logits_fn = jax.jit(classify)
    starts = range(0, num_samples, CLASSIFIED)

    def count(i):
        x = draw(*trees.take((keys, params, state), i))
        logits = np.concatenate([logits_fn(x[i : i + CLASSIFIED]) for i in starts])
        if not np.isfinite(logits).all():  # argmax would take a NaN for the answer
            raise NotFiniteError(
                f"images that member {i} of these {len(keys)} generates have logits that are not "
                "finite, so their classes cannot be counted"
            )
        return np.bincount(np.argmax(logits, axis=1), minlength=logits.shape[1]) / num_samples

    return np.stack([count(i) for i in range(len(keys))])


def project_to_sphere(x: np.ndarray) -> np.ndarray:
    """Any numbers [.., K] → the positive orthant of the unit sphere; rows ≤ 0 → its middle.

    Raises:
      ValueError: a row is not finite; the message names it.
    """
    _check_finite("predictions", x)
    return to_sphere(np.maximum(x, 1e-9))  # the floor is 6e-8 degrees


def constant(train: Labelled, val: Labelled, features: np.ndarray) -> np.ndarray:
    """The normalised mean of the train members' dataset vectors, whatever the features."""
    mean = to_sphere(np.asarray(train.mixtures, np.float64)).mean(axis=0)
    return np.tile(project_to_sphere(mean), (len(features), 1))


def raw(train: Labelled, val: Labelled, features: np.ndarray) -> np.ndarray:
    """The features themselves, P = K, as proportions: class counts of classified samples."""
    if features.shape[1] != train.mixtures.shape[1]:
        raise ValueError(f"{features.shape[1]} features for {train.mixtures.shape[1]} classes")
    return project_to_sphere(np.asarray(features, np.float64))


def ridge(train: Labelled, val: Labelled, features: np.ndarray) -> np.ndarray:
    """Ridge regression on standardised features to dataset vectors or to proportions.

    The penalty and which of the two targets are chosen on val. On class counts of samples this is
    their calibration, the linear inverse of the classifier's confusions.
    """
    _check_features(train, val, features)
    mean, std = trees.mean_and_std(train.features)
    scale = np.where(std > 1e-6 * np.abs(mean), std, np.inf)  # constant columns carry nothing
    x, x_val, x_new = (
        Standardised(f, mean, scale) for f in (train.features, val.features, features)
    )
    targets = np.stack([to_sphere(train.mixtures), train.mixtures]).astype(np.float64)
    offset = targets.mean(axis=1)  # [2, K]
    centred = np.concatenate([*(targets - offset[:, None])], axis=1)  # [n, 2K]: solved together
    weights = ridge_weights(x, centred, ALPHAS)

    def predictions(x: Standardised) -> np.ndarray:  # [n, A, 2, K]
        return x.times(weights).reshape(len(x.features), len(ALPHAS), *offset.shape) + offset

    angles = angle_deg(project_to_sphere(predictions(x_val)), val.mixtures[:, None, None])
    best = np.unravel_index(np.argmin(angles.mean(axis=0)), angles.shape[1:])
    return project_to_sphere(predictions(x_new)[:, *best])


class Standardised(NamedTuple):
    """x = (features − mean) / scale in double precision, but never all of it at once."""

    features: np.ndarray  # [n, P]
    mean: np.ndarray  # [P]
    scale: np.ndarray  # [P]

    def rows(self) -> Iterator[np.ndarray]:
        """x, `ROWS` rows at a time."""
        for i in range(0, len(self.features), ROWS):
            yield (self.features[i : i + ROWS] - self.mean) / self.scale

    def columns(self) -> Iterator[np.ndarray]:
        """x, `COLUMNS` columns at a time."""
        for i in range(0, self.features.shape[1], COLUMNS):
            part = slice(i, i + COLUMNS)
            yield (self.features[:, part] - self.mean[part]) / self.scale[part]

    def times(self, weights: np.ndarray) -> np.ndarray:
        """x @ weights."""
        return np.concatenate([rows @ weights for rows in self.rows()])


def ridge_weights(x: Standardised, y: np.ndarray, alphas: Iterable[float]) -> np.ndarray:
    """argmin_W ‖x W − y‖² + α‖W‖² for each α: x [n, P], y [n, T] centred → [P, A · T], α by α.

    Through the smaller of the two Gram matrices, formed once, and a Cholesky factorisation for each
    α: at n = 6,400 one takes 1.6 s, an eigendecomposition that would serve all α 32 s.
    """
    dual = len(y) < x.features.shape[1]
    if dual:
        gram: Any = sum(part @ part.T for part in x.columns())
        right = y
    else:
        gram = sum(part.T @ part for part in x.rows())
        starts = range(ROWS, len(y), ROWS)
        right = sum(p.T @ q for p, q in zip(x.rows(), np.split(y, starts), strict=True))
    diagonal = np.diagonal(gram).copy()
    solutions = []
    for alpha in alphas:
        np.fill_diagonal(gram, diagonal + alpha)
        factor = scipy.linalg.cho_factor(gram, check_finite=False)
        solutions.append(scipy.linalg.cho_solve(factor, right, check_finite=False))
    solution = np.concatenate(solutions, axis=1)
    return np.concatenate([part.T @ solution for part in x.columns()]) if dual else solution


def boosted(train: Labelled, val: Labelled, features: np.ndarray) -> np.ndarray:
    """Gradient-boosted trees to dataset vectors, a model per class; the number of rounds by val."""
    _check_features(train, val, features)
    stages_val, stages_new = [], []
    for target in to_sphere(np.asarray(train.mixtures, np.float64)).T:
        model = HistGradientBoostingRegressor(**BOOSTING)
        # trees this small: threads wait for one another, on a busy machine 10 times as long
        with threadpool_limits(1, user_api="openmp"):
            model.fit(train.features, target)
            stages_val.append(list(model.staged_predict(val.features)))
            stages_new.append(list(model.staged_predict(features)))
    angles = angle_deg(project_to_sphere(np.stack(stages_val, axis=-1)), val.mixtures).mean(axis=1)
    return project_to_sphere(np.stack(stages_new, axis=-1)[np.argmin(angles)])


def _check_features(train: Labelled, val: Labelled, features: np.ndarray) -> None:
    for name, x in (("train", train.features), ("val", val.features), ("new", features)):
        if not len(x):
            raise ValueError(f"there are no {name} members: a control is fitted, chosen and tested")
        _check_finite(f"{name} features", x)


def _check_finite(name: str, x: np.ndarray) -> None:
    bad = ~np.isfinite(x.reshape(-1, x.shape[-1])).all(axis=1)
    if bad.any():
        raise ValueError(f"{name} row {np.argmax(bad)} is not finite ({bad.sum()} such rows)")


CONTROLS: Mapping[str, Callable[[Labelled, Labelled, np.ndarray], np.ndarray]] = {
    "constant": constant,
    "raw": raw,
    "ridge": ridge,
    "boosted": boosted,
}

# representation → the control's name in the tables, and which of CONTROLS is fitted on it
FITTED_CONTROLS = {
    "flat": ("ridge on flat", "ridge"),
    "statistics": ("boosted on statistics", "boosted"),
    "moments": ("ridge on moments", "ridge"),
    "aligned": ("ridge on aligned", "ridge"),
    "graph": ("ridge on untrained graph", "ridge"),
    "samples": ("ridge on features of samples", "ridge"),
    "reconstruction": ("ridge on reconstruction errors", "ridge"),
    "pixels": ("ridge on pixels of samples", "ridge"),
}
