"""Distances between Gaussians with the samples' moments."""

from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from genvec.quality.samples import check_numbers, check_range

_matmul = partial(jnp.matmul, precision="highest")  # TF32, a GPU's default, keeps three digits


class Moments(NamedTuple):
    """Mean and covariance of features."""

    mean: jax.Array  # [F]
    covariance: jax.Array  # [F, F]


def gaussian_moments(features: jax.Array) -> Moments:
    """Mean and unbiased covariance (over M − 1) of features [M, F].

    The covariance has rank M − 1 at most: M > F is needed for full rank, several F for a good one.

    Raises:
      ValueError: fewer than two samples, or rows that are not finite; names them.
    """
    chex.assert_rank(features, 2)
    check_range("number of samples", len(features), least=2)
    check_numbers(features=features)
    mean = jnp.mean(features, axis=0)
    centred = features - mean
    return Moments(mean, _matmul(centred.T, centred) / (len(features) - 1))


def frechet_distance(a: Moments, b: Moments) -> jax.Array:
    """‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½), the squared Wasserstein-2 of two Gaussians.

    This is the formula of the FID, but no Inception number: on features of a classifier trained
    here, values compare with others on the same features only. tr (Σ_a Σ_b)^½ is the sum of the
    roots of the eigenvalues of Σ_a^½ Σ_b Σ_a^½, clipped at zero; symmetric, so `eigh` will do.

    Biased upward: about FID_∞ + c / M, where c depends on the member as well, so that equal M does
    not cancel it; the means alone add tr Σ_a / M + tr Σ_b / M'. Needs M > F for covariances of full
    rank: in float32 each direction without variance may lower it by 3e-4 of the largest variance.
    Reference: Heusel et al. 2017, arXiv 1706.08500, eq. 6; the bias: Chong & Forsyth 2020,
    arXiv 1911.07023.

    Raises:
      ValueError: different F, or moments that are not finite.
    """
    _check(a, b)
    values, vectors = jnp.linalg.eigh(a.covariance)
    root = vectors * jnp.sqrt(jnp.maximum(values, 0))  # root rootᵀ = Σ_a: Σ_a^½ up to a rotation
    values = jnp.linalg.eigvalsh(_matmul(root.T, _matmul(b.covariance, root)))
    cross = jnp.sum(jnp.sqrt(jnp.maximum(values, 0)))
    spread = jnp.trace(a.covariance) + jnp.trace(b.covariance) - 2 * cross
    return jnp.maximum(0, jnp.sum((a.mean - b.mean) ** 2) + spread)


def gaussian_kl(a: Moments, b: Moments) -> jax.Array:
    """KL(N(μ_a, Σ_a) ‖ N(μ_b, Σ_b)) in nats.

    ½ [tr Σ_b⁻¹ Σ_a + (μ_b − μ_a)ᵀ Σ_b⁻¹ (μ_b − μ_a) − F + log(det Σ_b / det Σ_a)]. Needs M > F:
    of covariances that are not of full rank it is nan, infinite or, by rounding, huge.
    Biased upward: moments of two samples of one Gaussian are about F (F + 3) (1/M + 1/M') / 4 apart
    when M and M' are many times F, and more when they are not.
    Reference: the closed form is the textbook's; the bias is ½ E χ² with F (F + 3) / 2 degrees of
    freedom for each sample (Wilks 1938).

    Raises:
      ValueError: different F, or moments that are not finite.
    """
    _check(a, b)
    root_a, root_b = jnp.linalg.cholesky(a.covariance), jnp.linalg.cholesky(b.covariance)
    ratio = solve_triangular(root_b, root_a, lower=True)  # ‖root_b⁻¹ root_a‖² = tr Σ_b⁻¹ Σ_a
    shift = solve_triangular(root_b, b.mean - a.mean, lower=True)
    half_log_det = jnp.sum(jnp.log(jnp.diagonal(root_b)) - jnp.log(jnp.diagonal(root_a)))
    return (jnp.sum(ratio**2) + jnp.sum(shift**2) - len(shift)) / 2 + half_log_det


def _check(a: Moments, b: Moments) -> None:
    chex.assert_rank([*a, *b], [1, 2, 1, 2])
    if len(a.mean) != len(b.mean):
        raise ValueError(f"both moments need the same F, not {len(a.mean)} and {len(b.mean)}")
    chex.assert_shape([a.covariance, b.covariance], (len(a.mean), len(a.mean)))
    for name, moments in {"a": a, "b": b}.items():
        check_numbers(**{f"{name}.{part}": x for part, x in moments._asdict().items()})
