"""EfficientNet against published counts and tables, and its block against loops in float64."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genvec.networks import EfficientNet, efficientnet, initialise
from genvec.networks.efficientnet import (
    SCALES,
    ConvNorm,
    MBConv,
    Scale,
    round_filters,
    round_repeats,
)
from genvec.registry import UnknownNameError

PUBLISHED = {  # parameters with 1000 classes and three channels, without the batch statistics
    "b0": 5_288_548,
    "b1": 7_794_184,
    "b2": 9_109_994,
    "b3": 12_233_232,
    "b4": 19_341_616,
    "b5": 30_389_784,
    "b6": 43_040_704,
    "b7": 66_347_960,
}

# each program runs once or twice, and optimising it would take longer than all else
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def training(network):
    """`network.apply` as it is called in training: output and new batch statistics."""
    return compiled(functools.partial(network.apply, mutable=["batch_stats"]))


def shapes(network, image_shape):
    """Shapes of output and variables, and of each block its fields and the shape it gives."""
    blocks = []

    def spy(call, args, kwargs, context):
        y = call(*args, **kwargs)
        if isinstance(context.module, MBConv) and context.method_name == "__call__":
            blocks.append((context.module, y.shape))
        return y

    x = jax.ShapeDtypeStruct(image_shape, jnp.float32)
    with nn.intercept_methods(spy):
        y, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), x)
    return y, variables, blocks


@pytest.mark.parametrize("variant", sorted(SCALES))
def test_parameters_are_as_many_as_published(variant):
    y, variables, _ = shapes(EfficientNet(1000, variant), (2, 64, 64, 3))
    assert y.shape == (2, 1000)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == PUBLISHED[variant]


def test_the_number_of_outputs_and_channels_is_free():
    y, variables, _ = shapes(EfficientNet(128), (3, 33, 28, 1))
    assert y.shape == (3, 128)
    assert variables["params"]["stem"]["conv"]["kernel"].shape == (3, 3, 1, 32)
    assert variables["params"]["output"]["kernel"].shape == (1408, 128)


def test_filters_are_rounded_as_published():
    base = (32, 16, 24, 40, 80, 112, 192, 320, 1280)
    b2 = (32, 16, 24, 48, 88, 120, 208, 352, 1408)
    assert tuple(round_filters(filters, 1.1) for filters in base) == b2
    assert tuple(round_filters(filters, 1.0) for filters in base) == base
    b3 = (40, 24, 32, 48, 96, 136, 232, 384, 1536)  # 16 · 1.2 = 19.2 would lose 17 % at 16
    assert tuple(round_filters(filters, 1.2) for filters in base) == b3
    assert round_filters(8, 0.25) == 8


def test_repeats_are_rounded_up():
    assert [round_repeats(n, 1.2) for n in (1, 2, 3, 4)] == [2, 3, 4, 5]
    assert [round_repeats(n, 1.0) for n in (1, 2, 3, 4)] == [1, 2, 3, 4]


def test_blocks_are_those_of_table_1():
    """The paper gives for each stage its blocks, kernel, expansion, channels and input's size."""
    _, _, blocks = shapes(EfficientNet(1000, "b0"), (1, 224, 224, 3))
    table = [  # blocks, kernel, expansion, channels, size after the stage
        (1, 3, 1, 16, 112),
        (2, 3, 6, 24, 56),
        (2, 5, 6, 40, 28),
        (3, 3, 6, 80, 14),
        (3, 5, 6, 112, 14),
        (4, 5, 6, 192, 7),
        (1, 3, 6, 320, 7),
    ]
    expected = [row for number, *row in table for _ in range(number)]
    assert [[m.kernel, m.expansion, y[3], y[1]] for m, y in blocks] == expected
    assert all(y[1] == y[2] for _, y in blocks)


def test_survival_falls_linearly():
    _, _, blocks = shapes(EfficientNet(10, "b0", survival=0.8), (1, 64, 64, 3))
    survival = [module.survival for module, _ in blocks]
    assert len(survival) == 1 + 2 + 2 + 3 + 3 + 4 + 1
    np.testing.assert_allclose(survival, np.linspace(1, 0.8, 17)[1:])


def test_unknown_variants_and_impossible_survival_are_refused():
    with pytest.raises(UnknownNameError, match=r"'b8'; known: b0, b1, .*, b7\b"):
        shapes(EfficientNet(10, "b8"), (1, 64, 64, 3))
    for survival in (-0.1, 1.1):
        with pytest.raises(ValueError, match="probability"):
            shapes(EfficientNet(10, "b0", survival), (1, 64, 64, 3))


