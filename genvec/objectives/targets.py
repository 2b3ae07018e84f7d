"""What trains an encoder: embeddings and dataset vectors of one batch → a scalar to minimise.

Every objective has the skeleton `fn(embeddings [B, D], targets [B, D], *, options) → scalar`. Row i
of `targets` is the dataset vector d_i of the member whose embedding x_i is row i of `embeddings`;
both lie on the unit sphere. Options are Python numbers, not traced.
"""

import inspect
from collections.abc import Callable, Mapping

import chex
import jax
import jax.numpy as jnp

from genvec.arguments import check_number, is_number
from genvec.geometry import pairwise_distances, squared_distances
from genvec.registry import lookup

Objective = Callable[[jax.Array, jax.Array], jax.Array]


def n_pair(embeddings: jax.Array, targets: jax.Array, *, temperature: float = 1.0) -> jax.Array:
    """Mean over i of log(1 + Σ_{j≠i} exp((x_i·d_j − x_i·d_i) / temperature)).

    The positive of x_i is its own d_i, the other d_j of the batch are its negatives; temperature 1
    is the textbook form. Computed as a log softmax, which does not overflow.
    Reference: Sohn 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective",
    eq. 6.

    Raises:
      ValueError: a batch of one, or a temperature that is not positive.
    """
    _check(embeddings, targets, min_batch=2)
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    similarity = embeddings @ targets.T / temperature
    return -jnp.mean(jnp.diagonal(jax.nn.log_softmax(similarity, axis=1)))


def cosine(embeddings: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean of 1 − cos(x_i, d_i); 1 − cos because a loss must fall as the two come together.

    A vector of zeros has no direction: its cosine counts as 0, and its gradient, that of −x·d / √D,
    leads to d.
    """
    _check(embeddings, targets)
    return jnp.mean(1 - jnp.sum(_directions(embeddings) * _directions(targets), axis=1))


def triplet(embeddings: jax.Array, targets: jax.Array, *, margin: float = 0.2) -> jax.Array:
    """Mean over i of max(0, ‖x_i − d_i‖² − min_{j≠i} ‖x_i − d_j‖² + margin).

    Own dataset vector against the hardest negative of the batch: the other member's vector that
    lies nearest to x_i. Two members of one mixture cost the margin at any x, without a gradient.
    Reference: Schroff et al. 2015, arXiv 1503.03832, eq. 3 (margin 0.2 is theirs).

    Raises:
      ValueError: a batch of one, which has no negative.
    """
    _check(embeddings, targets, min_batch=2)
    squared = squared_distances(embeddings, targets)
    own = jnp.eye(len(squared), dtype=bool)
    hardest = jnp.min(jnp.where(own, jnp.inf, squared), axis=1)
    return jnp.mean(jnp.maximum(0, jnp.diagonal(squared) - hardest + margin))


def mse(embeddings: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over the batch of ‖x_i − d_i‖², summed over D."""
    _check(embeddings, targets)
    return jnp.mean(jnp.sum((embeddings - targets) ** 2, axis=1))


def distance(embeddings: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over pairs i < j of (‖x_i − x_j‖ − ‖d_i − d_j‖)²: models as far apart as data sets.

    Blind to rotation and reflection of all embeddings together, so usually summed with another.

    Raises:
      ValueError: a batch of one, which has no pair.
    """
    _check(embeddings, targets, min_batch=2)
    gap = pairwise_distances(embeddings, embeddings) - pairwise_distances(targets, targets)
    num = len(gap)
    return jnp.sum(gap**2) / (num * (num - 1))  # symmetric with a zero diagonal: each pair twice


def weighted_sum(terms: Mapping[str, float | Mapping[str, float]]) -> Objective:
    """Sums `{"n_pair": {"weight": 1.0, "temperature": 0.1}, "mse": 0.5}`.

    Args:
      terms: name → weight, or name → options, of which `weight` (default 1) is one.

    Returns:
      (embeddings [B, D], targets [B, D]) → scalar.

    Raises:
      KeyError: an unknown objective; the message lists the known ones.
      ValueError: no terms, an option that the objective does not have, or a weight that is negative
        or not finite.
    """
    if not terms:
        raise ValueError(f"no objective given; known: {', '.join(sorted(OBJECTIVES))}")
    parts = []
    for name, given in terms.items():
        fn = lookup(OBJECTIVES, name, kind="objective")
        options = dict(given) if isinstance(given, Mapping) else {"weight": given}
        allowed = {"weight", *inspect.getfullargspec(fn).kwonlyargs}
        if unknown := sorted(set(options) - allowed):
            raise ValueError(
                f"objective {name!r} has no option {', '.join(unknown)}; "
                f"it has: {', '.join(sorted(allowed))}"
            )
        weight = options.pop("weight", 1.0)
        check_number(**options)
        if not (is_number(weight) and weight >= 0):
            raise ValueError(f"objective {name!r}: weight must be finite and ≥ 0, not {weight}")
        parts.append((weight, fn, options))

    def objective_fn(embeddings: jax.Array, targets: jax.Array) -> jax.Array:
        values = [weight * fn(embeddings, targets, **options) for weight, fn, options in parts]
        return jnp.sum(jnp.stack(values))

    return objective_fn


def objective_name(terms: Mapping[str, float | Mapping[str, float]]) -> str:
    """The terms' names joined in the order given: "n_pair+mse"."""
    return "+".join(terms)


def _directions(x: jax.Array) -> jax.Array:
    """`to_sphere` of rows [B, D], but x / √D of a row of zeros."""
    zero = jnp.sum(x**2, axis=1, keepdims=True) == 0
    return x / jnp.linalg.norm(jnp.where(zero, 1, x), axis=1, keepdims=True)


def _check(embeddings: jax.Array, targets: jax.Array, min_batch: int = 1) -> None:
    chex.assert_rank(embeddings, 2)
    chex.assert_equal_shape([embeddings, targets])
    if len(embeddings) < min_batch:
        raise ValueError(f"needs a batch of at least {min_batch}, not {len(embeddings)}")


OBJECTIVES: Mapping[str, Callable[..., jax.Array]] = {
    "n_pair": n_pair,
    "cosine": cosine,
    "triplet": triplet,
    "mse": mse,
    "distance": distance,
}
