from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genvec import trees
from genvec.types import Family, Player, Spec
from genvec.zoo import PLANS, Plan, Task, chunk_runner, member_inputs, train_member, train_zoo

STEPS = 30
PLAN = Plan("scan", 2)
MIXTURES = jnp.array([[1.0, 0, 0], [0, 1, 0], [0.2, 0.3, 0.5], [0, 0, 1], [0.5, 0.5, 0]])


def inputs_of(family, init="independent", **hparams):
    return member_inputs(jax.random.key(0), MIXTURES, family, init=init, hparams=hparams)


def trained(family, inputs, data, segments, plan=PLAN, **options):
    parts = {}
    runner = chunk_runner(plan, Task(family, STEPS, 8), **options)
    train_zoo(runner, inputs, data, segments, parts.__setitem__)
    return parts


def alone(family, inputs, data, steps=STEPS, batch_size=8):
    return jax.jit(partial(train_member, task=Task(family, steps, batch_size)))(inputs, data)


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), a, b)


def test_member_of_the_zoo_equals_the_member_trained_alone(family, data):
    inputs = inputs_of(family)
    zoo = trained(family, inputs, data, {0: slice(0, 5)})[0]
    for i in (0, 4):
        close(trees.take(zoo, i).params, alone(family, trees.take(inputs, i), data).params)
    other = trees.take(zoo.params, 1)  # the negative control: members do differ
    assert not np.allclose(trees.ravel(other), trees.ravel(trees.take(zoo.params, 0)), rtol=1e-2)


def test_segments_do_not_change_members(vae, data):
    inputs = inputs_of(vae)
    whole = trained(vae, inputs, data, {0: slice(0, 5)})[0]
    parts = trained(vae, inputs, data, {7: slice(0, 3), 9: slice(3, 5)})
    assert list(parts) == [7, 9]
    joined = trees.concatenate([parts[7].params, parts[9].params])
    jax.tree.map(np.testing.assert_array_equal, whole.params, joined)  # equal width, equal bits


@pytest.mark.parametrize("plan", [Plan(name, 2) for name in sorted(PLANS)] + [Plan("scan", 5)])
def test_plans_train_the_same_members(vae, data, plan):
    inputs = inputs_of(vae)
    usual = trained(vae, inputs, data, {0: slice(0, 5)})[0]
    other = trained(vae, inputs, data, {0: slice(0, 5)}, plan)[0]
    close(usual.params, other.params)
    close(usual.metrics["vae_loss_curve"], other.metrics["vae_loss_curve"])
    moved = inputs._replace(key=inputs.key[::-1])  # the negative control: other batches
    moved = trained(vae, moved, data, {0: slice(0, 5)}, plan)[0]
    assert not np.allclose(
        moved.params["decoder"]["dense_0"]["kernel"],
        usual.params["decoder"]["dense_0"]["kernel"],
        rtol=1e-2,
    )


def test_chunks_are_told_of_and_segments_come_in_order(vae, data):
    runner, told, numbers = chunk_runner(PLAN, Task(vae, 2, 4)), [], []
    segments = {4: slice(2, 5), 1: slice(0, 2)}
    train_zoo(runner, inputs_of(vae), data, segments, lambda n, t: numbers.append(n), told.append)
    assert numbers == [4, 1]
    assert sum(told) == 5 and max(told) <= runner.size


@pytest.mark.parametrize(
    ("plan", "precision", "message"),
    [
        (Plan("scam", 2), "float32", "unknown plan 'scam'; known: scan, stepped, unrolled"),
        (Plan("scan", 0), "float32", "width is 0"),
        (PLAN, "float16", "unknown precision 'float16'; known: bfloat16, float32, tensorfloat32"),
    ],
)
def test_bad_plans_are_refused(vae, plan, precision, message):
    with pytest.raises((KeyError, ValueError), match=message):
        chunk_runner(plan, Task(vae, 2, 4), precision=precision)


def test_bfloat16_is_asked_of_every_matmul_and_of_nothing_else(vae, data):
    """A CPU computes in float32 whatever is asked, so the request itself is looked at."""

    def program(precision):
        runner = chunk_runner(PLAN, Task(vae, 3, 4), precision=precision)
        inputs = trees.take(inputs_of(vae), np.arange(runner.size) % 5)
        carry = runner.start(inputs)
        text = str(jax.make_jaxpr(lambda c: runner.advance(c, 0, 3, inputs, data))(carry))
        return text.count("dot_general["), text.count("BF16_BF16_F32"), carry

    dots, asked, carry = program("bfloat16")
    assert dots > 10 and asked >= dots
    assert {leaf.dtype.name for leaf in jax.tree.leaves((carry.params, carry.opt_states))} <= {
        "float32",
        "int32",
    }
    assert program("float32")[1] == 0  # the negative control


def test_a_nan_member_leaves_the_others_untouched(vae, data):
    inputs = inputs_of(vae)
    good = trained(vae, inputs, data, {0: slice(0, 5)})[0]
    rates = inputs.hparams["learning_rate"].at[2].set(jnp.nan)
    bad = trained(
        vae,
        inputs._replace(hparams={**inputs.hparams, "learning_rate": rates}),
        data,
        {0: slice(0, 5)},
    )[0]
    np.testing.assert_array_equal(bad.metrics["finite"], [True, True, False, True, True])
    others = np.array([0, 1, 3, 4])
    jax.tree.map(
        np.testing.assert_array_equal,
        trees.take(good.params, others),
        trees.take(bad.params, others),
    )


