"""What it costs to move one set of samples onto another."""

from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from genvec.geometry import squared_distances, to_sphere
from genvec.quality.samples import check_numbers, check_range, check_samples, is_known
from genvec.types import NotFiniteError

TOLERANCE = 1e-2  # mean share by which the columns of a plan may miss their weights
COOLING = 0.9  # by which ε falls in each update, where the first ones have not been enough
MOST = 10_000  # updates


def wasserstein_1d(x: jax.Array, y: jax.Array, *, p: float = 1) -> jax.Array:
    """W_p of samples x [M] and y [M'] on the line, exactly: (∫ |F_x⁻¹(u) − F_y⁻¹(u)|^p du)^(1/p).

    Both quantile functions are steps, constant between the levels i / M and j / M'.
    Biased upward: two samples of one distribution are of order M^−½ apart at p = 1, and up to
    M^(−1/2p) at p > 1 where its support has gaps, as that of classes may.
    Reference: Peyré & Cuturi 2019, arXiv 1803.00567, remark 2.30; the bias: Bobkov & Ledoux 2019,
    "One-dimensional Empirical Measures, Order Statistics, and Kantorovich Transport Distances".

    Raises:
      ValueError: no samples, samples that are not finite, or p below one.
    """
    chex.assert_rank([x, y], 1)
    check_numbers(x=x, y=y)
    check_range("number of samples", min(len(x), len(y)), least=1)
    check_range("p", p, least=1)
    return _root(_power_1d(x, y, p), p)


def sliced_wasserstein(
    key: jax.Array, x: jax.Array, y: jax.Array, *, num_projections: int = 128, p: float = 2
) -> jax.Array:
    """(E_θ W_p(x·θ, y·θ)^p)^(1/p) over directions θ on the unit sphere; x [M, F], y [M', F].

    W_p in F dimensions shrunk: two clouds that differ by a shift s are ‖s‖ / √F apart at p = 2.
    The mean is over `num_projections` drawn directions, an error that one key shares among members.
    Biased upward as `wasserstein_1d` is, whatever F.
    Reference: Rabin et al. 2011, "Wasserstein Barycenter and its Application to Texture Mixing";
    Bonneel et al. 2015, "Sliced and Radon Wasserstein Barycenters of Measures".

    Raises:
      ValueError: different F, no samples, rows that are not finite, no projections, or p below one.
    """
    check_samples(x, y)
    check_range("num_projections", num_projections, least=1)
    check_range("p", p, least=1)
    directions = to_sphere(jax.random.normal(key, (num_projections, x.shape[1])))
    on_x, on_y = (jnp.matmul(directions, points.T, precision="highest") for points in (x, y))
    powers = jax.vmap(lambda a, b: _power_1d(a, b, p))(on_x, on_y)
    return _root(jnp.mean(powers), p)


def sinkhorn(
    x: jax.Array,
    y: jax.Array,
    *,
    epsilon: float,
    num_iterations: int = 200,
    max_iterations: int = MOST,
) -> jax.Array:
    """min_P ⟨P, C⟩ + ε KL(P ‖ a ⊗ b), entropic transport of x [M, F] to y [M', F], uniform weights.

    C_ij = ‖x_i − y_j‖². Computed by Sinkhorn's iterations on log scale and read off the dual: where
    the plan misses its weights by `TOLERANCE`, the value is too small by some 1e-4 of it, never too
    large. Where `num_iterations` do not reach that, as for small ε / max C, they go on from a large
    ε that falls to the one asked for. Tends to the exact W_2² as ε → 0, and is above zero for
    x = y, which is why `sinkhorn_divergence` is the one to compare members by. Its gradient is that
    of the plan, as if the potentials were constants, which is exact once they have converged.
    Reference: Cuturi 2013, arXiv 1306.0895, with the entropy relative to a ⊗ b as in Feydy et al.
    2019, arXiv 1810.08278, eq. 1; falling ε: Schmitzer 2019, arXiv 1610.06519, section 3.

    Args:
      x, y: samples; memory is that of C.
      epsilon: in units of C, the same for all members that are compared; float32 rounds the
        result to some 1e-6 of it.
      num_iterations: updates of both potentials, at least.
      max_iterations: updates more, at most.

    Raises:
      ValueError: different F, no samples, rows that are not finite, an option that is not positive,
        or updates that have not converged; traced, the value is then NaN.
    """
    _check_sinkhorn(x, y, epsilon, num_iterations, max_iterations)
    iterate = _Iterations(epsilon, num_iterations, max_iterations)
    return iterate.checked(iterate.transport(squared_distances(x, y), jnp.zeros(len(y))))


def sinkhorn_divergence(
    x: jax.Array,
    y: jax.Array,
    *,
    epsilon: float,
    num_iterations: int = 200,
    max_iterations: int = MOST,
) -> jax.Array:
    """OT_ε(x, y) − ½ OT_ε(x, x) − ½ OT_ε(y, y) with OT_ε = `sinkhorn`; zero for x = y.

    Positive for different distributions; tends to W_2² as ε → 0 and to ‖mean x − mean y‖² as
    ε → ∞. Of x with itself the two potentials are one, and the averaged update finds it within
    some 30 iterations; it is also where the iterations between x and y start.
    Biased upward: two samples of one distribution are above zero, less so the larger ε
    (Genevay et al. 2019, arXiv 1810.02733).
    Reference: Feydy et al. 2019, arXiv 1810.08278, eq. 3; the averaged update: section 3.

    Args and errors as in `sinkhorn`.
    """
    _check_sinkhorn(x, y, epsilon, num_iterations, max_iterations)
    iterate = _Iterations(epsilon, num_iterations, max_iterations)
    _, half_x = iterate.self_transport(squared_distances(x, x))
    start, half_y = iterate.self_transport(squared_distances(y, y))
    return iterate.checked(iterate.transport(squared_distances(x, y), start) - half_x - half_y)


