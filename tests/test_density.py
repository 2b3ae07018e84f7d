import importlib
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genvec import symmetry, trees
from genvec.families.density import HEADS, Head, density
from genvec.mixtures import group_by_class, to_unit
from genvec.registry import UnknownNameError
from genvec.types import Dataset
from genvec.zoo import Task, member_inputs, train_member

module = importlib.import_module("genvec.families.density")  # the function has the same name


def noisy_params(family, scale=1.0):
    """Parameters that are nowhere zero, not even where they are masked."""
    rng = np.random.default_rng(0)
    shapes, _ = jax.eval_shape(family.init, jax.random.key(0))
    return jax.tree.map(lambda s: jnp.asarray(scale * rng.normal(size=s.shape), s.dtype), shapes)


def log_likelihood(family, params, x):
    evaluate = jax.jit(family.evaluate)
    return evaluate(params, {}, jax.random.key(0), jnp.asarray(x), {})["log_likelihood"]


def mass_of_all_cells(family, params, image_shape, K):
    """Σ density · volume over every cell of a grid with K columns for each pixel."""
    middles = (np.arange(K, dtype=np.float32) + 0.5) / K
    pixels = int(np.prod(image_shape))
    cells = np.array(list(itertools.product(middles, repeat=pixels)))
    x = cells.reshape(-1, *image_shape)
    return float(jnp.sum(jnp.exp(log_likelihood(family, params, x))) / K**pixels)


def mass_on_the_plane(family, params):
    """∫ p(x) dx over two pixels by the midpoint rule, far beyond [0, 1]."""
    line = np.arange(-7, 8, 0.03, np.float32)
    x = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 1, 2, 1)
    return float(jnp.sum(jnp.exp(log_likelihood(family, params, x))) * 0.03**2)


@pytest.fixture
def look_ahead(monkeypatch):
    """A family built now lets the first pixel's density see all hidden neurons."""

    def masks(pixels, hidden):
        masks = causal_masks(pixels, hidden)
        masks[-1][:, 0] = True
        return masks

    causal_masks = module.causal_masks
    monkeypatch.setattr(module, "causal_masks", masks)


# --- nothing looks ahead


@pytest.mark.parametrize("hidden", [(7,), (5, 9)])
def test_masks_connect_each_pixel_to_all_before_it_and_no_other(hidden):
    product = np.linalg.multi_dot([mask.astype(int) for mask in module.causal_masks(6, hidden)])
    np.testing.assert_array_equal(product > 0, np.triu(np.ones((6, 6)), 1) > 0)


def test_a_narrow_layer_spreads_its_degrees_evenly():
    first, second = module.causal_masks(9, (2,))
    np.testing.assert_array_equal(first.sum(0), [3, 7])  # pixels that the two neurons see
    np.testing.assert_array_equal(second.sum(1), [6, 2])  # pixels that see them


def jacobian(image_shape, params):
    """d (numbers of pixel i) / d (pixel j), through the family itself, by a head that picks i."""
    pixels = int(np.prod(image_shape))
    x = jax.random.uniform(jax.random.key(5), (1, *image_shape))

    @jax.jit
    @jax.vmap
    def row(picked):
        head = Head(lambda K: np.zeros(K), lambda numbers, x: numbers.sum(-1) * picked, jnp.add)
        HEADS["picked"] = head
        family = density(image_shape, hidden=(8, 8), head="picked", num_columns=2)
        return jax.grad(lambda x: log_likelihood(family, params, x)[0])(x).reshape(pixels)

    try:
        return np.asarray(row(jnp.eye(pixels)))
    finally:
        del HEADS["picked"]


def test_numbers_of_a_pixel_depend_on_the_pixels_before_it_alone(request):
    shape = (2, 1, 2)
    params = noisy_params(density(shape, hidden=(8, 8), num_columns=2))
    found = jacobian(shape, params)
    assert np.abs(np.triu(found)).max() == 0
    assert np.abs(found).max() > 0.1
    request.getfixturevalue("look_ahead")  # the negative control
    assert np.abs(np.triu(jacobian(shape, params))).max() > 0


@pytest.mark.parametrize("image_shape", [(1, 2, 1), (2, 1, 2)])
def test_histogram_cells_sum_to_one(image_shape):
    family = density(image_shape, hidden=(8,), num_columns=3)
    mass = mass_of_all_cells(family, noisy_params(family), image_shape, 3)
    assert mass == pytest.approx(1, abs=1e-5)