def test_training_lowers_the_loss_and_tells_mixtures_apart(family, data):
    member = alone(family, trees.take(inputs_of(family), 0), data, 400, 16)
    name = family.players[0].name
    curve = member.metrics[f"{name}_loss_curve"]
    assert curve.shape == (32,)
    assert curve[-1] < 0.9 * curve[0]
    assert member.metrics[f"{name}_loss"] == curve[-1]
    images = family.sample(member.params, member.state, jax.random.key(0), 64)
    assert int(images.mean((0, 2, 3)).argmax()) == 0  # class 0 is bright in row 0


@pytest.mark.parametrize("at_once", [7, 128])  # parts and a rest of the held-out images; all
def test_metrics_are_averaged_in_the_proportions_of_the_mixture(vae, data, at_once, monkeypatch):
    monkeypatch.setattr("genvec.zoo.member.EVALUATED", at_once)
    assert len(data.heldout_images) % 7 and 7 < len(data.heldout_images) < 128
    member = alone(vae, trees.take(inputs_of(vae), 2), data, steps=3)
    x = np.asarray(data.heldout_images, np.float32) / 255
    hparams = trees.take(inputs_of(vae), 2).hparams
    values = vae.evaluate(member.params, {}, jax.random.key(0), jnp.asarray(x), hparams)
    error = np.asarray(values["reconstruction"])
    labels = np.asarray(data.heldout_labels)
    expected = sum(p * error[labels == k].mean() for k, p in enumerate([0.2, 0.3, 0.5]))
    assert member.metrics["reconstruction"] == pytest.approx(expected, rel=1e-4)


def test_shared_init_starts_everybody_from_one_point(vae):
    def first_params(init):
        keys = inputs_of(vae, init=init).init_key
        return [trees.ravel(vae.init(key)[0]) for key in keys[:2]]

    np.testing.assert_array_equal(*first_params("shared"))
    assert not np.allclose(*first_params("independent"))
    keys = inputs_of(vae, init="shared").key
    assert keys[0] != keys[1]  # batches and noise stay each member's own


def test_inputs_of_a_member_do_not_depend_on_the_size_of_the_zoo(vae):
    few = member_inputs(
        jax.random.key(0), MIXTURES[:2], vae, init="independent", hparams={"beta": (0.5, 2.0)}
    )
    many = inputs_of(vae, beta=(0.5, 2.0))
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.tree.map(_plain, trees.take(many, slice(0, 2))),
        jax.tree.map(_plain, few),
    )
    assert (many.hparams["beta"] >= 0.5).all() and (many.hparams["beta"] <= 2).all()
    assert len(set(many.hparams["beta"].tolist())) == 5


def _plain(x):
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


@pytest.mark.parametrize(
    ("init", "hparams", "message"),
    [
        ("common", {}, "'common'; known: independent, shared"),
        ("shared", {"lr": 1.0}, "lr.*known: beta, learning_rate, sigma"),
        ("shared", {"beta": -1.0}, "beta is -1.0"),
        ("shared", {"beta": (2.0, 1.0)}, r"beta is \(2.0, 1.0\)"),
    ],
)
def test_bad_settings_are_refused(vae, init, hparams, message):
    with pytest.raises(ValueError, match=message):
        inputs_of(vae, init=init, **hparams)


def test_players_take_turns_and_hold_the_others_still(data):
    """A GAN-like family of two scalars, with n_critic = 3 and clipping: counted by hand."""

    def loss(sign, own):
        def loss_fn(params, state, key, batch, hparams):
            value = sign * params[own]["w"]  # the gradient is the sign
            state = {"seen": state["seen"] + jnp.where(own == "critic", params["actor"]["w"], 0)}
            return value + 0 * jnp.mean(batch.x), state

        return loss_fn

    def clip(params):
        return jax.tree.map(lambda w: jnp.maximum(w, -0.25), params)

    players = (
        Player("critic", ("critic",), loss(1.0, "critic"), optax.identity(), "fast", 3, clip),
        Player("actor", ("actor",), loss(-1.0, "actor"), optax.identity()),
    )
    family = Family(
        name="toy",
        architecture={},
        spec=Spec({}, (), {}),
        hparams={"learning_rate": 0.1, "fast": 0.1},
        init=lambda key: (
            {"critic": {"w": jnp.zeros(())}, "actor": {"w": jnp.zeros(())}},
            {"seen": jnp.zeros(())},
        ),
        players=players,
        encode=lambda *_: None,
        sample=lambda *_: None,
        evaluate=lambda params, state, key, x, hparams: {},
    )
    member = train_member(trees.take(inputs_of(family), 0), data, Task(family, 2, 4))
    # step 0 at full rate: critic −0.1 three times, clipped at −0.25; step 1 at half, clipped again
    np.testing.assert_allclose(member.params["critic"]["w"], -0.25, rtol=1e-6)
    np.testing.assert_allclose(member.params["actor"]["w"], 0.1 + 0.05, rtol=1e-6)
    # the critic saw the actor before its move: 0 three times, then 0.1 three times
    np.testing.assert_allclose(member.state["seen"], 0.3, rtol=1e-6)
