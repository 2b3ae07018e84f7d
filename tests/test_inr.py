from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genvec import symmetry, trees
from genvec.families.fitting import fit_images
from genvec.families.inr import CONVENTIONS, inr, sine
from genvec.registry import UnknownNameError
from genvec.types import Batch
from genvec.zoo import Task, member_inputs
from genvec.zoo.member import start_member, step_member

SHAPE = (6, 5, 1)
STEPS = 40
# what the two codes draw their first weights from, for ω = 30: layer → bounds of kernel and bias
BOUNDS = {
    "dwsnets": [(0.0577350, 0.0), (0.0144338, 0.0), (0.1767767, 0.1767767)],
    "nfn": [(0.5, 0.7071068), (0.0144338, 0.1767767), (0.0144338, 0.1767767)],
}


@pytest.fixture(scope="module")
def family():
    return inr(SHAPE, hidden=(16, 16))


@pytest.fixture(scope="module")
def start(family):
    """Parameters in which no bias is zero, and a state that has an image."""
    params, state = jax.jit(family.init)(jax.random.key(0))
    image = jax.random.uniform(jax.random.key(1), SHAPE)
    return params, {**state, "image": image, "batches": state["batches"] + 1}


@pytest.fixture(scope="module")
def first_weights():
    """Convention → the layers of 300 members."""
    keys = jax.random.split(jax.random.key(0), 300)
    families = {name: inr((4, 4, 1), convention=name) for name in CONVENTIONS}
    starts = {name: jax.jit(jax.vmap(f.init))(keys)[0] for name, f in families.items()}
    return {name: jax.device_get(params["inr"]) for name, params in starts.items()}


@pytest.fixture(scope="module")
def images():
    """Five smooth uint8 images: a random wave each."""
    rng = np.random.default_rng(0)
    rows, columns = np.meshgrid(np.linspace(-1, 1, 6), np.linspace(-1, 1, 5), indexing="ij")
    a, b, c = rng.uniform(-2, 2, (3, 5, 1, 1))
    waves = np.sin(a * rows + b * columns + c)
    return np.round(127.5 + 120 * waves).astype(np.uint8)[..., None]


@pytest.fixture(scope="module")
def fitted(family, images):
    told = []
    result = fit_images(jax.random.key(0), images, family, steps=100, width=2, on_chunk=told.append)
    assert sum(told) == 5
    return result


@pytest.fixture(scope="module")
def history(data):
    """Two members of a zoo, of class 0 and of class 1: vectors and states after every step."""
    family = inr((4, 4, 1), hidden=(16, 16), psnr=20.0)
    task = Task(family, STEPS, 2)
    inputs = member_inputs(
        jax.random.key(3), jnp.eye(3)[:2], family, init="independent", hparams={}
    )

    def step_fn(carry, step):
        carry = jax.vmap(partial(step_member, task=task), (0, None, 0, None))(
            carry, step, inputs, data
        )
        record = jax.vmap(trees.ravel)(carry.params), carry.opt_states, carry.state
        return carry, record

    @jax.jit
    def run():
        carry = jax.vmap(partial(start_member, task=task))(inputs)
        return jax.lax.scan(step_fn, carry, jnp.arange(STEPS))[1]

    return jax.device_get(run())


@pytest.mark.parametrize("convention", sorted(CONVENTIONS))
def test_first_weights_fill_the_published_ranges(first_weights, convention):
    layers = first_weights[convention]
    assert len(layers) == 3
    for layer, bounds in enumerate(BOUNDS[convention]):
        for name, bound in zip(("kernel", "bias"), bounds, strict=True):
            values = layers[f"dense_{layer}"][name]
            assert np.abs(values).max() <= bound * 1.0001, (layer, name)
            assert values.max() >= 0.98 * bound and values.min() <= -0.98 * bound, (layer, name)
            np.testing.assert_allclose(values.std(), bound / np.sqrt(3), rtol=0.1)


def test_activations_spread_as_sitzmann_says(first_weights):
    """Arcsine after a sine, and what enters the next one has variance 1, biases left out."""
    x = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    spread = {}
    for convention, layers in first_weights.items():
        first, second = layers["dense_0"], layers["dense_1"]
        h = np.sin(30 * (x @ first["kernel"] + first["bias"][:, None]))
        spread[convention] = [h.std(), 30 * (h @ second["kernel"]).std()]
    np.testing.assert_allclose(spread["nfn"], [np.sqrt(1 / 2), 1.0], rtol=0.03)
    assert spread["dwsnets"][0] < 0.65  # the negative control: its first layer is a slow one