def test_histogram_cells_do_not_sum_to_one_where_one_pixel_looks_ahead(look_ahead):
    family = density((1, 2, 1), hidden=(8,), num_columns=3)
    assert abs(mass_of_all_cells(family, noisy_params(family), (1, 2, 1), 3) - 1) > 0.01


def test_gaussian_mixture_integrates_to_one():
    family = density((1, 2, 1), hidden=(4,), head="gaussian_mixture", num_columns=2)
    assert mass_on_the_plane(family, noisy_params(family, 0.5)) == pytest.approx(1, abs=2e-3)


def test_gaussian_mixture_does_not_integrate_to_one_where_one_pixel_looks_ahead(look_ahead):
    family = density((1, 2, 1), hidden=(4,), head="gaussian_mixture", num_columns=2)
    assert abs(mass_on_the_plane(family, noisy_params(family, 0.5)) - 1) > 0.02


# --- heads


def test_histogram_density_by_hand():
    logits = jnp.log(jnp.array([0.1, 0.2, 0.7])) + 5.0
    x = jnp.array([0.0, 0.32, 0.34, 0.66, 0.67, 1.0])  # zero and one are inside
    p = HEADS["histogram"].log_density(jnp.tile(logits, (6, 1)), x)
    np.testing.assert_allclose(np.exp(p), np.array([0.3, 0.3, 0.6, 0.6, 2.1, 2.1]), rtol=1e-5)


def test_gaussian_mixture_density_against_scipy():
    w, mean, sigma = np.array([0.2, 0.5, 0.3]), np.array([0.1, 0.4, 0.9]), np.array([0.1, 0.3, 0.2])
    numbers = np.concatenate([np.log(w) - 1, mean, np.log(sigma - 1 / 32)]).astype(np.float32)
    x = np.linspace(-0.5, 1.5, 9, dtype=np.float32)
    p = HEADS["gaussian_mixture"].log_density(jnp.tile(numbers, (9, 1)), jnp.asarray(x))
    np.testing.assert_allclose(np.exp(p), stats.norm(mean, sigma).pdf(x[:, None]) @ w, rtol=1e-4)


def test_repeated_values_cannot_drive_the_mixture_up_without_bound():
    numbers = jnp.array([0.0, 0.0, 0.0, 0.0, -100.0, -100.0])  # both components at 0, no width
    p = HEADS["gaussian_mixture"].log_density(numbers, jnp.zeros(()))
    assert p == pytest.approx(stats.norm(0, 1 / 32).logpdf(0), rel=1e-5)
    assert p < 2.55


@pytest.mark.parametrize("head", sorted(HEADS))
def test_draws_of_a_head_follow_its_density(head):
    numbers = {
        "histogram": np.log([0.1, 0.2, 0.7]),
        "gaussian_mixture": np.concatenate([np.log([0.3, 0.7]), [0.3, 0.7], np.log([0.05, 0.02])]),
    }[head].astype(np.float32)
    draws = HEADS[head].draw(jax.random.key(0), jnp.tile(numbers, (20_000, 1)))
    edges = np.linspace(0, 1, 13)
    grid = (np.arange(1200, dtype=np.float32) + 0.5) / 1200
    p = np.exp(HEADS[head].log_density(jnp.tile(numbers, (1200, 1)), jnp.asarray(grid)))
    expected = p.reshape(12, 100).mean(1) / 12
    counts, _ = np.histogram(draws, edges)
    np.testing.assert_allclose(counts / 20_000, expected, atol=0.015)
    assert expected.max() > 2 * expected.min() + 0.05


# --- the family


def test_samples_are_as_frequent_as_the_density_says():
    family = density((1, 2, 1), hidden=(8,), num_columns=3)
    params = noisy_params(family)
    images = family.sample(params, {}, jax.random.key(0), 20_000)
    assert images.shape == (20_000, 1, 2, 1)
    columns = np.minimum((np.asarray(images).reshape(-1, 2) * 3).astype(int), 2)
    counts = np.bincount(columns @ [3, 1], minlength=9) / 20_000
    middles = np.array(list(itertools.product([1 / 6, 0.5, 5 / 6], repeat=2)), np.float32)
    # within a cell the second pixel's density changes with the first: the mean of many places
    places = np.random.default_rng(0).uniform(-1 / 6, 1 / 6, (200, 1, 2)).astype(np.float32)
    x = (middles + places).reshape(-1, 1, 2, 1)
    p = np.exp(log_likelihood(family, params, x)).reshape(200, 9).mean(0) / 9
    np.testing.assert_allclose(counts, p, atol=0.012)
    assert not np.allclose(counts.reshape(3, 3), counts.reshape(3, 3).T, atol=0.03)  # order matters


