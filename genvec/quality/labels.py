"""What a classifier says of the samples: are they of definite classes, and of all of them?"""

import chex
import jax
import jax.numpy as jnp

from genvec.quality.samples import check_numbers, nan_unless_finite

SLACK = 1e-6  # "at least" means so of proportions that float32 has rounded


def class_shares(logits: jax.Array) -> jax.Array:
    """The shares [L] of M samples that a classifier takes for each class, from logits [M, L].

    Raises:
      NotFiniteError: rows of logits are not finite; traced, the shares are then NaN.
    """
    chex.assert_rank(logits, 2)
    check_numbers(logits=logits)
    told = jax.nn.one_hot(jnp.argmax(logits, axis=1), logits.shape[1])  # of a NaN: its own column
    return nan_unless_finite(jnp.mean(told, axis=0), logits)


def inception_score(logits: jax.Array) -> jax.Array:
    """exp E_x KL(p(y|x) ‖ p(y)) of logits [M, L]: from 1 (one answer for all) to L.

    L is reached by sure answers on balanced classes, so a member whose mixture is not balanced is
    not meant to reach it. No Inception number: the classifier is the one trained here. Blind to
    how samples of one class differ.
    Biased downward, as p(y) comes from the same samples: log IS by some (L − 1) / (2 M) for sure
    answers on L equal classes.
    Reference: Salimans et al. 2016, arXiv 1606.03498, section 4; the bias: Chong & Forsyth 2020,
    arXiv 1911.07023, and Miller 1955.

    Raises:
      NotFiniteError: rows of logits are not finite; traced, the score is then NaN.
    """
    chex.assert_rank(logits, 2)
    check_numbers(logits=logits)
    given_x = jax.nn.log_softmax(logits, axis=1)
    marginal = jax.nn.logsumexp(given_x, axis=0) - jnp.log(len(logits))
    return jnp.exp(jnp.mean(jnp.sum(jnp.exp(given_x) * (given_x - marginal), axis=1)))


def mode_coverage(
    shares: jax.Array, mixture: jax.Array, *, least: float = 0.05, fraction: float = 0.2
) -> jax.Array:
    """The share of the mixture's classes that the member generates; 1 is no mode collapse.

    Counted are the classes with mixture_k ≥ `least`; covered is one with
    shares_k ≥ `fraction` · mixture_k. nan if no class counts.
    Errs low when M · `fraction` · `least` is not well above one sample (use M ≥ 1,000), and high
    when the classifier takes as many images of other classes for a lost one.

    Args:
      shares: [K] proportions of the member's samples as classified.
      mixture: [K] proportions of the data that it was trained on.
      least: of a class to count at all.
      fraction: of what a class should have, to be covered.

    Raises:
      ValueError: different K, an option that is no proportion, or shares that are not finite.
    """
    chex.assert_rank([shares, mixture], 1)
    if len(shares) != len(mixture):
        raise ValueError(f"both need the same K, not {len(shares)} and {len(mixture)}")
    for name, value in {"least": least, "fraction": fraction}.items():
        if not 0 < value <= 1:
            raise ValueError(f"{name} must be above 0 and at most 1, not {value}")
    check_numbers(shares=shares, mixture=mixture)
    counted = mixture >= least * (1 - SLACK)
    covered = shares >= fraction * mixture * (1 - SLACK)
    return nan_unless_finite(jnp.sum(counted & covered) / jnp.sum(counted), shares, mixture)