def test_sine_is_a_sine_and_its_slope_a_cosine():
    u = np.random.default_rng(0).uniform(-300, 300, 20_000).astype(np.float32)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(sine)))(u)
    np.testing.assert_allclose(values, np.sin(u.astype(np.float64)), atol=1e-6)
    np.testing.assert_allclose(slopes, np.cos(u.astype(np.float64)), atol=3e-6)
    np.testing.assert_array_equal(sine(-u), -sine(u))


def test_one_skeleton(family, start):
    params, state = start
    symmetry.check_spec(family.spec, params)
    assert family.spec.groups == {"xy": 2, "hidden_0": 16, "hidden_1": 16, "y": 1}
    x, key = jnp.zeros((7, *SHAPE)), jax.random.key(0)
    assert jax.eval_shape(family.encode, params, state, x).shape == (7, 1)
    assert jax.eval_shape(family.evaluate, params, state, key, x, {})["psnr"].shape == (7,)
    pictures = jax.jit(lambda p: family.sample(p, state, key, 3))(params)
    assert pictures.shape == (3, *SHAPE)
    assert (pictures >= 0).all() and (pictures <= 1).all()
    np.testing.assert_array_equal(pictures[0], pictures[2])
    again = inr(**family.architecture)
    assert again.spec == family.spec and again.hparams == family.hparams


def test_a_network_by_hand(family, start):
    params, state = start
    x = np.random.default_rng(0).uniform(size=(2, *SHAPE)).astype(np.float32)
    layers = [jax.tree.map(np.float64, params["inr"][f"dense_{i}"]) for i in range(3)]
    error = np.zeros(2)
    for row in range(6):
        for column in range(5):
            h = np.array([-1 + 2 * row / 5, -1 + 2 * column / 4])
            for layer in layers[:2]:
                h = np.sin(30 * (h @ layer["kernel"] + layer["bias"]))
            pixel = 0.5 + 0.5 * (h @ layers[2]["kernel"] + layers[2]["bias"])
            error += np.square(x[:, row, column, 0] - pixel) / 30
    np.testing.assert_allclose(family.encode(params, state, x)[:, 0], error, rtol=1e-4)
    psnr = family.evaluate(params, {**state, "image": x[1]}, jax.random.key(0), x, {})["psnr"]
    np.testing.assert_allclose(psnr, -10 * np.log10(error[1]), rtol=1e-4)


def test_permuted_and_mirrored_neurons_leave_the_image(family, start):
    params, state = start
    x = jnp.zeros((1, *SHAPE))
    encode = jax.jit(family.encode)
    before = encode(params, state, x)
    permutations = symmetry.random_permutations(jax.random.key(1), family.spec)
    assert set(permutations) == {"hidden_0", "hidden_1"}
    permuted = symmetry.permute(params, family.spec, permutations)
    np.testing.assert_allclose(encode(permuted, state, x), before, rtol=1e-5)
    signs = {group: jnp.array([-1.0, 1.0] * 8) for group in family.spec.mirrored}
    mirrored = symmetry.mirror(params, family.spec, signs)
    np.testing.assert_allclose(encode(mirrored, state, x), before, rtol=1e-5)
    for layer in (0, 1, 2):  # all but the last bias have changed
        kernels = (p["inr"][f"dense_{layer}"]["kernel"] for p in (params, mirrored))
        assert not np.allclose(*kernels)
    # the negative controls: the kernels alone, and one axis alone
    bias = params["inr"]["dense_0"]["bias"]
    mirrored["inr"]["dense_0"]["bias"] = bias
    assert not np.allclose(encode(mirrored, state, x), before, rtol=1e-3)
    permuted["inr"]["dense_0"]["bias"] = bias
    assert not np.allclose(encode(permuted, state, x), before, rtol=1e-3)


def test_a_member_at_its_goal_stands_still(history):
    vectors, opt_states, state = history
    stops = state["steps"][-1]
    assert (stops > 2).all() and (stops < STEPS - 5).all() and stops[0] != stops[1]
    for member, stop in enumerate(stops):
        vector = vectors[:, member]
        assert (vector[stop:] == vector[stop - 1]).all()  # bit for bit
        moved = (vector[1:stop] != vector[: stop - 1]).any(axis=1)
        assert moved.all()  # the negative control
        for leaf in jax.tree.leaves(opt_states):
            assert (leaf[stop:, member] == leaf[stop - 1, member]).all()
        np.testing.assert_array_equal(
            state["steps"][:, member], np.minimum(np.arange(1, STEPS + 1), stop)
        )
    early, late = np.sort(stops)  # one stands still while the other moves
    slow = stops.argmax()
    assert (vectors[late - 1, slow] != vectors[early - 1, slow]).any()