@pytest.mark.parametrize("head", sorted(HEADS))
def test_one_skeleton(head):
    family = density((2, 3, 1), hidden=(7, 5), head=head, num_columns=3)
    assert family.name == "density"
    assert density(**family.architecture).architecture == family.architecture
    params, state = jax.jit(jax.vmap(family.init))(jax.random.split(jax.random.key(0), 2))
    assert state == {}
    one = trees.take(params, 1)
    symmetry.check_spec(family.spec, one)
    start = jax.eval_shape(family.init, jax.random.key(0))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(start))
    images = jax.jit(family.sample, static_argnums=3)(one, {}, jax.random.key(1), 40)
    assert images.shape == (40, 2, 3, 1)
    assert images.min() >= 0 and images.max() <= 1 and len(np.unique(images)) > 100
    assert family.encode(one, {}, images).shape == (40, 5)
    assert log_likelihood(family, one, images).shape == (40,)


def test_hidden_neurons_may_be_rescaled_and_no_others():
    family = density((2, 3, 1), hidden=(7, 5), num_columns=3)
    params, x = noisy_params(family), jax.random.uniform(jax.random.key(1), (4, 2, 3, 1))
    changed = symmetry.augment(jax.random.key(2), params, family.spec, spread=0.5)
    before, after = (log_likelihood(family, p, x) for p in (params, changed))
    np.testing.assert_allclose(before, after, rtol=1e-4)
    wrong = symmetry.rescale(params, family.spec, {"x": jnp.linspace(0.5, 2, 6)})
    assert not np.allclose(before, log_likelihood(family, wrong, x), rtol=1e-2)


def correlated_images(num):
    """2×2 images of one gray level, dark or bright, in some noise."""
    rng = np.random.default_rng(0)
    level = rng.choice([40, 220], (num, 1, 1, 1))
    return (level + rng.integers(-20, 21, (num, 2, 2, 1))).astype(np.uint8)


def independent_pixels(x, K):
    """Mean log-likelihood of the best histogram that takes pixels to be independent, in nats."""
    columns = np.minimum((x.reshape(-1, 4) * K).astype(int), K - 1)
    p = np.stack([np.bincount(c, minlength=K) for c in columns.T]) / len(x)
    return np.mean(np.sum(np.log(K * p[np.arange(4), columns]), axis=1))


def test_training_finds_what_pixels_have_in_common():
    images, labels = correlated_images(300), np.zeros(300, np.int32)
    data = group_by_class(Dataset("gray", ("all",), images, labels, images, labels), (0,))
    family = density((2, 2, 1), hidden=(16,), num_columns=4)
    inputs = member_inputs(
        jax.random.key(0), np.ones((1, 1)), family, init="independent", hparams={}
    )
    inputs = trees.take(inputs, 0)
    member = jax.jit(partial(train_member, task=Task(family, 400, 32)))(inputs, data)
    curve = member.metrics["density_loss_curve"]
    assert curve[-1] < curve[0] - 1
    alone = independent_pixels(np.asarray(to_unit(data.images)), 4)
    assert member.metrics["log_likelihood"] > alone + 1
    best = 4 * np.log(4) - np.log(2)  # of two equally likely images, a column each
    assert best - 0.5 < member.metrics["log_likelihood"] < best + 0.01
    first, _ = family.init(inputs.init_key)
    for name, mask in zip(("dense_0", "dense_1"), module.causal_masks(4, (16,)), strict=True):
        kernel = np.asarray(member.params["density"][name]["kernel"])
        assert (kernel[~mask] == 0).all()  # and those that are not masked have moved
        moved = kernel != np.asarray(first["density"][name]["kernel"])
        assert moved[mask].mean() > 0.5


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 2, 1), {"head": "poisson"}, "unknown head 'poisson'; known: gaussian_mixture, hist"),
        ((2, 2, 1), {"num_columns": 1}, "num_columns is 1; allowed: 2 or more"),
        ((1, 1, 1), {}, r"images \(1, 1, 1\) have 1 pixels; allowed: 2 or more"),
        ((2, 2, 1), {"hidden": ()}, r"needs hidden layers, such as hidden=\(64,\)"),
    ],
)
def test_bad_settings_are_refused(shape, options, message):
    with pytest.raises((UnknownNameError, ValueError), match=message):
        density(shape, **options)
