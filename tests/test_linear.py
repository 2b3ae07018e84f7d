from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA

from genvec import symmetry, trees
from genvec.families import linear
from genvec.mixtures import group_by_class, to_unit
from genvec.types import Batch, Dataset
from genvec.zoo import Task, member_inputs, train_member

LINEAR = {"pca": linear.pca, "ppca": linear.ppca, "bayesian_pca": linear.bayesian_pca}
IMAGE_SHAPE, PIXELS = (4, 4, 1), 16


def images_of_two_latents(num):
    """uint8 images in which two directions vary, unequally, in noise of 25 gray levels."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(PIXELS, 2)))[0].T
    z = rng.normal(size=(num, 2)) * [120, 80]
    x = 128 + z @ axes + 25 * rng.normal(size=(num, PIXELS))
    return np.clip(np.round(x), 0, 255).astype(np.uint8).reshape(num, *IMAGE_SHAPE)


@pytest.fixture(scope="module")
def data():
    images, labels = images_of_two_latents(400), np.zeros(400, np.int32)
    return group_by_class(Dataset("two", ("all",), images, labels, images, labels), (0,))


@pytest.fixture(scope="module")
def x(data):
    return np.asarray(to_unit(data.images)).reshape(-1, PIXELS)


@pytest.fixture(scope="module")
def trained(data):
    """Name, latent variables → the trained member; each is trained once."""

    @lru_cache
    def member(name, latent):
        task = Task(LINEAR[name](IMAGE_SHAPE, latent=latent), 800, 64)
        return jax.jit(partial(train_member, task=task))(trees.take(inputs_of(task), 0), data)

    return member


def inputs_of(task, **hparams):
    """Of one member, with leading 1."""
    return member_inputs(
        jax.random.key(0), np.ones((1, 1)), task.family, init="independent", hparams=hparams
    )


def dense_of(params):
    return [np.asarray(params["decoder"]["dense_0"][name]) for name in ("kernel", "bias")]


def params_of(kernel, mean, variance):
    dense = {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(mean, jnp.float32)}
    return {"decoder": {"dense_0": dense, "log_variance": jnp.float32(np.log(variance))}}


def some_params(latent, seed=0):
    rng = np.random.default_rng(seed)
    kernel = 0.06 * rng.normal(size=(latent, PIXELS))
    return params_of(kernel, rng.uniform(0.4, 0.6, PIXELS), 0.002)


def closed_form(x, latent, seed=0):
    """W, μ and σ² of Tipping & Bishop's equations 7 and 8, with a rotation R of their choice."""
    eigenvalues, axes = np.linalg.eigh(np.cov(x.T, bias=True))
    eigenvalues, axes = eigenvalues[::-1], axes[:, ::-1]
    variance = eigenvalues[latent:].mean()
    R = stats.ortho_group.rvs(latent, random_state=seed)
    W = axes[:, :latent] * np.sqrt(eigenvalues[:latent] - variance) @ R
    return W.T, x.mean(0), variance


# --- what all three share


@pytest.mark.parametrize("name", sorted(LINEAR))
def test_one_skeleton(name):
    family = LINEAR[name](IMAGE_SHAPE, latent=3)
    assert family.name == name
    assert LINEAR[name](**family.architecture).architecture == family.architecture
    params, state = jax.jit(jax.vmap(family.init))(jax.random.split(jax.random.key(0), 2))
    one, one_state = trees.take((params, state), 1)
    symmetry.check_spec(family.spec, one)
    start = jax.eval_shape(family.init, jax.random.key(0))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(start))
    images = family.sample(one, one_state, jax.random.key(1), 50)
    assert images.shape == (50, *IMAGE_SHAPE)
    assert images.min() == 0 and images.max() == 1  # they are clipped
    assert family.encode(one, one_state, images).shape == (50, 3)
    hparams = {k: jnp.asarray(v) for k, v in family.hparams.items()}
    for values in family.evaluate(one, one_state, jax.random.key(0), images, hparams).values():
        assert values.shape == (50,)