def test_a_member_keeps_the_first_image_it_sees(history, data):
    *_, state = history
    np.testing.assert_array_equal(state["batches"][:, 0], np.arange(1, STEPS + 1))
    for member in range(2):
        kept = state["image"][:, member]
        assert (kept == kept[0]).all()
        first = data.starts[member]
        own = np.asarray(data.images[first : first + data.counts[member]]) / np.float32(255)
        distances = np.abs(own - kept[0]).max(axis=(1, 2, 3))
        assert distances.min() < 1e-6
        other = 1 - member  # the negative control: images of the other class
        first = data.starts[other]
        others = np.asarray(data.images[first : first + data.counts[other]]) / 255
        assert np.abs(others - kept[0]).max(axis=(1, 2, 3)).min() > 0.1


def test_later_batches_are_not_read(family, start):
    params, state = start
    loss_fn = jax.jit(family.players[0].loss_fn)

    def loss(state, value):
        batch = Batch(jnp.full((2, *SHAPE), value), jnp.zeros(2, int))
        return loss_fn(params, state, jax.random.key(0), batch, {})[0]

    assert loss(state, 0.0) == loss(state, 1.0)
    new = {**state, "batches": jnp.zeros((), jnp.int32)}
    assert loss(new, 0.0) != loss(new, 1.0)  # the negative control


def test_a_diverged_member_has_not_reached_its_goal(family, start):
    params, state = start
    params = jax.tree.map(lambda x: x * jnp.nan, params)
    batch = Batch(jnp.zeros((2, *SHAPE)), jnp.zeros(2, int))
    loss, _ = family.players[0].loss_fn(params, state, jax.random.key(0), batch, {})
    assert jnp.isnan(loss)


def test_all_images_are_fitted_to_the_goal(family, fitted, images):
    assert all(leaf.shape[0] == 5 for leaf in jax.tree.leaves(fitted))
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(fitted))
    assert (fitted.psnr >= 30).all()
    assert (fitted.state["steps"] < 100).all() and len(set(fitted.state["steps"].tolist())) > 1
    np.testing.assert_allclose(fitted.state["image"], images / 255, rtol=1e-6)
    errors = jax.jit(jax.vmap(family.encode, (0, 0, None)))(
        fitted.params, fitted.state, fitted.state["image"]
    )[..., 0]  # of member i to image j
    np.testing.assert_allclose(-10 * np.log10(np.diag(errors)), fitted.psnr, rtol=1e-4)
    assert errors[0, 1] > 1e-2  # the negative control: another's image


def test_fitting_many_equals_fitting_one_by_one(family, fitted, images):
    """Against a loop that knows the family and its player only; member 4 came in the last chunk."""
    (player,) = family.players
    loss_fn = jax.jit(jax.value_and_grad(player.loss_fn, has_aux=True))
    update = jax.jit(player.tx.update)
    for member in (1, 4):
        params, state = jax.jit(family.init)(jax.random.fold_in(jax.random.key(0), member))
        opt_state = player.tx.init(params)
        batch = Batch(jnp.asarray(images[member][None], jnp.float32) / 255, None)
        for step in range(int(fitted.state["steps"][member])):
            (_, state), grads = loss_fn(params, state, jax.random.key(9), batch, {})
            direction, opt_state = update(grads, opt_state)
            rate = family.hparams["learning_rate"] * (1 - step / 100)
            params = jax.tree.map(lambda w, u, r=rate: w - r * u, params, direction)
        own = trees.take(fitted.params, member)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), params, own)
        assert state["steps"] == fitted.state["steps"][member]
    other = trees.ravel(trees.take(fitted.params, 0))
    assert not np.allclose(trees.ravel(params), other, atol=1e-2)  # members do differ


def test_wrong_settings_are_refused(family):
    with pytest.raises(UnknownNameError, match="'siren'; known: dwsnets, nfn"):
        inr(SHAPE, convention="siren")
    for shape in ((2, 4, 4, 1), (0, *SHAPE)):
        with pytest.raises(ValueError, match=r"the family wants \[n, \*\(6, 5, 1\)\]"):
            fit_images(jax.random.key(0), np.zeros(shape), family, steps=2, width=2)
