from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import IMAGE_SHAPE

from genvec import symmetry, trees
from genvec.families.hyper_vae import (
    draw_proportions,
    hyper_vae,
    reweigh,
    write_member,
    written_family,
)
from genvec.families.vae import vae
from genvec.types import Batch
from genvec.zoo import Task, member_inputs, train_member

PURE = jnp.eye(3)


@pytest.fixture(scope="module")
def hyper():
    return hyper_vae(IMAGE_SHAPE, num_classes=3, hidden=(12,), latent=2, hyper_hidden=(8,))


@pytest.fixture(scope="module")
def trained(hyper, data):
    """One member, trained on the uniform mixture of three classes."""
    mixture = jnp.full((1, 3), 1 / 3)
    hparams = {"learning_rate": 1e-2}
    inputs = member_inputs(jax.random.key(0), mixture, hyper, init="independent", hparams=hparams)
    task = Task(hyper, 600, 16)
    return jax.jit(partial(train_member, task=task))(trees.take(inputs, 0), data)


@pytest.fixture(scope="module")
def starts(hyper):
    """First parameters and states of 50 members."""
    keys = jax.random.split(jax.random.key(0), 50)
    return jax.device_get(jax.jit(jax.vmap(hyper.init))(keys))


@pytest.fixture(scope="module")
def start(starts):
    return trees.take(starts, 0)


