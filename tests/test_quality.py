"""Quality metrics against scipy, scikit-learn, ott-jax, float64 loops and values worked out."""

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.stats
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import NearestNeighbors

from genvec import quality, trees
from genvec.quality import Moments

with warnings.catch_warnings():  # ott imports jaxopt, which says that it is no longer maintained
    warnings.simplefilter("ignore", DeprecationWarning)
    from ott.geometry.pointcloud import PointCloud
    from ott.solvers import linear

NUM_X, NUM_Y, NUM_FEATURES, NUM_CLASSES = 12, 9, 3, 4
K_KL, K_PR, SCALES, EPSILON, PROJECTIONS = 2, 3, (0.5, 2.0), 0.7, 5


def member_data(seed):
    """Samples x of the data and y of a member, logits of y, class shares and a mixture."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(NUM_X, NUM_FEATURES)) @ rng.normal(size=(NUM_FEATURES, NUM_FEATURES))
    y = rng.normal(size=(NUM_Y, NUM_FEATURES)) + 0.5
    return {
        "key": jax.random.key(seed),
        "x": jnp.asarray(x, jnp.float32),
        "y": jnp.asarray(y, jnp.float32),
        "logits": jnp.asarray(3 * rng.normal(size=(NUM_Y, NUM_CLASSES)), jnp.float32),
        "shares": jnp.asarray(rng.dirichlet(0.3 * np.ones(NUM_CLASSES)), jnp.float32),
        "mixture": jnp.asarray(rng.dirichlet(np.ones(NUM_CLASSES)), jnp.float32),
    }


def measure(key, x, y, logits, shares, mixture):
    """Every metric of one member, under the name of its reference."""
    moments = quality.gaussian_moments(x), quality.gaussian_moments(y)
    sliced = partial(quality.sliced_wasserstein, key, x, y, num_projections=PROJECTIONS)
    transport = {"epsilon": EPSILON, "num_iterations": 300}
    precision, recall = quality.precision_recall(x, y, k=K_PR)
    return {
        "mean": moments[0].mean,
        "covariance": moments[0].covariance,
        "frechet_distance": quality.frechet_distance(*moments),
        "gaussian_kl": quality.gaussian_kl(*moments),
        "knn_kl": quality.knn_kl(x, y, k=K_KL),
        "wasserstein_1d": quality.wasserstein_1d(x[:, 0], y[:, 0]),
        "wasserstein_1d_p2": quality.wasserstein_1d(x[:, 0], y[:, 0], p=2),
        "sliced_wasserstein": sliced(),
        "sliced_wasserstein_p1": sliced(p=1),
        "sinkhorn": quality.sinkhorn(x, y, **transport),
        "sinkhorn_divergence": quality.sinkhorn_divergence(x, y, **transport),
        "mmd_gaussian": quality.mmd(x, y, scales=SCALES),
        "mmd_imq": quality.mmd(x, y, kernel="inverse_multiquadratic", scales=SCALES),
        "precision": precision,
        "recall": recall,
        "inception_score": quality.inception_score(logits),
        "mode_coverage": quality.mode_coverage(shares, mixture),
    }


def loop_frechet(x, y, **_):
    cov_x, cov_y = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(cov_x @ cov_y).real
    return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(cov_x + cov_y - 2 * root)


def loop_gaussian_kl(x, y, **_):
    cov_x, cov_y, shift = np.cov(x.T), np.cov(y.T), y.mean(0) - x.mean(0)
    inverse = np.linalg.inv(cov_y)
    log_ratio = np.log(np.linalg.det(cov_y) / np.linalg.det(cov_x))
    return (np.trace(inverse @ cov_x) + shift @ inverse @ shift - len(shift) + log_ratio) / 2


def neighbour_radii(x, k):
    """Distance to the k-th nearest other point; the first that scikit-learn finds is itself."""
    return NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(x)[0][:, k]


def loop_knn_kl(x, y, **_):
    nu = NearestNeighbors(n_neighbors=K_KL).fit(y).kneighbors(x)[0][:, -1]
    logs = [np.log(n / r) for n, r in zip(nu, neighbour_radii(x, K_KL), strict=True)]
    return NUM_FEATURES * np.mean(logs) + np.log(NUM_Y / (NUM_X - 1))


def loop_covered(points, centres):
    """The share of points that lie in a ball around one of the centres."""
    radii = neighbour_radii(centres, K_PR)
    inside = [
        any(np.linalg.norm(point - c) <= r for c, r in zip(centres, radii, strict=True))
        for point in points
    ]
    return np.mean(inside)


def repeated_wasserstein(x, y, p):
    """Equal numbers by repeating each point, which leaves the distribution as it is; then sort."""
    x, y = np.sort(np.repeat(x, len(y))), np.sort(np.repeat(y, len(x)))
    return np.mean(np.abs(x - y) ** p) ** (1 / p)


def loop_sliced(key, x, y, p):
    draws = np.asarray(jax.random.normal(key, (PROJECTIONS, NUM_FEATURES)), np.float64)
    total = 0.0
    for draw in draws:
        theta = draw / np.sqrt(np.sum(draw**2))
        total += repeated_wasserstein(x @ theta, y @ theta, p) ** p
    return (total / PROJECTIONS) ** (1 / p)


@partial(jax.jit, static_argnames="epsilon")
def _solve(x, y, a, b, epsilon=EPSILON):
    geometry = PointCloud(x, y, epsilon=epsilon)
    return linear.solve(geometry, a=a, b=b, threshold=1e-6, max_iterations=3000).reg_ot_cost


def ott_cost(x, y):
    """OT_ε by ott-jax; zero weights fill up to one shape, which is one compilation."""
    fill = [np.pad(points, ((0, NUM_X - len(points)), (0, 0))) for points in (x, y)]
    weights = [np.where(np.arange(NUM_X) < len(p), 1 / len(p), 0.0) for p in (x, y)]
    arrays = [np.asarray(a, np.float32) for a in (*fill, *weights)]
    return float(_solve(*arrays))


def loop_mmd(x, y, kernel):
    def value(a, b):
        squared = sum((a - b) ** 2)
        if kernel == "gaussian":
            return sum(np.exp(-squared / (2 * s * s)) for s in SCALES)
        return sum(c / (c + squared) for c in SCALES)

    def others(points):
        num = len(points)
        pairs = [(i, j) for i in range(num) for j in range(num) if i != j]
        return sum(value(points[i], points[j]) for i, j in pairs) / len(pairs)

    return others(x) + others(y) - 2 * np.mean([value(a, b) for a in x for b in y])


def loop_inception(logits, **_):
    odds = np.exp(logits)
    given_x = odds / odds.sum(1, keepdims=True)
    return np.exp(np.mean([scipy.stats.entropy(p, given_x.mean(0)) for p in given_x]))


def loop_coverage(shares, mixture, **_):
    asked = [k for k in range(NUM_CLASSES) if mixture[k] >= 0.05]
    return len([k for k in asked if shares[k] >= 0.2 * mixture[k]]) / len(asked)


REFERENCES = {
    "mean": lambda x, **_: x.mean(0),
    "covariance": lambda x, **_: np.cov(x.T),
    "frechet_distance": loop_frechet,
    "gaussian_kl": loop_gaussian_kl,
    "knn_kl": loop_knn_kl,
    "wasserstein_1d": lambda x, y, **_: scipy.stats.wasserstein_distance(x[:, 0], y[:, 0]),
    "wasserstein_1d_p2": lambda x, y, **_: repeated_wasserstein(x[:, 0], y[:, 0], 2),
    "sliced_wasserstein": lambda key, x, y, **_: loop_sliced(key, x, y, 2),
    "sliced_wasserstein_p1": lambda key, x, y, **_: loop_sliced(key, x, y, 1),
    "sinkhorn": lambda x, y, **_: ott_cost(x, y),
    "sinkhorn_divergence": lambda x, y, **_: ott_cost(x, y) - (ott_cost(x, x) + ott_cost(y, y)) / 2,
    "mmd_gaussian": lambda x, y, **_: loop_mmd(x, y, "gaussian"),
    "mmd_imq": lambda x, y, **_: loop_mmd(x, y, "inverse_multiquadratic"),
    "precision": lambda x, y, **_: loop_covered(y, x),
    "recall": lambda x, y, **_: loop_covered(x, y),
    "inception_score": loop_inception,
    "mode_coverage": loop_coverage,
}
MEMBERS = [member_data(seed) for seed in range(4)]


@pytest.fixture(scope="module")
def measured():
    """One member after the other, each by the same compiled program."""
    fn = jax.jit(measure)
    return [fn(**member) for member in MEMBERS]


@pytest.mark.parametrize("name", REFERENCES)
def test_equals_an_independent_reference_and_tells_members_apart(measured, name):
    keys = [{"key": member["key"]} for member in MEMBERS]
    data = [
        {n: np.asarray(a, np.float64) for n, a in member.items() if n != "key"}
        for member in MEMBERS
    ]
    expected = [REFERENCES[name](**k, **d) for k, d in zip(keys, data, strict=True)]
    values = [np.asarray(of_member[name]) for of_member in measured]
    for value, reference in zip(values, expected, strict=True):
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, reference, rtol=2e-4, atol=2e-5)
    # the members' references differ, so a metric that gave one member's for all would have failed
    assert np.ptp(expected, axis=0).min() > 1e-2


def test_vmap_over_members_gives_what_the_loop_gives(measured):
    stacked = trees.stack(MEMBERS)
    together = jax.jit(jax.vmap(lambda member: measure(**member)))(stacked)
    assert set(together) == set(REFERENCES)
    for name, values in together.items():
        alone = np.stack([of_member[name] for of_member in measured])
        np.testing.assert_allclose(values, alone, rtol=1e-4, atol=1e-5, err_msg=name)


frechet = jax.jit(quality.frechet_distance)


def test_frechet_distance_of_diagonal_covariances_by_hand():
    a = Moments(jnp.array([0.0, 1.0, 2.0]), jnp.diag(jnp.array([1.0, 4.0, 0.0])))
    b = Moments(jnp.array([3.0, 1.0, 2.0]), jnp.diag(jnp.array([9.0, 4.0, 4.0])))
    by_hand = 3**2 + (1 - 3) ** 2 + 0 + (0 - 2) ** 2
    np.testing.assert_allclose(frechet(a, b), by_hand, rtol=1e-5)
    np.testing.assert_allclose(frechet(b, a), by_hand, rtol=1e-5)
    np.testing.assert_allclose(frechet(a, a), 0, atol=1e-5)


def test_frechet_distance_of_fewer_samples_than_features_stays_finite():
    x, y = np.random.default_rng(0).normal(size=(2, 5, 16))
    x, y = x - x.mean(0), y - y.mean(0)
    # tr (Σ_x Σ_y)^½ is the nuclear norm of x yᵀ / (M − 1), however low the ranks
    spread = np.sum(x**2) + np.sum(y**2) - 2 * np.linalg.norm(x @ y.T, "nuc")
    value = frechet(*map(quality.gaussian_moments, map(jnp.asarray, (x, y))))
    np.testing.assert_allclose(value, spread / 4, rtol=1e-3)


def test_gaussian_kl_is_that_of_monte_carlo_not_symmetric_and_not_finite_without_rank():
    fn = jax.jit(quality.gaussian_kl)
    a = Moments(jnp.array([0.0, 1.0, 2.0]), jnp.array([[2.0, 1, 0], [1, 1, 0], [0, 0, 0.5]]))
    b = Moments(jnp.array([1.0, 1.0, 1.0]), jnp.array([[2.0, 0, -1], [0, 3, 0], [-1, 0, 3.0]]))
    draws = scipy.stats.multivariate_normal(*a).rvs(100_000, random_state=0)
    logs = [scipy.stats.multivariate_normal(*m).logpdf(draws) for m in (a, b)]
    ratio = logs[0] - logs[1]
    error = 5 * ratio.std() / np.sqrt(len(ratio))
    assert abs(fn(a, b) - ratio.mean()) < error
    assert abs(fn(b, a) - ratio.mean()) > 10 * error
    flat = Moments(a.mean, jnp.diag(jnp.array([1.0, 1.0, 0.0])))
    assert jnp.isfinite(fn(a, b))
    assert not jnp.isfinite(fn(a, flat))


def test_biases_of_moments_and_inception_score_are_as_documented():
    num_x, num_y, dim, repeats = 100, 60, NUM_FEATURES, 400
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(repeats, num, dim)) for num in (num_x, num_y))

    @jax.jit
    @jax.vmap
    def both(x, y):
        a, b = quality.gaussian_moments(x), quality.gaussian_moments(y)
        return quality.frechet_distance(a, b), quality.gaussian_kl(a, b)

    distance, divergence = np.mean(both(jnp.asarray(x), jnp.asarray(y)), axis=1)
    by_mean_alone = dim / num_x + dim / num_y
    assert by_mean_alone < distance < 3 * by_mean_alone
    expected = dim * (dim + 3) / 4 * (1 / num_x + 1 / num_y)
    np.testing.assert_allclose(divergence, expected, rtol=0.15)

    labels = rng.integers(0, NUM_CLASSES, (repeats, num_y))
    score = jax.jit(jax.vmap(quality.inception_score))(50.0 * np.eye(NUM_CLASSES)[labels])
    lost = np.log(NUM_CLASSES) - np.mean(np.log(score))
    np.testing.assert_allclose(lost, (NUM_CLASSES - 1) / (2 * num_y), rtol=0.15)


def test_inception_score_lies_between_one_and_the_number_of_classes():
    sure = 1e4 * np.eye(5).repeat(2, axis=0)  # exp overflows unless taken with care
    of_two = sure[[0, 2] * 5]
    fn = jax.jit(quality.inception_score)
    for logits, score in [(sure, 5), (of_two, 2), (sure[[0] * 10], 1), (np.zeros((10, 5)), 1)]:
        np.testing.assert_allclose(fn(jnp.asarray(logits)), score, rtol=1e-5)


def test_knn_kl_finds_the_closed_form_of_gaussians():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 2000, 2))
    fn = jax.jit(partial(quality.knn_kl, k=4))

    def closed_form(shift, scale):
        return 2 * (np.log(scale) + 1 / (2 * scale**2) - 1 / 2) + shift**2 / scale**2

    for shift, scale in [(0.0, 1.0), (0.5, 1.0), (0.3, 2.0)]:
        value = fn(jnp.asarray(x), jnp.asarray(scale * y + shift))
        assert abs(value - closed_form(shift, scale)) < 0.08
        assert abs(value - closed_form(shift + 0.8, scale)) > 0.16
    far = fn(jnp.asarray(x), jnp.asarray(y + 3))
    assert 0.5 * closed_form(3, 1) < far < 0.95 * closed_form(3, 1)  # the documented bias
    # all samples one point: 13 F + log (M / k) or so
    assert 26 < fn(jnp.zeros_like(x), jnp.asarray(y)) - np.log(2_000 / 4) + 1 < 28


def test_wasserstein_1d_by_hand():
    x, y = jnp.array([0.0, 2.0]), jnp.array([0.0, 1.0, 5.0])
    # quantiles on thirds and halves: 0|0 (⅓), 0|1 (⅙), 2|1 (⅙), 2|5 (⅓)
    np.testing.assert_allclose(quality.wasserstein_1d(x, y), 1 / 6 + 1 / 6 + 3 / 3, rtol=1e-6)
    squares = np.sqrt(1 / 6 + 1 / 6 + 9 / 3)
    np.testing.assert_allclose(quality.wasserstein_1d(y, x, p=2), squares, rtol=1e-6)
    assert quality.wasserstein_1d(x, jnp.array([2.0, 0, 0, 2])) == 0  # the same distribution


def test_sliced_wasserstein_of_a_shift():
    x = MEMBERS[0]["x"]
    shift = jnp.array([0.0, 3.0, 4.0])
    key = jax.random.key(0)
    fn = jax.jit(partial(quality.sliced_wasserstein, num_projections=4000), static_argnames="p")
    # on the sphere in three dimensions E|θ_1| = ½ and E θ_1² = ⅓
    np.testing.assert_allclose(fn(key, x, x + shift, p=1), 5 / 2, rtol=0.03)
    np.testing.assert_allclose(fn(key, x, x + shift, p=2), 5 / np.sqrt(3), rtol=0.03)
    np.testing.assert_allclose(fn(key, x, x[::-1], p=2), 0, atol=1e-6)
    assert fn(key, x, x + shift, p=2) != fn(jax.random.key(1), x, x + shift, p=2)


@partial(jax.jit, static_argnames=("epsilon", "num_iterations"))
def transport(x, y, epsilon, num_iterations):
    options = {"epsilon": epsilon, "num_iterations": num_iterations}
    return quality.sinkhorn(x, y, **options), quality.sinkhorn_divergence(x, y, **options)


def test_sinkhorn_tends_to_the_exact_assignment_and_to_the_distance_of_means():
    x, y = MEMBERS[1]["x"][:NUM_Y], MEMBERS[1]["y"]
    cost = ((np.asarray(x)[:, None] - np.asarray(y)) ** 2).sum(-1)
    exact = cost[scipy.optimize.linear_sum_assignment(cost)].mean()
    assert cost.mean() > 1.3 * exact  # any plan will not do
    small = transport(x, y, epsilon=1e-2, num_iterations=3000)
    np.testing.assert_allclose(small, exact, rtol=0.02)

    entropic, debiased = transport(x, y + 3, epsilon=1e3, num_iterations=10)
    gap = np.asarray(x)[:, None] - np.asarray(y + 3)
    np.testing.assert_allclose(entropic, (gap**2).sum(-1).mean(), rtol=0.05)
    np.testing.assert_allclose(debiased, (gap.mean((0, 1)) ** 2).sum(), rtol=0.05)
    assert abs(entropic - debiased) > 0.2 * debiased


def test_only_the_debiased_divergence_of_equal_samples_is_zero():
    x = MEMBERS[0]["x"]
    options = {"epsilon": 0.5, "num_iterations": 10}  # enough from the potential of x with itself
    entropic, debiased = transport(x, x[::-1], **options)
    assert entropic > 0.1
    np.testing.assert_allclose(debiased, 0, atol=1e-5)
    assert transport(x, x + 0.3, **options)[1] > 0.1


def test_iterations_that_are_too_few_go_on(measured):
    options = {"epsilon": EPSILON, "num_iterations": 1}
    few, _ = transport(MEMBERS[1]["x"], MEMBERS[1]["y"], **options)
    np.testing.assert_allclose(few, measured[1]["sinkhorn"], rtol=1e-4)


def test_mmd_by_scikit_learn_kernels():
    x, y = (np.asarray(MEMBERS[2][name], np.float64) for name in "xy")
    sigma = 1.7
    xx, yy, xy = (rbf_kernel(a, b, gamma=1 / (2 * sigma**2)) for a, b in ((x, x), (y, y), (x, y)))
    expected = (xx.sum() - NUM_X) / (NUM_X * (NUM_X - 1)) - 2 * xy.mean()
    expected += (yy.sum() - NUM_Y) / (NUM_Y * (NUM_Y - 1))
    fn = jax.jit(partial(quality.mmd, kernel="gaussian", scales=(sigma,)))
    value = fn(MEMBERS[2]["x"], MEMBERS[2]["y"])
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    biased = xx.mean() + yy.mean() - 2 * xy.mean()
    assert abs(value - biased) > 0.01


@pytest.mark.parametrize("kernel", quality.KERNELS)
def test_mmd_is_unbiased_and_its_gradient_is_finite_and_pulls_together(kernel):
    draws = jax.random.normal(jax.random.key(0), (600, 2, 6, 2))

    @jax.jit
    @jax.vmap
    def fn(x, y):
        return jax.value_and_grad(partial(quality.mmd, kernel=kernel, scales=(1.0, 2.0)))(x, y)

    equal, _ = fn(draws[:, 0], draws[:, 1])
    shifted, grad = fn(draws[:, 0] + 1, draws[:, 1])
    error = np.std(equal) / np.sqrt(len(equal))
    assert abs(np.mean(equal)) < 4 * error
    assert np.mean(shifted) > 20 * error
    assert np.min(equal) < 0  # as an unbiased estimate of zero must be
    assert np.all(np.mean(grad, axis=(0, 1)) > 0)  # a step down the gradient takes x back to y
    points = jnp.zeros((600, 6, 2))
    collapsed, grad = fn(points, points)
    np.testing.assert_allclose(collapsed, 0, atol=1e-6)
    np.testing.assert_array_equal(grad, 0)


precision_recall = jax.jit(quality.precision_recall)


def test_precision_and_recall_of_hand_made_sets():
    grid = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0)), -1).reshape(16, 2)
    two_modes = np.concatenate([grid, grid + 100])
    one_mode = np.concatenate([grid + 0.1, grid + 0.2])
    cases = [
        (two_modes, two_modes, (1, 1)),
        (two_modes, two_modes + 1000, (0, 0)),
        (two_modes, one_mode, (1, 0.5)),  # a lost mode costs recall
        (one_mode, two_modes, (0.5, 1)),  # an invented one costs precision
        (np.ones((32, 2)), np.ones((32, 2)), (1, 1)),  # balls without extent hold their centre
    ]
    for real, generated, expected in cases:
        value = precision_recall(jnp.asarray(real), jnp.asarray(generated))
        np.testing.assert_array_equal(value, expected)


def test_the_ball_of_a_sample_does_not_count_the_sample_itself():
    line = jnp.array([[0.0], [1.0], [3.0], [7.0]])
    at = jax.jit(partial(quality.precision_recall, line, k=1))  # radii 1, 1, 2 and 4
    assert at(jnp.array([[10.9], [-0.9]]))[0] == 1
    assert at(jnp.array([[11.1], [-1.1]]))[0] == 0


def test_mode_coverage_by_hand():
    mixture = jnp.array([0.5, 0.36, 0.1, 0.04])
    cases = [
        ([0.5, 0.36, 0.1, 0.04], 1),
        ([0.5, 0.4, 0.1, 0.0], 1),  # the fourth class is below `least`
        ([0.6, 0.4, 0.0, 0.0], 2 / 3),
        ([0.54, 0.44, 0.02, 0.0], 1),  # exactly a fifth of its tenth
        ([0.54, 0.445, 0.015, 0.0], 2 / 3),
        ([0.0, 0.0, 0.0, 1.0], 0),
    ]
    fn = jax.jit(quality.mode_coverage, static_argnames=("least", "fraction"))
    for shares, expected in cases:
        np.testing.assert_allclose(fn(jnp.array(shares), mixture), expected, rtol=1e-6)
    lost_fourth = jnp.array([0.5, 0.4, 0.1, 0.0])
    np.testing.assert_allclose(fn(lost_fourth, mixture, least=0.04), 3 / 4, rtol=1e-6)
    np.testing.assert_allclose(fn(jnp.ones(4) / 4, mixture, fraction=0.6), 2 / 3, rtol=1e-6)
    assert jnp.isnan(fn(jnp.ones(4) / 4, mixture, least=0.9))


X, Y, WIDE = jnp.ones((4, 3)), jnp.ones((5, 3)), jnp.ones((5, 2))
PAIRED = {
    "knn_kl": quality.knn_kl,
    "precision_recall": quality.precision_recall,
    "sliced_wasserstein": partial(quality.sliced_wasserstein, jax.random.key(0)),
    "sinkhorn": partial(quality.sinkhorn, epsilon=1.0),
    "sinkhorn_divergence": partial(quality.sinkhorn_divergence, epsilon=1.0),
    "mmd": quality.mmd,
}


@pytest.mark.parametrize("name", PAIRED)
def test_samples_that_do_not_fit_are_refused_when_traced(name):
    fn = PAIRED[name]
    jax.eval_shape(fn, X, Y)  # the negative control: these fit
    with pytest.raises(ValueError, match="same F, not 3 and 2"):
        jax.eval_shape(fn, X, WIDE)
    with pytest.raises(AssertionError):
        jax.eval_shape(fn, X, jnp.ones(3))


GAUSSIANS = [Moments(jnp.zeros(n), jnp.eye(n)) for n in (2, 3)]


@pytest.mark.parametrize(
    "fn, words",
    [
        (lambda: quality.knn_kl(X, Y, k=4), "k must be at least 1 and below 4, not 4"),
        (lambda: quality.knn_kl(Y, X, k=0), "k must be at least 1 and below 4, not 0"),
        (lambda: quality.precision_recall(Y, X, k=4), "k must be at least 1 and below 4, not 4"),
        (lambda: quality.wasserstein_1d(X[0], X[0], p=0.5), "p must be at least 1, not 0.5"),
        (lambda: quality.wasserstein_1d(X[0], X[0, :0]), "y has no rows; at least one"),
        (lambda: PAIRED["sliced_wasserstein"](X, Y, p=0), "p must be at least 1, not 0"),
        (lambda: PAIRED["sliced_wasserstein"](X, Y, num_projections=0), "num_projections .* not 0"),
        (lambda: quality.sinkhorn(X, Y, epsilon=0.0), "epsilon must be positive, not 0.0"),
        (lambda: quality.sinkhorn_divergence(X, Y, epsilon=-1.0), "epsilon must be positive"),
        (lambda: PAIRED["sinkhorn"](X, Y, num_iterations=0), "num_iterations .* 1, not 0"),
        (lambda: PAIRED["sinkhorn"](X, Y[:0]), "at least 1 samples, not 4 and 0"),
        (lambda: quality.mmd(X, Y[:1]), "at least 2 samples, not 4 and 1"),
        (lambda: quality.mmd(X, Y, scales=()), r"one positive number or more, not \(\)"),
        (lambda: quality.mmd(X, Y, scales=(1.0, 0.0)), r"or more, not \(1.0, 0.0\)"),
        (lambda: quality.gaussian_moments(X[:1]), "number of samples must be at least 2, not 1"),
        (lambda: quality.frechet_distance(*GAUSSIANS), "same F, not 2 and 3"),
        (lambda: quality.gaussian_kl(*GAUSSIANS), "same F, not 2 and 3"),
        (lambda: quality.mode_coverage(X[0], X[:, 0]), "same K, not 3 and 4"),
        (lambda: quality.mode_coverage(X[0], X[0], least=0.0), "least must be above 0"),
        (lambda: quality.mode_coverage(X[0], X[0], fraction=1.5), "fraction .* most 1, not 1.5"),
    ],
)
def test_bad_input_is_refused_by_name(fn, words):
    with pytest.raises(ValueError, match=words):
        fn()


def test_an_unknown_kernel_lists_the_known_ones():
    words = "unknown kernel 'rbf'; known: gaussian, inverse_multiquadratic"
    with pytest.raises(KeyError, match=words):
        quality.mmd(X, Y, kernel="rbf")


def test_wrong_ranks_are_refused():
    for fn in (
        lambda: quality.gaussian_moments(X[0]),
        lambda: quality.inception_score(X[0]),
        lambda: quality.wasserstein_1d(X, X),
        lambda: quality.mode_coverage(X, X),
        lambda: quality.frechet_distance(Moments(X, X), Moments(X, X)),
    ):
        with pytest.raises(AssertionError):
            fn()