def _root(power: jax.Array, p: float) -> jax.Array:
    """power^(1/p), whose gradient at zero is zero, not infinite."""
    zero = power == 0
    return jnp.where(zero, 0, jnp.where(zero, 1, power) ** (1 / p))


def _best_response(cost: jax.Array, potential: jax.Array, epsilon: float | jax.Array) -> jax.Array:
    """f_i = −ε log mean_j exp((g_j − C_ij) / ε): [M, M'], [M'] → [M]."""
    exponents = (potential - cost) / epsilon
    return -epsilon * (jax.nn.logsumexp(exponents, axis=1) - jnp.log(cost.shape[1]))


class _Iterations(NamedTuple):
    """Sinkhorn's updates, and when they are enough."""

    epsilon: float
    at_least: int
    more: int

    def transport(self, cost: jax.Array, g: jax.Array) -> jax.Array:
        """OT_ε from the start g: after an update of f, P sums to 1 and the dual is mean f + mean g.

        NaN where g has not converged.
        """
        fixed = jax.lax.stop_gradient(cost)

        def update(g, epsilon):
            return _best_response(fixed.T, _best_response(fixed, g, epsilon), epsilon)

        g = jax.lax.stop_gradient(g)
        g = jax.lax.fori_loop(0, self.at_least, lambda _, g: update(g, self.epsilon), g)

        def cool(carry):
            g, epsilon, _, count = carry
            new = update(g, epsilon)
            missed = jnp.where(epsilon > self.epsilon, jnp.inf, _missed(g - new, epsilon))
            return new, jnp.maximum(self.epsilon, COOLING * epsilon), missed, count + 1

        far = _missed(g - update(g, self.epsilon), self.epsilon) > TOLERANCE  # a NaN is not
        hot = jnp.maximum(self.epsilon, jnp.max(fixed))
        start = (g, hot, jnp.where(far, jnp.inf, 0.0), 0)
        g, _, missed, _ = jax.lax.while_loop(partial(self._goes_on, fixed), cool, start)
        value = jnp.mean(_best_response(cost, g, self.epsilon)) + jnp.mean(g)
        return jnp.where(missed <= self._limit(fixed), value, jnp.nan)

    def self_transport(self, cost: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The potential [M] of samples with themselves, and ½ OT_ε; NaN if it has not converged."""
        fixed = jax.lax.stop_gradient(cost)

        def update(f):
            return (f + _best_response(fixed, f, self.epsilon)) / 2

        f = jax.lax.fori_loop(0, self.at_least, lambda _, f: update(f), jnp.zeros(len(cost)))

        def go_on(carry):
            f, *_, count = carry
            new = update(f)
            return new, self.epsilon, _missed(2 * (f - new), self.epsilon), count + 1

        start = (f, self.epsilon, _missed(2 * (f - update(f)), self.epsilon), 0)
        f, _, missed, _ = jax.lax.while_loop(partial(self._goes_on, fixed), go_on, start)
        half = (jnp.mean(f) + jnp.mean(_best_response(cost, f, self.epsilon))) / 2
        return f, jnp.where(missed <= self._limit(fixed), half, jnp.nan)

    def checked(self, value: jax.Array) -> jax.Array:
        """The value, once it is known to have converged; traced, as it is."""
        if is_known(value) and jnp.isnan(value):
            raise NotFiniteError(
                f"Sinkhorn's iterations have not converged: epsilon={self.epsilon}, "
                f"{self.at_least} + {self.more} iterations; take a larger epsilon, or more "
                "iterations (max_iterations)"
            )
        return value

    def _goes_on(self, cost, carry):
        *_, missed, count = carry
        return (missed > self._limit(cost)) & (count < self.more)

    def _limit(self, cost):
        """`TOLERANCE`, or what rounding of the exponents C / ε lets one ask for."""
        rounding = 4 * jnp.finfo(cost.dtype).eps * jnp.max(cost) / self.epsilon
        return jnp.clip(rounding, TOLERANCE, 0.5)


def _missed(change: jax.Array, epsilon: float | jax.Array) -> jax.Array:
    """The mean |column of the plan / its weight − 1|, from old − new potentials [M]."""
    return jnp.mean(jnp.abs(jnp.expm1(change / epsilon)))


def _power_1d(x: jax.Array, y: jax.Array, p: float) -> jax.Array:
    """W_p^p of x [M] and y [M']; the levels, in units of 1 / (M M'), are known when traced."""
    num_x, num_y = len(x), len(y)
    levels = np.union1d(np.arange(num_x + 1) * num_y, np.arange(num_y + 1) * num_x)
    width = np.diff(levels) / (num_x * num_y)
    gap = jnp.sort(x)[levels[:-1] // num_y] - jnp.sort(y)[levels[:-1] // num_x]
    return jnp.sum(width * jnp.abs(gap) ** p)


def _check_sinkhorn(x, y, epsilon: float, num_iterations: int, max_iterations: int) -> None:
    check_samples(x, y)
    if not epsilon > 0:
        raise ValueError(f"epsilon must be positive, not {epsilon}")
    check_range("num_iterations", num_iterations, least=1)
    check_range("max_iterations", max_iterations, least=0)
