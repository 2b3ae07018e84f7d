"""Convolutions against lax, in values and gradients, for one member and for a vmap of two."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_params
from jax import lax

from genvec.families import FAMILIES
from genvec.networks import (
    ConvEmbedder,
    SelfAttention,
    conv,
    conv_transpose,
    from_maps,
    to_maps,
    upsample_conv,
)
from genvec.networks.conv_embedder import max_pool
from genvec.symmetry import check_spec, permute, random_permutations

NHWC = ("NHWC", "HWIO", "NHWC")


def lax_conv(x, kernel, stride, padding):
    strides = (stride, stride)
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=NHWC)


def lax_transpose(x, kernel, stride, padding):
    return lax.conv_transpose(x, kernel, (stride, stride), padding, dimension_numbers=NHWC)


def lax_upsample(x, kernel, factor, padding):
    x = jnp.repeat(jnp.repeat(x, factor, axis=1), factor, axis=2)
    return lax_conv(x, kernel, 1, padding)


PAIRS = {
    "conv": (conv, lax_conv),
    "transpose": (conv_transpose, lax_transpose),
    "upsample": (upsample_conv, lax_upsample),
}
CASES = [  # H, W, kernel, channels, features, stride, padding
    (8, 8, (3, 3), 3, 4, 2, "SAME"),
    (5, 7, (4, 3), 2, 3, 3, "SAME"),
    (6, 5, (3, 2), 4, 2, 1, ((2, 1), (0, 3))),
    (7, 6, (4, 4), 2, 2, 2, "VALID"),
    (4, 4, (1, 3), 3, 1, 2, ((1, 0), (2, 2))),
]


def value_and_grads(apply_fn, x, kernel):
    """Outputs, and the gradients of a random linear function of them, of two members."""

    def loss(x, kernel):
        y = apply_fn(x, kernel)
        return jnp.sum(y * jax.random.normal(jax.random.key(7), y.shape)), y

    (_, y), grads = jax.value_and_grad(loss, (0, 1), has_aux=True)(x, kernel)
    return y, *grads


def drawn(case):
    height, width, size, channels, features, *_ = case
    keys = jax.random.split(jax.random.key(0))
    return (
        jax.random.normal(keys[0], (2, 3, height, width, channels)),
        jax.random.normal(keys[1], (2, *size, channels, features)),
    )


@pytest.mark.parametrize("kind", sorted(PAIRS))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal_to_lax_in_values_and_gradients(kind, case):
    ours, reference = PAIRS[kind]
    *_, stride, padding = case
    x, kernel = drawn(case)

    @jax.jit
    def both(x, kernel):
        def one(x, kernel):
            return from_maps(ours(to_maps(x), kernel, stride, padding))

        def each(x, kernel):
            return jnp.stack([reference(x[i], kernel[i], stride, padding) for i in range(2)])

        vmapped = value_and_grads(jax.vmap(one), x, kernel)
        looped = value_and_grads(each, x, kernel)
        return vmapped, looped, one(x[0], kernel[0]), each(x, kernel)[0]

    vmapped, looped, alone, expected = both(x, kernel)
    for actual, wanted in zip((*vmapped, alone), (*looped, expected), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("kind", sorted(PAIRS))
def test_another_padding_is_another_function(kind):
    """The negative control: shifted by a pixel, the same shapes differ in values."""
    ours, reference = PAIRS[kind]
    x, kernel = drawn(CASES[0])
    right = reference(x[0], kernel[0], 2, ((1, 1), (1, 1)))
    wrong = from_maps(ours(to_maps(x[0]), kernel[0], 2, ((0, 2), (1, 1))))
    assert wrong.shape == right.shape
    assert np.abs(wrong - right).max() > 0.1


@pytest.mark.parametrize("padding, least", [("VALID", 1), ("SAME", 49)])
def test_no_more_is_computed_than_the_pixels_that_are_left(padding, least):
    """Of a whole map one pixel: that costs one window, whatever side is narrower."""
    x, kernel = jnp.ones((16, 7, 7, 32)), jnp.ones((7, 7, 16, 8))
    compiled = jax.jit(lambda x, k: conv(x, k, padding=padding)).lower(x, kernel).compile()
    one_window = 2 * kernel.size * x.shape[-1]
    assert least <= compiled.cost_analysis()["flops"] / one_window < 1.5 * least


def test_unknown_padding_is_refused():
    x, kernel = drawn(CASES[0])
    with pytest.raises(ValueError, match="'REFLECT'; allowed: SAME, VALID"):
        conv_transpose(to_maps(x[0]), kernel[0], 2, "REFLECT")


@pytest.mark.parametrize("shape", [(6, 4), (5, 7), (1, 4), (3, 1), (1, 1)])
def test_max_pool_against_a_loop(shape):
    height, width = shape
    x = np.random.default_rng(0).integers(0, 3, (2, height, width, 2)).astype(np.float32)
    tall, wide = min(2, height), min(2, width)
    for (b, i, j, c), found in np.ndenumerate(max_pool(jnp.asarray(x))):
        block = x[b, i * tall : (i + 1) * tall, j * wide : (j + 1) * wide, c]
        assert found == block.max()
    # each block's gradient goes whole to one of its largest values, of which there are several
    grads = np.asarray(jax.grad(lambda x: jnp.sum(max_pool(x)))(jnp.asarray(x)))
    assert grads.sum() == max_pool(x).size and set(np.unique(grads)) <= {0.0, 1.0}
    shared = np.asarray(jax.grad(lambda x: jnp.sum(jnp.max(x, axis=(1, 2))))(jnp.asarray(x)))
    assert shape == (1, 1) or not set(np.unique(shared)) <= {0.0, 1.0}


def test_normed_vectors_point_in_all_directions():
    x = jax.random.uniform(jax.random.key(0), (64, 6, 6, 1))
    spread = {}
    for normed in (True, False):
        network = ConvEmbedder(4, widths=(8, 8), output_norm=normed)
        y, _ = network.init_with_output(jax.random.key(1), x)  # as in training: of this batch
        spread[normed] = float(
            jnp.linalg.norm(jnp.mean(y / jnp.linalg.norm(y, axis=1)[:, None], 0))
        )
        if normed:
            np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-5)
            np.testing.assert_allclose(y.std(axis=0), 1, rtol=1e-2)
    assert spread[True] < 0.3 and spread[False] > 0.8


def test_attention_against_a_loop_over_images_and_pixels():
    x = jax.random.normal(jax.random.key(0), (16, 2, 3, 2))  # [C, H, W, B]
    module = SelfAttention()
    params = module.init(jax.random.key(1), x)["params"] | {"gamma": jnp.array(0.7)}
    np.testing.assert_allclose(  # γ starts at zero, where the block is the identity
        module.apply({"params": params | {"gamma": jnp.zeros(())}}, x), x
    )
    w = {name: np.asarray(value, np.float64) for name, value in params.items()}
    expected = np.array(x, np.float64)
    for b in range(2):
        pixels = np.asarray(x[..., b], np.float64).reshape(16, 6).T  # [P, C]
        for j in range(6):
            scores = np.array([(p @ w["f"]) @ (pixels[j] @ w["g"]) for p in pixels])
            beta = np.exp(scores - scores.max())
            beta /= beta.sum()
            out = sum(b_i * (p @ w["h"]) for b_i, p in zip(beta, pixels, strict=True)) @ w["v"]
            expected[:, j // 3, j % 3, b] += 0.7 * out
    actual = jax.jit(lambda x: module.apply({"params": params}, x))(x)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "shape"), [("vae", (7, 5, 1)), ("ae", (8, 8, 3))])
def test_convolutional_members_have_a_spec_that_leaves_them_as_they_are(name, shape):
    family = FAMILIES[name](shape, network="conv", hidden=(3, 4), latent=2)
    params, state = random_params(family)
    check_spec(family.spec, params)
    x = jax.random.uniform(jax.random.key(2), (3, *shape))
    hparams = {key: jnp.asarray(value) for key, value in family.hparams.items()}
    apply_fn = jax.jit(
        lambda p: family.evaluate(p, state, jax.random.key(0), x, hparams)["reconstruction"]
    )
    permutations = random_permutations(jax.random.key(5), family.spec)
    permuted = permute(params, family.spec, permutations)
    np.testing.assert_allclose(apply_fn(permuted), apply_fn(params), rtol=1e-4)
    half = permutations | {"z": jnp.arange(2)}  # the negative control: one group out of step
    broken = permute(params, family.spec._replace(axes=_without(family.spec.axes)), half)
    assert not np.allclose(apply_fn(broken), apply_fn(params), rtol=1e-3)
    assert family.sample(params, state, jax.random.key(3), 4).shape == (4, *shape)


def _without(axes):
    """The axes of a spec that forgets that the decoder's first maps are read by the next layer."""
    name = "decoder/conv_1/kernel"
    return {**axes, name: (None, None, None, axes[name][3])}


def test_a_convolutional_network_needs_channels():
    with pytest.raises(ValueError, match="needs hidden channels"):
        FAMILIES["vae"]((8, 8, 1), network="conv", hidden=())