def test_first_weights_have_the_spread_of_their_fan_out():
    x = jnp.zeros((1, 3, 3, 300))
    dense = initialise(ConvNorm(200, 3), jax.random.key(0), x)["params"]["conv"]["kernel"]
    assert float(dense.var()) == pytest.approx(2 / (9 * 200), rel=0.02)
    single = ConvNorm(300, 5, depthwise=True)
    kernel = initialise(single, jax.random.key(1), x)["params"]["conv"]["kernel"]
    assert kernel.shape == (5, 5, 1, 300)
    assert float(kernel.var()) == pytest.approx(2 / 25, rel=0.1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def slow_norm(h, params, stats, batch):
    """Batch norm by the batch's own statistics, which are returned too, or by the averages."""
    if batch:
        stats = {"mean": h.mean((0, 1, 2)), "var": h.var((0, 1, 2))}
    h = (h - stats["mean"]) / np.sqrt(stats["var"] + 1e-3)
    return h * params["scale"] + params["bias"], stats


def slow_depthwise(x, kernel, stride):
    """Each output pixel and channel is a sum over its window; missing rows are split low first."""
    size = kernel.shape[0]
    out = [-(-length // stride) for length in x.shape[1:3]]
    missing = [max((n - 1) * stride + size - m, 0) for n, m in zip(out, x.shape[1:3], strict=True)]
    y = np.zeros((x.shape[0], *out, x.shape[3]))
    for i, j in np.ndindex(*out):
        for u, v in np.ndindex(size, size):
            row, column = i * stride + u - missing[0] // 2, j * stride + v - missing[1] // 2
            if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                y[:, i, j] += x[:, row, column] * kernel[u, v, 0]
    return y


def slow_block(module, variables, x, batch):
    """The block's output and the statistics it met, in float64."""
    params, averages = variables["params"], variables["batch_stats"]
    met = {}

    def norm(h, name):
        stats = averages[name]["norm"]
        h, met[name] = slow_norm(h, params[name]["norm"], stats, batch)
        return h

    h = x
    if module.expansion > 1:
        h = norm(h @ params["expand"]["conv"]["kernel"][0, 0], "expand")
        h = h * sigmoid(h)
    kernel = params["depthwise"]["conv"]["kernel"]
    h = norm(slow_depthwise(h, kernel, module.stride), "depthwise")
    h = h * sigmoid(h)
    squeeze, excite = params["gate"]["squeeze"], params["gate"]["excite"]
    for image in h:
        z = image.reshape(-1, image.shape[-1]).mean(0) @ squeeze["kernel"] + squeeze["bias"]
        image *= sigmoid((z * sigmoid(z)) @ excite["kernel"] + excite["bias"])
    h = norm(h @ params["project"]["conv"]["kernel"][0, 0], "project")
    return (x + h if h.shape == x.shape else h), met


def random_variables(module, x):
    """Variables of which none is at its first value; the running averages are positive."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    rng = np.random.default_rng(1)

    def draw(low, tree):
        return jax.tree.map(lambda s: rng.uniform(low, 0.8, s.shape).astype(np.float32), tree)

    return {
        "params": draw(-0.5, shapes["params"]),
        "batch_stats": draw(0.2, shapes["batch_stats"]),
    }


@pytest.mark.parametrize(
    ("filters", "kernel", "stride", "expansion", "squeezed"),
    [(8, 3, 1, 6, 2), (7, 3, 1, 1, 2), (3, 5, 2, 6, 1)],
)
def test_a_block_is_what_slow_loops_say(filters, kernel, stride, expansion, squeezed):
    module = MBConv(filters, kernel, stride, expansion)
    channels = 3 if stride == 2 else 8  # so the second has no shortcut for its channels alone
    x = np.random.default_rng(0).normal(size=(3, 6, 5, channels)).astype(np.float32)
    variables = random_variables(module, x)
    assert variables["params"]["gate"]["squeeze"]["bias"].shape == (squeezed,)
    double = jax.tree.map(lambda v: np.asarray(v, np.float64), variables)

    expected, _ = slow_block(module, double, x.astype(np.float64), batch=False)
    y = compiled(module.apply)(variables, x)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)

    expected, met = slow_block(module, double, x.astype(np.float64), batch=True)
    y, updates = training(module)(variables, x)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    for name, stats in met.items():
        for moment, value in stats.items():
            average = 0.99 * double["batch_stats"][name]["norm"][moment] + 0.01 * value
            new = updates["batch_stats"][name]["norm"][moment]
            np.testing.assert_allclose(new, average, rtol=1e-4)


def branches(survival, seed, num_samples=3000):
    """What each of many equal samples adds to its shortcut, and what it adds undropped."""
    image = jax.random.normal(jax.random.key(5), (1, 2, 3, 4))
    x = jnp.repeat(image, num_samples, axis=0)
    module = MBConv(4, 3, 1, 1, survival)
    variables = random_variables(module, image)
    train = training(module)
    y, _ = train(variables, x, rngs={"dropout": jax.random.key(seed)})
    whole, _ = train(variables, x)
    return np.asarray(y - x), np.asarray(whole - x)


@pytest.mark.parametrize("survival", [0.05, 0.7])
def test_branches_survive_at_their_rate_and_keep_their_mean(survival):
    added, whole = branches(survival, seed=0)
    alive = np.abs(added).max(axis=(1, 2, 3)) > 1e-5
    deviation = np.sqrt(survival * (1 - survival) / len(alive))
    assert abs(alive.mean() - survival) < 4 * deviation
    # a sample's pixels and channels share one fate, and the survivors are enlarged
    assert np.abs(whole).min() > 1e-3
    np.testing.assert_array_equal(added[~alive], 0)
    np.testing.assert_allclose(added[alive], whole[alive] / survival, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(added.mean(0), whole[0], rtol=4 * deviation / survival, atol=1e-4)
    other, _ = branches(survival, seed=1)
    assert not np.array_equal(alive, np.abs(other).max(axis=(1, 2, 3)) > 1e-5)


def test_branches_that_always_survive_are_not_random():
    added, whole = branches(1.0, seed=0, num_samples=5)
    np.testing.assert_array_equal(added, whole)
    np.testing.assert_array_equal(added, branches(1.0, seed=1, num_samples=5)[0])


def test_blocks_without_a_shortcut_are_never_dropped():
    x = jax.random.normal(jax.random.key(0), (20, 3, 3, 4))
    module = MBConv(6, 3, 1, 1, survival=0.05)
    variables = random_variables(module, x)
    train = training(module)
    given, _ = train(variables, x, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_array_equal(given, train(variables, x)[0])


IMAGES = np.random.default_rng(0).uniform(size=(6, 16, 16, 3)).astype(np.float32)


def make_tiny(patch, survival, dropout):
    """A narrow network of the first two stages: three blocks, shortcuts in the first and last."""
    patch.setattr(efficientnet, "STAGES", efficientnet.STAGES[:2])
    patch.setitem(SCALES, "tiny", Scale(0.25, 1.0, 16, dropout))
    return EfficientNet(5, "tiny", survival)


@pytest.fixture(scope="module")
def variables():
    with pytest.MonkeyPatch.context() as patch:
        return initialise(make_tiny(patch, 1.0, 0.0), jax.random.key(1), IMAGES)


@pytest.mark.parametrize(
    ("survival", "dropout", "random"), [(0.3, 0.0, True), (1.0, 0.5, True), (1.0, 0.0, False)]
)
def test_only_training_with_an_rng_is_random(monkeypatch, variables, survival, dropout, random):
    train = training(make_tiny(monkeypatch, survival, dropout))
    first, again, other = (
        train(variables, IMAGES, rngs={"dropout": jax.random.key(seed)})[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) != random


def test_evaluation_and_training_without_an_rng_are_not_random(monkeypatch, variables):
    network = make_tiny(monkeypatch, 0.3, 0.5)
    evaluate, rngs = compiled(network.apply), {"dropout": jax.random.key(0)}
    evaluated = evaluate(variables, IMAGES)
    np.testing.assert_array_equal(evaluate(variables, IMAGES, rngs=rngs), evaluated)
    without, _ = training(network)(variables, IMAGES)
    sure, _ = training(make_tiny(monkeypatch, 1.0, 0.0))(variables, IMAGES)
    np.testing.assert_array_equal(without, sure)
    assert np.abs(without - evaluated).max() > 1e-3  # control: by the batch's own statistics


def test_one_step_lowers_the_loss_and_reaches_every_parameter(monkeypatch, variables):
    network = make_tiny(monkeypatch, 0.8, 0.2)
    labels = jnp.arange(6) % 5

    @compiled
    def step(params, key):
        def loss_of(params):
            state = {"params": params, "batch_stats": variables["batch_stats"]}
            rngs = {"dropout": key}
            logits, new = network.apply(state, IMAGES, mutable=["batch_stats"], rngs=rngs)
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
            return loss, new["batch_stats"]

        (loss, stats), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        return loss, stats, grads, jax.tree.map(lambda p, g: p - 0.01 * g, params, grads)

    key = jax.random.key(2)
    loss, stats, grads, params = step(variables["params"], key)
    for path, gradient in jax.tree.leaves_with_path(grads):
        assert np.isfinite(gradient).all() and np.any(gradient), jax.tree_util.keystr(path)
    assert step(params, key)[0] < loss
    before = jax.tree.leaves_with_path(variables["batch_stats"])
    for (path, old), new in zip(before, jax.tree.leaves(stats), strict=True):
        assert not np.array_equal(old, new), jax.tree_util.keystr(path)