def shaken(params):
    """Parameters in which no bias is zero, so that a lost bias shows."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: jnp.asarray(x + 0.1 * rng.normal(size=x.shape), jnp.float32), params
    )


def shapes(params):
    return {name: leaf.shape for name, leaf in trees.flatten_names(params).items()}


def test_it_writes_the_parameters_of_a_vae(hyper, start):
    params, state = start
    member = write_member(hyper, params, PURE[0])
    target = vae(IMAGE_SHAPE, hidden=(12,), latent=2)
    assert shapes(member) == shapes(jax.eval_shape(target.init, jax.random.key(0))[0])
    assert written_family(hyper).architecture == target.architecture
    np.testing.assert_array_equal(  # its own samples are those of what it writes for its mixture
        hyper.sample(params, state, jax.random.key(1), 3),
        target.sample(write_member(hyper, params, jnp.full(3, 1 / 3)), {}, jax.random.key(1), 3),
    )


def test_only_the_hypernetwork_is_trained(hyper, start):
    params, state = start
    num = sum(leaf.size for leaf in jax.tree.leaves(write_member(hyper, params, PURE[0])))
    assert shapes(params) == {
        "hypernetwork/dense_0/kernel": (3, 8),
        "hypernetwork/dense_0/bias": (8,),
        "hypernetwork/dense_1/kernel": (8, num),
        "hypernetwork/dense_1/bias": (num,),
    }
    assert hyper.players[0].owns == ("hypernetwork",)
    symmetry.check_spec(hyper.spec, params)
    assert hyper.spec.groups == {"d": 3, "hyper_0": 8, "w": num}
    again = hyper_vae(**hyper.architecture)
    assert shapes(jax.eval_shape(again.init, jax.random.key(0))[0]) == shapes(params)
    assert shapes(state) == {"proportions": (3,), "batches": ()}


def test_members_start_as_a_vae_does_each_a_little_different(hyper, starts):
    write = jax.jit(jax.vmap(lambda p, d: write_member(hyper, p, d), (0, None)))
    first, second = (trees.flatten_names(write(starts[0], d)) for d in PURE[:2])
    for name, (fan_in, *_) in {n: x.shape[1:] for n, x in first.items()}.items():
        if name.endswith("bias"):
            np.testing.assert_array_equal(first[name], 0.0)
        else:  # LeCun: variance 1 / fan-in
            assert first[name].std() * np.sqrt(fan_in) == pytest.approx(1.0, rel=0.15), name
            difference = (first[name] - second[name]).std() / first[name].std()
            assert 0.02 < difference < 0.4, name


@pytest.mark.parametrize("hyper_hidden", [(), (4, 5)])
def test_any_number_of_hidden_layers(hyper_hidden):
    family = hyper_vae(IMAGE_SHAPE, num_classes=2, hidden=(), hyper_hidden=hyper_hidden)
    params, _ = jax.eval_shape(family.init, jax.random.key(0))
    symmetry.check_spec(family.spec, params)
    assert len(params["hypernetwork"]) == len(hyper_hidden) + 1


def test_rescaling_hidden_neurons_leaves_what_is_written(hyper, start):
    params = shaken(start[0])
    d = jnp.array([0.2, 0.5, 0.3])
    factors = {"hyper_0": jnp.linspace(0.5, 2.0, 8)}
    expected = trees.ravel(write_member(hyper, params, d))
    same = write_member(hyper, symmetry.rescale(params, hyper.spec, factors), d)
    np.testing.assert_allclose(trees.ravel(same), expected, rtol=1e-4, atol=1e-5)
    wrong = symmetry.rescale(params, hyper.spec, {"d": jnp.array([0.5, 1.0, 2.0])})
    other = trees.ravel(write_member(hyper, wrong, d))
    assert not np.allclose(other, expected, rtol=1e-2)  # the negative control


def test_weights_by_hand():
    d, weight = reweigh(jnp.array([0.5, 0.2, 0.3]), jnp.array([0, 1, 0, 2, 2, 2]))
    np.testing.assert_allclose(d, [0.5, 0.2, 0.3], rtol=1e-6)
    np.testing.assert_allclose(weight, [0.25, 0.2, 0.25, 0.1, 0.1, 0.1], rtol=1e-6)
    d, weight = reweigh(jnp.array([0.2, 0.5, 0.3]), jnp.array([2, 0, 0]))  # no image of class 1
    np.testing.assert_allclose(d, [0.4, 0.0, 0.6], rtol=1e-6)
    np.testing.assert_allclose(weight, [0.6, 0.2, 0.2], rtol=1e-6)
    _, weight = reweigh(jnp.array([0.0, 1.0, 0.0]), jnp.array([2, 0, 0]))  # nothing is left
    np.testing.assert_allclose(weight.sum(), 1.0, rtol=1e-6)


def test_reweighing_a_batch_is_drawing_from_the_other_mixture():
    """The expectation over all 2³ batches of two images of class 0 and one of class 1."""
    d = np.array([0.2, 0.8])
    values = np.array([[1.0, 5.0], [-2.0, 12.0]])  # of the two images of each class
    drawn = d @ values.mean(axis=1)  # the class by d, then an image uniformly
    label = jnp.array([0, 1, 0])
    batches = [values[np.asarray(label), np.array(i)] for i in np.ndindex(2, 2, 2)]
    _, weight = reweigh(jnp.asarray(d), label)
    reweighed = np.mean([np.dot(weight, batch) for batch in batches])
    assert reweighed == pytest.approx(drawn, rel=1e-5)
    assert abs(np.mean(batches) - drawn) > 0.5  # the negative control: without weights


@pytest.mark.parametrize("alpha", [0.5, 1.5])
def test_proportions_have_the_moments_of_a_dirichlet(alpha):
    from scipy import stats

    draws = np.asarray(draw_proportions(jax.random.key(0), 40_000, 3, alpha))
    exact = stats.dirichlet(np.full(3, alpha))
    np.testing.assert_allclose(draws.sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(draws.mean(0), exact.mean(), atol=0.005)
    np.testing.assert_allclose(draws.var(0), exact.var(), rtol=0.03)
    beta = stats.beta(alpha, 2 * alpha)  # the marginal
    assert stats.kstest(draws[:, 0], beta.cdf).statistic < 0.01


def test_a_batch_of_one_class_trains_the_member_of_that_class(hyper, start):
    """Whatever mixture is drawn, only that class is left of it."""
    params, state = shaken(start[0]), start[1]
    x = jax.random.uniform(jax.random.key(1), (4, *IMAGE_SHAPE))
    batch = Batch(x, jnp.full(4, 1))
    target, keys = written_family(hyper), jax.random.split(jax.random.key(2), 500)
    hparams = {name: jnp.asarray(value) for name, value in target.hparams.items()}

    @jax.jit
    def mean_loss(params):
        loss_fn = hyper.players[0].loss_fn
        return jax.vmap(lambda key: loss_fn(params, state, key, batch, {})[0])(keys).mean()

    @jax.jit
    def mean_elbo(member):
        return jax.vmap(lambda k: target.evaluate(member, {}, k, x, hparams)["elbo"])(keys).mean()

    losses = [-float(mean_elbo(write_member(hyper, params, d))) for d in PURE]
    assert mean_loss(params) == pytest.approx(losses[1], rel=0.01)
    assert abs(losses[0] - losses[1]) > 0.03 * losses[1]  # the negative control


def test_state_is_the_mean_of_the_label_frequencies(hyper, start):
    params, state = start
    state_fn = jax.jit(lambda *args: hyper.players[0].loss_fn(*args)[1])
    x = jnp.zeros((4, *IMAGE_SHAPE))
    for labels in ([0, 0, 1, 2], [2, 2, 2, 2], [1, 2, 2, 0]):
        batch = Batch(x, jnp.array(labels))
        state = state_fn(params, state, jax.random.key(0), batch, {})
    np.testing.assert_allclose(state["proportions"], [3 / 12, 2 / 12, 7 / 12], rtol=1e-6)
    assert state["batches"] == 3


def test_members_written_for_one_class_generate_it(hyper, trained):
    """Class k of `data` is bright in row k."""
    target = written_family(hyper)
    sample = jax.jit(lambda p: target.sample(p, {}, jax.random.key(0), 200))
    rows = {}
    for name, d in {"a": PURE[0], "b": PURE[1], "c": PURE[2], "all": jnp.full(3, 1 / 3)}.items():
        images = sample(write_member(hyper, trained.params, d))
        assert (images >= 0).all() and (images <= 1).all()
        brightest = np.asarray(images.mean(axis=(2, 3)).argmax(axis=1))
        rows[name] = np.bincount(brightest, minlength=4) / 200
    for k, name in enumerate("abc"):
        assert rows[name][k] > 0.8, rows
    assert rows["all"].max() < 0.6  # the negative control
    assert trained.metrics["finite"]
    np.testing.assert_allclose(trained.state["proportions"], 1 / 3, atol=0.03)


def test_its_own_mixture_is_what_it_encodes_and_is_judged_by(hyper, trained, data):
    target, d = written_family(hyper), trained.state["proportions"]
    member = write_member(hyper, trained.params, d)
    x = data.heldout_images / 255.0
    hparams = {name: jnp.asarray(value) for name, value in target.hparams.items()}
    actual = hyper.evaluate(trained.params, trained.state, jax.random.key(0), x, {})
    expected = target.evaluate(member, {}, jax.random.key(0), x, hparams)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), actual, expected)
    code = hyper.encode(trained.params, trained.state, x)
    np.testing.assert_allclose(code, target.encode(member, {}, x), rtol=1e-5)
    other = {**trained.state, "proportions": PURE[0]}  # the negative control
    assert not np.allclose(hyper.encode(trained.params, other, x), code, rtol=0.01)


@pytest.mark.parametrize("num_classes", [None, 0, 1])
def test_it_must_be_told_the_number_of_classes(num_classes):
    message = rf"num_classes is {num_classes}; .*classes of the zoo.*config.classes.num"
    with pytest.raises(ValueError, match=message):
        hyper_vae(IMAGE_SHAPE, num_classes=num_classes)


@pytest.mark.parametrize("alpha", [0.7, 0.0, -1.0])
def test_alpha_must_be_a_multiple_of_a_half(alpha):
    with pytest.raises(ValueError, match=f"alpha is {alpha}; .* multiple of 1/2"):
        hyper_vae(IMAGE_SHAPE, num_classes=3, alpha=alpha)


def test_proportions_of_another_zoo_are_refused(hyper, start):
    with pytest.raises(AssertionError, match=r"has shape \(4,\)"):
        write_member(hyper, start[0], jnp.full(4, 0.25))