@pytest.mark.parametrize("name", sorted(LINEAR))
def test_signs_and_orders_of_latents_leave_the_model(name):
    family = LINEAR[name](IMAGE_SHAPE, latent=3)
    params, state = some_params(3), family.init(jax.random.key(0))[1]
    if name == "pca":  # it has no noise
        del params["decoder"]["log_variance"]
    x = jax.random.uniform(jax.random.key(1), (5, *IMAGE_SHAPE))

    def outputs(params):
        values = family.evaluate(params, state, jax.random.key(0), x, {})
        return family.encode(params, state, x), jnp.stack(list(values.values()))

    code, values = outputs(params)
    order, signs = jnp.array([2, 0, 1]), jnp.array([1.0, -1.0, -1.0])
    changed = symmetry.mirror(params, family.spec, {"z": signs})
    changed = symmetry.permute(changed, family.spec, {"z": order})
    new_code, new_values = outputs(changed)
    np.testing.assert_allclose(new_code, (code * signs)[:, order], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(new_values, values, rtol=1e-3)
    scaled = jax.tree.map(lambda leaf: 1.5 * leaf, params)  # the negative control
    assert not np.allclose(outputs(scaled)[1], values, rtol=1e-2)


@pytest.mark.parametrize(
    ("name", "latent", "message"),
    [
        ("pca", 17, r"pca has latent=17; allowed: 1 to 16.*no more axes"),
        ("pca", 0, r"pca has latent=0; allowed: 1 to 16"),
        ("ppca", 16, r"ppca has latent=16; allowed: 1 to 15.*noise needs a direction"),
        ("bayesian_pca", -1, r"bayesian_pca has latent=-1; allowed: 1 to 15"),
    ],
)
def test_latents_that_cannot_be_are_refused(name, latent, message):
    with pytest.raises(ValueError, match=message):
        LINEAR[name](IMAGE_SHAPE, latent=latent)


# --- pca


def test_pca_finds_the_axes_of_scikit_learn_in_their_order(trained, x):
    member, reference = trained("pca", 2), PCA(2).fit(x)
    kernel, mean = dense_of(member.params)
    overlaps = np.abs(kernel @ reference.components_.T)
    np.testing.assert_allclose(overlaps, np.eye(2), atol=0.02)
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(2), atol=1e-5)
    np.testing.assert_allclose(mean, x.mean(0), atol=0.02)
    variances = member.state["code_variance"]
    np.testing.assert_allclose(variances, reference.explained_variance_, rtol=0.1)
    rest = np.square(x - reference.inverse_transform(reference.transform(x))).mean()
    assert member.metrics["reconstruction"] == pytest.approx(rest, rel=0.05)


def test_pca_before_training_has_other_axes(x):
    params, _ = linear.pca(IMAGE_SHAPE, latent=2).init(jax.random.key(0))
    assert np.abs(dense_of(params)[0] @ PCA(2).fit(x).components_.T).max() < 0.8


def test_pca_loss_is_the_variance_left_after_each_number_of_components(x):
    family = linear.pca(IMAGE_SHAPE, latent=3)
    _, state = family.init(jax.random.key(0))
    batch = Batch(jnp.asarray(x).reshape(-1, *IMAGE_SHAPE), jnp.zeros(len(x), int))
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    axes = PCA(3).fit(x).components_

    def loss(kernel):
        params = params_of(kernel, x.mean(0), 1.0)
        return family.players[0].loss_fn(params, state, jax.random.key(0), batch, {})[0]

    def left(order):
        kept = np.cumsum(np.append(0, eigenvalues[order]))  # after 0, 1, 2, 3 components
        return np.mean(eigenvalues.sum() - kept)

    for order in ([0, 1, 2], [1, 0, 2]):
        assert loss(axes[order]) == pytest.approx(left(order), rel=1e-3)
    assert left([0, 1, 2]) < 0.95 * left([1, 0, 2])  # the right order is worth something
    gradient = jax.grad(loss)(jnp.asarray(axes))
    assert jnp.abs(gradient).max() < 1e-4 < jnp.abs(jax.grad(loss)(jnp.asarray(0.9 * axes))).max()


def test_orthonormal_rows_keep_their_nested_spans_and_directions():
    kernel, mean = dense_of(some_params(5))
    rows, same = dense_of(linear.orthonormalise(some_params(5)))
    Q, R = np.linalg.qr(kernel.T)
    np.testing.assert_allclose(rows, (Q * np.sign(np.diag(R))).T, atol=1e-5)
    np.testing.assert_array_equal(same, mean)


