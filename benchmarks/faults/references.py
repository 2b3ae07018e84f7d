"""Slow float64 versions of what `arrays` calls, from the formulas alone."""

import numpy as np
from scipy import linalg, optimize, special

Array = np.ndarray


def squared_distances(a: Array, b: Array) -> Array:
    """Pair by pair."""
    return np.array([[((x - y) ** 2).sum() for y in b] for x in a])


def pairwise_distances(a: Array, b: Array) -> Array:
    """Pair by pair."""
    return np.sqrt(squared_distances(a, b))


def angle_deg(a: Array, b: Array) -> Array:
    """By the cosine and the sine."""
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    cosine = (a * b).sum(axis=-1)
    return np.degrees(np.arctan2(np.linalg.norm(b - cosine[:, None] * a, axis=-1), cosine))


def wasserstein_1d(x: Array, y: Array) -> float:
    """As a transport problem."""
    return _transport(np.abs(x[:, None] - y))


def _transport(cost: Array) -> float:
    """Exact optimal transport with equal weights, as an assignment of copies."""
    n, m = cost.shape
    copies = np.repeat(np.repeat(cost, m, axis=0), n, axis=1)
    return float(copies[optimize.linear_sum_assignment(copies)].mean())


def sinkhorn(x: Array, y: Array, *, epsilon: float) -> float:
    """Iterated until nothing moves; where that takes long, ε is small, and it is the exact cost."""
    cost, own = squared_distances(x, y), x is y
    f, g = np.zeros(len(cost)), np.zeros(cost.shape[1])
    for _ in range(3_000):
        g = (f + _response(cost, f, epsilon)) / 2 if own else _response(cost.T, f, epsilon)
        moved = np.abs(f - (f := g if own else _response(cost, g, epsilon))).max()
        if moved < 1e-7 * (1 + np.abs(f).max()):
            return float(f.mean() + g.mean())
    return _transport(cost) + epsilon * np.log(max(cost.shape))


def _response(cost: Array, potential: Array, epsilon: float) -> Array:
    exponents = (potential - cost) / epsilon
    return -epsilon * (special.logsumexp(exponents, axis=1) - np.log(cost.shape[1]))


def sinkhorn_divergence(x: Array, y: Array, *, epsilon: float) -> float:
    """Of three transports."""
    own = sinkhorn(x, x, epsilon=epsilon) + sinkhorn(y, y, epsilon=epsilon)
    return sinkhorn(x, y, epsilon=epsilon) - own / 2


def mmd(x: Array, y: Array) -> float:
    """With the Gaussian kernel of width 1."""
    xx, yy, xy = (np.exp(-squared_distances(*p) / 2) for p in ((x, x), (y, y), (x, y)))
    n, m = len(x), len(y)
    within = (xx.sum() - n) / (n * (n - 1)) + (yy.sum() - m) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def frechet_distance(x: Array, y: Array) -> float:
    """By the matrix square root."""
    a, b = (np.cov(z.T) for z in (x, y))
    root = np.real(linalg.sqrtm(a @ b))
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * root))


def precision_recall(x: Array, y: Array) -> Array:
    """Ball by ball, k = 3."""
    cross = squared_distances(x, y)
    reach_x, reach_y = (np.sort(squared_distances(z, z), axis=1)[:, 3] for z in (x, y))
    return np.array(
        [(cross <= reach_x[:, None]).any(axis=0).mean(), (cross <= reach_y).any(axis=1).mean()]
    )


def inception_score(logits: Array) -> float:
    """With 0 log 0 = 0."""
    p = special.softmax(logits, axis=1)
    return float(np.exp(special.rel_entr(p, p.mean(axis=0)).sum(axis=1).mean()))


def batch_norm(x: Array) -> Array:
    """Maps [C, H, W, B] of mean 0 and deviation 1."""
    mean, var = (f(x, axis=(1, 2, 3), keepdims=True) for f in (np.mean, np.var))
    return (x - mean) / np.sqrt(var + 1e-5)
