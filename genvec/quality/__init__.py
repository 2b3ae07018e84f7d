"""How good ONE member's samples are; pure functions, to be vmapped over members.

Symbols: M samples of the member and M' to compare them with · F features · L classes that a
classifier knows · K classes of the mixture. Features are whatever the caller compares: pixels,
codes, or the penultimate layer of a classifier trained here. All estimates err at small M, each in
the way that its docstring says: members are comparable at equal M and M' only. Samples with NaN or
infinite numbers are refused, with their rows; inside of jit and vmap the result is NaN.
"""

from genvec.quality.kernels import KERNELS, mmd
from genvec.quality.labels import class_shares, inception_score, mode_coverage
from genvec.quality.moments import Moments, frechet_distance, gaussian_kl, gaussian_moments
from genvec.quality.neighbours import knn_kl, precision_recall
from genvec.quality.transport import (
    sinkhorn,
    sinkhorn_divergence,
    sliced_wasserstein,
    wasserstein_1d,
)

__all__ = [
    "KERNELS",
    "Moments",
    "class_shares",
    "frechet_distance",
    "gaussian_kl",
    "gaussian_moments",
    "inception_score",
    "knn_kl",
    "mmd",
    "mode_coverage",
    "precision_recall",
    "sinkhorn",
    "sinkhorn_divergence",
    "sliced_wasserstein",
    "wasserstein_1d",
]