def test_pca_moments_move_towards_those_of_the_batch():
    family = linear.pca(IMAGE_SHAPE, latent=2)
    params, state = family.init(jax.random.key(0))
    batch = Batch(jax.random.uniform(jax.random.key(1), (50, *IMAGE_SHAPE)), jnp.zeros(50, int))
    _, new = family.players[0].loss_fn(params, state, jax.random.key(2), batch, {})
    codes = np.asarray(family.encode(params, state, batch.x))
    np.testing.assert_allclose(new["code_mean"], 0.01 * codes.mean(0), rtol=1e-4)
    about_it = np.square(codes - 0.01 * codes.mean(0)).mean(0)
    np.testing.assert_allclose(new["code_variance"], 0.99 + 0.01 * about_it, rtol=1e-5)


# --- the likelihood


@pytest.mark.parametrize(("num", "latent"), [(2, 1), (16, 5), (16, 15)])
def test_log_likelihood_against_scipy(num, latent):
    rng = np.random.default_rng(0)
    kernel, mean = rng.normal(size=(latent, num)), rng.uniform(size=num)
    x = rng.uniform(size=(7, num))
    expected = stats.multivariate_normal(mean, kernel.T @ kernel + 0.3 * np.eye(num)).logpdf(x)
    args = (jnp.asarray(v, jnp.float32) for v in (x, kernel, mean, 0.3))
    np.testing.assert_allclose(linear.marginal_log_likelihood(*args), expected, rtol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 6])
def test_inverse_and_log_det_against_lapack(size):
    rng = np.random.default_rng(size)
    root, direction = rng.normal(size=(2, size, size))
    M, dM = root @ root.T + 0.3 * np.eye(size), direction + direction.T

    def exact(M):
        return np.linalg.inv(M), np.linalg.slogdet(M)[1]

    values, slopes = jax.jvp(
        linear.inverse_and_log_det, (jnp.float32(M),), (jnp.asarray(dM, jnp.float32),)
    )
    above, below = exact(M + 1e-5 * dM), exact(M - 1e-5 * dM)
    expected = [(a - b) / 2e-5 for a, b in zip(above, below, strict=True)]
    for actual, value in zip((*values, *slopes), (*exact(M), *expected), strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-3, atol=1e-3)


def test_gradient_vanishes_at_the_closed_form_maximum_in_any_rotation(x):
    family = linear.ppca(IMAGE_SHAPE, latent=3)
    batch = Batch(jnp.asarray(x).reshape(-1, *IMAGE_SHAPE), jnp.zeros(len(x), int))

    @jax.jit
    def slopes(params):
        loss = partial(family.players[0].loss_fn, state={}, key=None, batch=batch, hparams={})
        grads = jax.grad(lambda p: loss(p)[0])(params)["decoder"]
        return jax.tree.map(lambda g: jnp.abs(g).max(), grads)

    for seed in range(2):
        W, mean, variance = closed_form(x, 3, seed)
        assert max(jax.tree.leaves(slopes(params_of(W, mean, variance)))) < 0.02
    elsewhere = slopes(params_of(1.1 * W, mean + 0.01, 1.1 * variance))
    assert min(jax.tree.leaves(elsewhere)) > 0.2  # the negative control: of each parameter


def test_ppca_reaches_the_maximum_likelihood(trained, x):
    member, reference = trained("ppca", 5), PCA(5).fit(x)
    kernel, _ = dense_of(member.params)
    variance = np.exp(member.params["decoder"]["log_variance"])
    assert variance == pytest.approx(closed_form(x, 5)[2], rel=0.03)  # Tipping & Bishop, eq. 8
    assert variance == pytest.approx(reference.noise_variance_, rel=0.03)
    covariance = kernel.T @ kernel + variance * np.eye(PIXELS)
    error = np.abs(covariance - reference.get_covariance()).max()
    assert error < 0.05 * reference.get_covariance().max()
    score = member.metrics["log_likelihood"]  # its images are those that it was trained on
    assert reference.score(x) - 0.1 < score < reference.score(x) + 1e-3
    assert PCA(1).fit(x).score(x) < reference.score(x) - 1  # the negative control: a worse model


