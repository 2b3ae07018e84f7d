"""Classes as points: embed each one, choose the K farthest apart."""

import itertools
import math
from collections.abc import Sequence
from functools import partial

import chex
import numpy as np

from genvec.validity import check_labels

MAX_SUBSETS = 20_000  # enumerated in about a second; covers every choice among up to 16 classes


def class_embeddings(embeddings: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Mean embedding of each class, float64 [L, D], from embeddings [M, D] and labels int [M].

    Raises:
      ValueError: labels that are no integers in 0..L-1, or a class has no image.
    """
    check_labels(labels, len(embeddings), num_classes, "classes to embed")
    counts = np.bincount(labels, minlength=num_classes)
    if not counts.all():
        raise ValueError(f"labels must hold all of 0..{num_classes - 1}; images a class: {counts}")
    sums = np.zeros((num_classes, embeddings.shape[1]))
    np.add.at(sums, labels, embeddings)
    return sums / counts[:, None]


def distance_matrix(embeddings: np.ndarray) -> np.ndarray:
    """Euclidean distances [L, L] between embeddings [L, D]; symmetric, zeros on the diagonal."""
    return np.stack([np.linalg.norm(embeddings - row, axis=1) for row in embeddings])


def farthest_classes(distances: np.ndarray, num_classes: int) -> tuple[int, ...]:
    """The K classes whose smallest pairwise distance is largest, in ascending order.

    Ties go to the larger sum of pairwise distances, then to the lexicographically first subset.
    Exact, by enumeration, up to `MAX_SUBSETS` subsets. Beyond that greedy: from the farthest pair,
    add the class farthest from the chosen ones, then swap a chosen class for another while that
    helps; for a metric, the smallest distance is at least half of the best possible one.
    Reference: Ravi, Rosenkrantz & Tayi 1994, "Heuristic and special case algorithms for dispersion
    problems" (the bound of the greedy choice; swaps only improve on it).

    Args:
      distances: [L, L], symmetric.
      num_classes: K, in 2..L.

    Raises:
      ValueError: K is out of range, or the distances are not a finite symmetric matrix.
    """
    distances = np.asarray(distances, np.float64)
    chex.assert_shape(distances, (len(distances), len(distances)))
    if not np.isfinite(distances).all() or not np.allclose(distances, distances.T):
        raise ValueError("distances must be finite and symmetric")
    total = len(distances)
    if not 2 <= num_classes <= total:
        raise ValueError(f"num_classes={num_classes} must lie in 2..{total}, the number of classes")
    score = partial(_dispersion, distances)
    if math.comb(total, num_classes) <= MAX_SUBSETS:
        return max(itertools.combinations(range(total), num_classes), key=score)  # first of equals
    chosen = max(itertools.combinations(range(total), 2), key=score)
    while len(chosen) < num_classes:
        rest = (c for c in range(total) if c not in chosen)
        chosen = max((tuple(sorted((*chosen, c))) for c in rest), key=score)
    while True:
        swaps = (
            tuple(sorted({*chosen, new} - {old}))
            for old in chosen
            for new in range(total)
            if new not in chosen
        )
        best = max(swaps, key=score)
        if score(best) <= score(chosen):
            return chosen
        chosen = best


def _dispersion(distances: np.ndarray, subset: Sequence[int]) -> tuple[float, float]:
    """(smallest, sum) of a subset's pairwise distances; fsum, so that equal sums stay equal."""
    pairs = [distances[i, j] for i, j in itertools.combinations(subset, 2)]
    return min(pairs), math.fsum(pairs)
