"""What it costs to move one set of samples onto another."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from genvec.geometry import squared_distances, to_sphere
from genvec.quality.samples import check_range, check_samples


def wasserstein_1d(x: jax.Array, y: jax.Array, *, p: float = 1) -> jax.Array:
    """W_p of samples x [M] and y [M'] on the line, exactly: (∫ |F_x⁻¹(u) − F_y⁻¹(u)|^p du)^(1/p).

    Both quantile functions are steps, constant between the levels i / M and j / M'.
    Biased upward: two samples of one distribution are of order M^−½ apart at p = 1, and up to
    M^(−1/2p) at p > 1 where its support has gaps, as that of classes may.
    Reference: Peyré & Cuturi 2019, arXiv 1803.00567, remark 2.30; the bias: Bobkov & Ledoux 2019,
    "One-dimensional Empirical Measures, Order Statistics, and Kantorovich Transport Distances".

    Raises:
      ValueError: no samples, or p below one.
    """
    chex.assert_rank([x, y], 1)
    check_range("number of samples", min(len(x), len(y)), least=1)
    check_range("p", p, least=1)
    return _power_1d(x, y, p) ** (1 / p)


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
      ValueError: different F, no samples, no projections, or p below one.
    """
    check_samples(x, y)
    check_range("num_projections", num_projections, least=1)
    check_range("p", p, least=1)
    directions = to_sphere(jax.random.normal(key, (num_projections, x.shape[1])))
    on_x, on_y = (jnp.matmul(directions, points.T, precision="highest") for points in (x, y))
    powers = jax.vmap(lambda a, b: _power_1d(a, b, p))(on_x, on_y)
    return jnp.mean(powers) ** (1 / p)


def sinkhorn(x: jax.Array, y: jax.Array, *, epsilon: float, num_iterations: int = 200) -> jax.Array:
    """min_P ⟨P, C⟩ + ε KL(P ‖ a ⊗ b), entropic transport of x [M, F] to y [M', F], uniform weights.

    C_ij = ‖x_i − y_j‖². Computed by Sinkhorn's iterations on log scale and read off the dual, so
    too few iterations give too small a value, never too large; how many are needed grows as
    max C / ε. Tends to the exact W_2² as ε → 0, and is above zero for x = y, which is why
    `sinkhorn_divergence` is the one to compare members by.
    Reference: Cuturi 2013, arXiv 1306.0895, with the entropy relative to a ⊗ b as in Feydy et al.
    2019, arXiv 1810.08278, eq. 1.

    Args:
      x, y: samples; memory is that of C.
      epsilon: in units of C, the same for all members that are compared; float32 rounds the
        result to some 1e-6 of it.
      num_iterations: updates of both potentials.

    Raises:
      ValueError: different F, no samples, or an option that is not positive.
    """
    _check_sinkhorn(x, y, epsilon, num_iterations)
    start = jnp.zeros(len(y))
    return _transport(squared_distances(x, y), start, epsilon, num_iterations)


def sinkhorn_divergence(
    x: jax.Array, y: jax.Array, *, epsilon: float, num_iterations: int = 200
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
    _check_sinkhorn(x, y, epsilon, num_iterations)
    _, half_x = _self_transport(squared_distances(x, x), epsilon, num_iterations)
    start, half_y = _self_transport(squared_distances(y, y), epsilon, num_iterations)
    cost = squared_distances(x, y)
    return _transport(cost, start, epsilon, num_iterations) - half_x - half_y


def _power_1d(x: jax.Array, y: jax.Array, p: float) -> jax.Array:
    """W_p^p of x [M] and y [M']; the levels, in units of 1 / (M M'), are known when traced."""
    num_x, num_y = len(x), len(y)
    levels = np.union1d(np.arange(num_x + 1) * num_y, np.arange(num_y + 1) * num_x)
    width = np.diff(levels) / (num_x * num_y)
    gap = jnp.sort(x)[levels[:-1] // num_y] - jnp.sort(y)[levels[:-1] // num_x]
    return jnp.sum(width * jnp.abs(gap) ** p)


def _best_response(cost: jax.Array, potential: jax.Array, epsilon: float) -> jax.Array:
    """f_i = −ε log mean_j exp((g_j − C_ij) / ε): [M, M'], [M'] → [M]."""
    exponents = (potential - cost) / epsilon
    return -epsilon * (jax.nn.logsumexp(exponents, axis=1) - jnp.log(cost.shape[1]))


def _transport(cost: jax.Array, g: jax.Array, epsilon: float, num_iterations: int) -> jax.Array:
    """OT_ε from the start g: after an update of f, P sums to 1 and the dual is mean f + mean g."""

    def update(_: int, g: jax.Array) -> jax.Array:
        return _best_response(cost.T, _best_response(cost, g, epsilon), epsilon)

    g = jax.lax.fori_loop(0, num_iterations, update, g)
    return jnp.mean(_best_response(cost, g, epsilon)) + jnp.mean(g)


def _self_transport(
    cost: jax.Array, epsilon: float, num_iterations: int
) -> tuple[jax.Array, jax.Array]:
    """The potential [M] of samples with themselves, and ½ OT_ε."""

    def update(_: int, f: jax.Array) -> jax.Array:
        return (f + _best_response(cost, f, epsilon)) / 2

    f = jax.lax.fori_loop(0, num_iterations, update, jnp.zeros(len(cost)))
    return f, (jnp.mean(f) + jnp.mean(_best_response(cost, f, epsilon))) / 2


def _check_sinkhorn(x: jax.Array, y: jax.Array, epsilon: float, num_iterations: int) -> None:
    check_samples(x, y)
    if not epsilon > 0:
        raise ValueError(f"epsilon must be positive, not {epsilon}")
    check_range("num_iterations", num_iterations, least=1)
