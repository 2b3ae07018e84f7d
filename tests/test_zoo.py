from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genvec import trees
from genvec.types import Family, Player, Spec
from genvec.zoo import member_inputs, train_member, train_zoo

STEPS = 30
MIXTURES = jnp.array([[1.0, 0, 0], [0, 1, 0], [0.2, 0.3, 0.5], [0, 0, 1], [0.5, 0.5, 0]])


def inputs_of(family, init="independent", **hparams):
    return member_inputs(jax.random.key(0), MIXTURES, family, init=init, hparams=hparams)


def trained(family, inputs, data, segments, width=2):
    parts = {}
    train_zoo(
        inputs,
        data,
        segments,
        parts.__setitem__,
        family=family,
        steps=STEPS,
        batch_size=8,
        width=width,
    )
    return parts


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), a, b)


def test_member_of_the_zoo_equals_the_member_trained_alone(family, data):
    inputs = inputs_of(family)
    zoo = trained(family, inputs, data, {0: slice(0, 5)})[0]
    alone_fn = partial(train_member, family=family, steps=STEPS, batch_size=8)
    for i in (0, 4):
        alone = jax.jit(alone_fn)(trees.take(inputs, i), data)
        close(trees.take(zoo, i).params, alone.params)
    other = trees.take(zoo.params, 1)  # the negative control: members do differ
    assert not np.allclose(trees.ravel(other), trees.ravel(trees.take(zoo.params, 0)), rtol=1e-2)


def test_segments_do_not_change_members(vae, data):
    inputs = inputs_of(vae)
    whole = trained(vae, inputs, data, {0: slice(0, 5)})[0]
    parts = trained(vae, inputs, data, {7: slice(0, 3), 9: slice(3, 5)})
    assert list(parts) == [7, 9]
    joined = trees.concatenate([parts[7].params, parts[9].params])
    jax.tree.map(np.testing.assert_array_equal, whole.params, joined)  # equal width, equal bits


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
    run = partial(train_member, family=family, steps=400, batch_size=16)
    member = jax.jit(run)(trees.take(inputs_of(family), 0), data)
    name = family.players[0].name
    curve = member.metrics[f"{name}_loss_curve"]
    assert curve.shape == (32,)
    assert curve[-1] < 0.9 * curve[0]
    assert member.metrics[f"{name}_loss"] == curve[-1]
    images = family.sample(member.params, member.state, jax.random.key(0), 64)
    assert int(images.mean((0, 2, 3)).argmax()) == 0  # class 0 is bright in row 0


def test_metrics_are_averaged_in_the_proportions_of_the_mixture(vae, data):
    member = jax.jit(partial(train_member, family=vae, steps=3, batch_size=8))(
        trees.take(inputs_of(vae), 2), data
    )
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
    run = partial(train_member, family=family, steps=2, batch_size=4)
    member = run(trees.take(inputs_of(family), 0), data)
    # step 0 at full rate: critic −0.1 three times, clipped at −0.25; step 1 at half, clipped again
    np.testing.assert_allclose(member.params["critic"]["w"], -0.25, rtol=1e-6)
    np.testing.assert_allclose(member.params["actor"]["w"], 0.1 + 0.05, rtol=1e-6)
    # the critic saw the actor before its move: 0 three times, then 0.1 three times
    np.testing.assert_allclose(member.state["seen"], 0.3, rtol=1e-6)