def test_ppca_encodes_the_mean_of_the_posterior():
    family, params = linear.ppca(IMAGE_SHAPE, latent=3), some_params(3)
    x = np.random.default_rng(1).uniform(size=(4, PIXELS))
    kernel, mean = dense_of(params)
    covariance = kernel.T @ kernel + 0.002 * np.eye(PIXELS)  # z and x are jointly Gaussian
    expected = (x - mean) @ np.linalg.solve(covariance, kernel.T)
    code = family.encode(params, {}, jnp.asarray(x, jnp.float32).reshape(4, *IMAGE_SHAPE))
    np.testing.assert_allclose(code, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["pca", "ppca"])
def test_samples_have_the_moments_of_the_model(name):
    params = some_params(2)
    kernel, mean = dense_of(params)
    state = {"code_mean": jnp.array([0.1, -0.2]), "code_variance": jnp.array([0.5, 0.2])}
    expected = mean, kernel.T @ kernel + 0.002 * np.eye(PIXELS)
    if name == "pca":
        expected = mean + np.array([0.1, -0.2]) @ kernel, kernel.T @ np.diag([0.5, 0.2]) @ kernel
    draws = LINEAR[name](IMAGE_SHAPE, latent=2).sample(params, state, jax.random.key(0), 4000)
    draws = np.asarray(draws).reshape(-1, PIXELS)
    np.testing.assert_allclose(draws.mean(0), expected[0], atol=0.02)
    np.testing.assert_allclose(np.cov(draws.T), expected[1], atol=0.002)
    assert np.abs(expected[1] - np.diag(np.diag(expected[1]))).max() > 0.005


# --- automatic relevance determination


def test_bayesian_pca_keeps_the_latents_that_so_many_images_tell_from_noise(trained, data):
    task = Task(linear.bayesian_pca(IMAGE_SHAPE, latent=5), 800, 64)
    inputs = [inputs_of(task, num_images=num) for num in (400.0, 8000.0)]
    inputs = jax.tree.map(lambda *rows: jnp.concatenate(rows), *inputs)
    pruned, whole = (
        trees.take(jax.jit(jax.vmap(partial(train_member, task=task), (0, None)))(inputs, data), i)
        for i in range(2)
    )
    ordinary = trained("ppca", 5)
    assert linear.effective_latents(pruned.params) == 2
    # the negative controls: the same spread of the noise counts in twenty times as many images
    assert linear.effective_latents(whole.params) == 5
    assert linear.effective_latents(ordinary.params) == 5
    alpha = np.sort(pruned.state["alpha"])
    assert alpha[1] * 1000 < alpha[2]
    gap = ordinary.metrics["log_likelihood"] - pruned.metrics["log_likelihood"]
    assert 0 < gap < 0.5


def test_the_prior_costs_half_its_precision_times_the_norm_for_each_image():
    family, ordinary = (LINEAR[name](IMAGE_SHAPE, latent=3) for name in ("bayesian_pca", "ppca"))
    params, state = family.init(jax.random.key(0))
    batch = Batch(jax.random.uniform(jax.random.key(1), (5, *IMAGE_SHAPE)), jnp.zeros(5, int))
    hparams = {"num_images": jnp.float32(40.0)}

    def loss(family, params):
        return family.players[0].loss_fn(params, state, jax.random.key(0), batch, hparams)

    (value, new), (plain, _) = loss(family, params), loss(ordinary, params)
    # α = d / ‖w‖², so that α ‖w‖² is the number of pixels whatever w is
    assert value - plain == pytest.approx(0.5 * 3 * PIXELS / 40, rel=1e-4)
    kernel, _ = dense_of(params)
    np.testing.assert_allclose(new["alpha"], PIXELS / np.square(kernel).sum(1), rtol=1e-5)
    slopes = [jax.grad(lambda p, f=f: loss(f, p)[0])(params) for f in (family, ordinary)]
    pull = dense_of(slopes[0])[0] - dense_of(slopes[1])[0]
    np.testing.assert_allclose(pull, new["alpha"][:, None] * kernel / 40, rtol=1e-2, atol=1e-3)
