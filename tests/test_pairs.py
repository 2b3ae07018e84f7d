"""Pairs against networks written out in numpy, float64, convolution by convolution."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genvec.networks import PAIRS
from genvec.networks.pairs.normal import batch_norm, closeness, spectral_norm
from genvec.symmetry import check_spec, mirror, permute, rescale
from genvec.trees import flatten_names, unflatten_names

SHAPE = (8, 4, 2)
LATENT = 3
BATCH = 5
ALL = {"outputs": 2, "labels": 3, "minibatch": 4}
HIDDEN = {"mlp": (6, 5), "dcgan": (4, 5), "sagan": (16, 5), "progan": (3, 4, 5)}
LEVELS = len(HIDDEN["progan"])


def make(name, **options):
    return PAIRS[name](SHAPE, HIDDEN[name], LATENT, **options)


def shapes(pair):
    return jax.eval_shape(pair.init, jax.random.key(0))


def filled(pair):
    """Parameters and state in which no number is special, drawn by numpy: nothing to compile."""
    rng = np.random.default_rng(0)
    params, state = (flatten_names(tree) for tree in shapes(pair))
    values = {name: rng.normal(0, 0.7, leaf.shape) for name, leaf in params.items()}
    stats = {name: rng.uniform(0.3, 1.0, leaf.shape) for name, leaf in state.items()}
    stats |= {n: u / np.linalg.norm(u) for n, u in stats.items() if n.endswith("/u")}
    return tuple(
        unflatten_names({n: np.asarray(v, np.float32) for n, v in flat.items()})
        for flat in (values, stats)
    )


def inputs():
    rng = np.random.default_rng(1)
    z = np.asarray(rng.normal(size=(BATCH, LATENT)), np.float32)
    x = np.asarray(rng.uniform(size=(BATCH, *SHAPE)), np.float32)
    label = np.eye(ALL["labels"], dtype=np.float32)[rng.integers(0, ALL["labels"], BATCH)]
    return z, x, label


@functools.cache
def built(name):
    """A pair with everything, its parameters, and its function in evaluation, compiled once."""
    pair = make(name, **ALL)

    @jax.jit
    def apply_fn(params, state, z, progress):
        _, x, label = inputs()
        y, same = pair.generate(params, state, z, False, progress, label)
        outputs, h, still = pair.discriminate(params, state, x, False, progress, label)
        return {"y": y, "outputs": outputs, "h": h}, (same, still)

    return pair, *filled(pair), apply_fn


def evaluated(name, params=None, state=None, z=None, progress=LEVELS - 1.0):
    _, own, own_state, apply_fn = built(name)
    z = inputs()[0] if z is None else z
    out, _ = apply_fn(
        own if params is None else params, own_state if state is None else state, z, progress
    )
    return {name: np.asarray(value) for name, value in out.items()}


# --- the same networks in numpy


def np_conv(x, kernel, stride, pads):
    """A convolution by definition: x [B, H, W, C], kernel [k, l, C, O]."""
    x = np.pad(x, ((0, 0), *pads, (0, 0)))
    h, w = ((n - k) // stride + 1 for n, k in zip(x.shape[1:3], kernel.shape[:2], strict=True))
    out = np.zeros((len(x), h, w, kernel.shape[3]))
    for i in range(h):
        for j in range(w):
            window = x[:, stride * i :, stride * j :][:, : kernel.shape[0], : kernel.shape[1]]
            out[:, i, j] = np.einsum("bklc,klco->bo", window, kernel)
    return out


def np_transpose(x, kernel):
    """A transposed convolution of stride 2 to twice the size: zeros between the pixels."""
    dilated = np.zeros((len(x), 2 * x.shape[1] - 1, 2 * x.shape[2] - 1, x.shape[3]))
    dilated[:, ::2, ::2] = x
    return np_conv(dilated, kernel, 1, ((2, 2), (2, 2)))


def np_halve(x):
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def np_double(x, times=1):
    return x.repeat(2**times, axis=1).repeat(2**times, axis=2)


def np_leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def np_pixel_norm(x):
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-8)


def np_batch_norm(x, params, stats):
    return (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]


def np_spread(z, kernel):
    return np.einsum("bz,hwzo->bhwo", z, kernel)


def np_closeness(h, tensor):
    rows = np.einsum("bf,fml->bml", h, tensor.reshape(h.shape[1], *tensor.shape[-2:]))
    out = np.zeros((len(h), tensor.shape[-2]))
    for b in range(len(h)):
        for m in range(tensor.shape[-2]):
            for other in range(len(h)):
                distance = 0.0
                for part in range(tensor.shape[-1]):
                    distance += abs(rows[b, m, part] - rows[other, m, part])
                out[b, m] += np.exp(-distance)
    return out


def np_judge(h, params):
    """Last hidden maps or activations → features and outputs, of concatenated features."""
    h = h.reshape(len(h), -1)
    near = np_closeness(h, params["minibatch"]["kernel"])
    kernel = params["score"]["kernel"].reshape(h.shape[1], -1)
    kernel = np.concatenate([kernel, params["score_minibatch"]["kernel"]])
    return h, np.concatenate([h, near], axis=1) @ kernel + params["score"]["bias"]


def beside(x, label):
    """Labels as further inputs: of dense layers, or as constant maps."""
    maps = np.broadcast_to(label.reshape(len(x), *[1] * (x.ndim - 2), -1), (*x.shape[:-1], 3))
    return np.concatenate([x, maps], axis=-1)


def stacked(kernel, of_label):
    """One kernel for inputs and labels; in a window the label is read by the first tap."""
    more = np.zeros((*kernel.shape[:-2], *of_label.shape))
    more[(0,) * (kernel.ndim - 2)] = of_label
    return np.concatenate([kernel, more], axis=-2)


def np_mlp(g, d, state, z, x, label, progress):
    h = beside(z, label) @ stacked(g["dense_0"]["kernel"], g["label_0"]["kernel"])
    h = np.maximum(h + g["dense_0"]["bias"], 0) @ g["dense_1"]["kernel"] + g["dense_1"]["bias"]
    h = np.maximum(h, 0) @ g["dense_2"]["kernel"] + g["dense_2"]["bias"]
    y = (1 / (1 + np.exp(-h))).reshape(x.shape)
    first = stacked(d["dense_0"]["kernel"], d["label_0"]["kernel"])
    h = np_leaky(beside(x.reshape(BATCH, -1), label) @ first + d["dense_0"]["bias"])
    return y, np_leaky(h @ d["dense_1"]["kernel"] + d["dense_1"]["bias"])


def np_dcgan(g, d, state, z, x, label, progress):
    stats, spectral = state["generator"], "conv_0" in state["generator"]

    def kernel(params, scope, layer):
        value = params[layer]["kernel"]
        if spectral:
            u = state[scope][layer]["u"]
            value = value / np.linalg.norm(value.reshape(-1, len(u)) @ u)
        return value

    h = (
        np_spread(z, kernel(g, "generator", "conv_0"))
        + (label @ g["label_0"]["kernel"])[:, None, None]
    )
    for layer in range(2):
        norm = f"norm_{layer}"
        h = np.maximum(np_batch_norm(h, g[norm], stats[norm]), 0)
        h = np_transpose(h, kernel(g, "generator", f"conv_{layer + 1}"))
    y = (np.tanh(h + g["conv_2"]["bias"]) + 1) / 2
    pads = ((0, 1), (0, 1))
    first = stacked(kernel(d, "discriminator", "conv_0"), d["label_0"]["kernel"])
    h = np_leaky(np_conv(beside(x, label), first, 2, pads) + d["conv_0"]["bias"])
    h = np_conv(h, kernel(d, "discriminator", "conv_1"), 2, pads)
    if spectral:
        d["score"]["kernel"] = kernel(d, "discriminator", "score")
        return y, np_leaky(h + d["conv_1"]["bias"])
    return y, np_leaky(np_batch_norm(h, d["norm_1"], state["discriminator"]["norm_1"]))


def np_progan(g, d, state, z, x, label, progress):
    """Only the one or two networks that figure 2 shows at this progress."""
    level, alpha = int(progress), progress % 1

    def equalised(params):
        gains = {"to_image_0", "to_image_1", "to_image_2", "score", "minibatch", "score_minibatch"}
        for name, own in params.items():
            shape = own["kernel"].shape[: -2 if name == "minibatch" else -1]
            own["kernel"] = own["kernel"] * np.sqrt((1 if name in gains else 2) / np.prod(shape))

    def image(h, own):
        return (np.tanh(h @ own["kernel"] + own["bias"]) + 1) / 2

    def from_image(x, layer):
        own = d[f"from_image_{layer}"]
        first = stacked(own["kernel"], d[f"label_{layer}"]["kernel"])
        return np_leaky(beside(x, label) @ first + own["bias"])

    equalised(g)
    equalised(d)
    one = ((1, 1), (1, 1))
    h = np_spread(np_pixel_norm(z), g["conv_0"]["kernel"])
    h = h + (label @ g["label_0"]["kernel"])[:, None, None]
    h, images = np_pixel_norm(np_leaky(h + g["conv_0"]["bias"])), []
    for number in range(level + 2):
        images.append(np_double(image(h, g[f"to_image_{number}"]), LEVELS - 1 - number))
        if number < LEVELS - 1:
            own = g[f"conv_{number + 1}"]
            h = np_conv(np_double(h), own["kernel"], 1, one) + own["bias"]
            h = np_pixel_norm(np_leaky(h))
        else:
            break
    y = images[level] if alpha == 0 else (1 - alpha) * images[level] + alpha * images[level + 1]

    pooled = [x]
    for _ in range(LEVELS - 1):
        pooled.append(np_halve(pooled[-1]))
    layer = LEVELS - 1 - level
    h = from_image(pooled[layer], layer)
    if alpha > 0:
        own = d[f"conv_{layer - 1}"]
        larger = np_conv(from_image(pooled[layer - 1], layer - 1), own["kernel"], 1, one)
        h = (1 - alpha) * h + alpha * np_leaky(np_halve(larger) + own["bias"])
    for below in range(layer, LEVELS - 1):
        own = d[f"conv_{below}"]
        h = np_leaky(np_halve(np_conv(h, own["kernel"], 1, one)) + own["bias"])
    own = d[f"conv_{LEVELS - 1}"]
    last = np.concatenate(  # the standard deviation as one more map, read by the first pixel
        [own["kernel"], np.zeros((*own["kernel"].shape[:2], 1, 5))], axis=2
    )
    last[0, 0, -1] = d["deviation"]["kernel"][0]
    spread = np.full((*h.shape[:3], 1), np.mean(np.sqrt(np.var(h, axis=0) + 1e-8)))
    h = np_conv(np.concatenate([h, spread], axis=3), last, 1, ((0, 0), (0, 0)))
    return y, np_leaky(h + own["bias"])[:, 0, 0]


NUMPY = {"mlp": np_mlp, "dcgan": np_dcgan, "sagan": np_dcgan, "progan": np_progan}
CASES = [(name, LEVELS - 1.0) for name in NUMPY]
CASES += [("progan", progress) for progress in (0.0, 0.25, 1.0, 1.5)]


@pytest.mark.parametrize(("name", "progress"), CASES)
def test_equal_to_the_network_in_numpy(name, progress):
    """With labels concatenated to the inputs; without attention, as γ is zero."""
    _, params, state, _ = built(name)
    if name == "sagan":
        params = with_gamma(params, 0.0)
    actual = evaluated(name, params, progress=progress)
    own, stats, (z, x, label) = jax.tree.map(np.float64, (params, state, inputs()))
    g, d = own["generator"], own["discriminator"]
    y, h = NUMPY[name](g, d, stats, z, x, label, progress)
    features, outputs = np_judge(h, d)
    assert np.std(y) > 0.05
    np.testing.assert_allclose(actual["y"], y, atol=2e-5)
    np.testing.assert_allclose(actual["h"], features, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(actual["outputs"], outputs, rtol=2e-4, atol=5e-5)


def with_gamma(params, gamma):
    flat = flatten_names(params)
    return unflatten_names(
        {n: np.float32(gamma) if n.endswith("gamma") else v for n, v in flat.items()}
    )


def test_attention_matters_once_gamma_is_not_zero():
    params = built("sagan")[1]
    before, after = (evaluated("sagan", with_gamma(params, gamma)) for gamma in (0.0, 0.5))
    assert all(np.abs(before[part] - after[part]).max() > 0.01 for part in before)


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_shapes_and_ranges(name):
    _, params, state, apply_fn = built(name)
    out, (same, still) = apply_fn(params, state, inputs()[0], LEVELS - 1.0)
    assert out["y"].shape == (BATCH, *SHAPE)
    assert out["y"].min() >= 0 and out["y"].max() <= 1 and out["y"].std() > 0.05
    assert out["outputs"].shape == (BATCH, 2)
    assert out["h"].shape[0] == BATCH and out["h"].ndim == 2
    jax.tree.map(np.testing.assert_array_equal, same, state)  # in evaluation it stays
    jax.tree.map(np.testing.assert_array_equal, still, state)
    assert (state == {}) == (name in ("mlp", "progan"))


@pytest.mark.parametrize("name", sorted(PAIRS))
@pytest.mark.parametrize("options", [{}, ALL, {"minibatch": 4}], ids=["plain", "all", "minibatch"])
def test_spec_fits_the_parameters(name, options):
    pair = make(name, **options)
    params, _ = shapes(pair)
    check_spec(pair.spec, params)
    order = list(pair.spec.groups)
    assert order[0] == "x" and order[-1] == "y" and order.index("score") + 1 == order.index("z")
    assert {"x", "y", "score"} <= set(pair.spec.fixed) <= set(order)
    assert ("label" in order) == ("labels" in options)
    assert set(pair.spec.scaled).isdisjoint(pair.spec.fixed)
    one = PAIRS[name](SHAPE, (4,), LATENT, **options)
    check_spec(one.spec, shapes(one)[0])


def state_axes(spec, state):
    """A statistic belongs to the neurons that its layer leads to."""
    layers = {name.rpartition("/")[0]: axes[-1] for name, axes in spec.axes.items() if axes}
    return {name: (layers[name.rpartition("/")[0]],) for name in flatten_names(state)}


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_permuting_neurons_leaves_the_function(name):
    pair, params, state, _ = built(name)
    rng = np.random.default_rng(3)
    free = {g: n for g, n in pair.spec.groups.items() if g not in pair.spec.fixed}
    permutations = {group: np.roll(rng.permutation(n), 1) for group, n in free.items()}
    of_state = pair.spec._replace(axes=state_axes(pair.spec, state))

    @jax.jit
    def permuted(params, state):
        own = {g: jnp.asarray(p) for g, p in permutations.items()}
        return permute(params, pair.spec, own), permute(state, of_state, own)

    new_params, new_state = jax.device_get(permuted(params, state))
    before = evaluated(name, progress=1.5)
    z = inputs()[0][:, permutations["z"]]
    after = evaluated(name, new_params, new_state, z, progress=1.5)
    for part in ("y", "outputs"):
        np.testing.assert_allclose(after[part], before[part], rtol=1e-4, atol=2e-5)
    for group in permutations:  # the negative control: one array of a group out of step
        wrong = [n for n, axes in pair.spec.axes.items() if len(axes) > 1 and group in axes][-1]
        flat = flatten_names(new_params)
        axis = pair.spec.axes[wrong].index(group)
        back = np.argsort(permutations[group])
        alone = unflatten_names(flat | {wrong: np.take(flat[wrong], back, axis=axis)})
        broken = evaluated(name, alone, new_state, z, progress=1.5)
        assert max(np.abs(broken[p] - before[p]).max() for p in ("y", "outputs")) > 1e-3, group


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_rescaling_neurons_leaves_the_function_where_the_spec_says_so(name):
    pair, params, _, _ = built(name)
    rng = np.random.default_rng(4)
    before = evaluated(name, progress=1.5)
    free = [g for g in pair.spec.groups if g not in (*pair.spec.fixed, "z", "minibatch")]
    factors = {g: rng.uniform(0.5, 2, pair.spec.groups[g]).astype(np.float32) for g in free}
    claimed = {group: factors[group] for group in pair.spec.scaled}
    after = evaluated(name, rescale(params, pair.spec, claimed), progress=1.5)
    for part in ("y", "outputs"):
        np.testing.assert_allclose(after[part], before[part], rtol=1e-4, atol=2e-5)
    for group in set(free) - set(claimed):  # and nowhere else
        wrong = evaluated(name, rescale(params, pair.spec, {group: factors[group]}), progress=1.5)
        assert max(np.abs(wrong[p] - before[p]).max() for p in ("y", "outputs")) > 1e-3, group


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_mirroring_flips_latent_variables_and_the_channels_of_attention(name):
    pair, params, _, _ = built(name)
    for group in pair.spec.mirrored:
        sign = jnp.where(jnp.arange(pair.spec.groups[group]) % 2, 1.0, -1.0)
        z = inputs()[0] * (sign if group == "z" else 1)
        before, after = (
            evaluated(name, p, z=v)
            for p, v in (
                (params, inputs()[0]),
                (mirror(params, pair.spec, {group: sign}), z),
            )
        )
        for part in before:
            np.testing.assert_allclose(after[part], before[part], rtol=1e-4, atol=2e-5)
    unflipped = evaluated(name, mirror(params, pair.spec, {"z": -jnp.ones(LATENT)}))
    assert np.abs(unflipped["y"] - evaluated(name)["y"]).max() > 0.01


def test_the_fade_is_linear_between_levels_and_absent_at_them():
    small, half, large = (evaluated("progan", progress=p)["y"] for p in (1.0, 1.25, 2.0))
    np.testing.assert_allclose(half, 0.75 * small + 0.25 * large, atol=1e-6)
    assert np.abs(small - large).max() > 0.05
    np.testing.assert_array_equal(evaluated("progan", progress=np.inf)["y"], large)
    fade, x = jax.jit(make("progan").fade), inputs()[1]
    levels = [np_double(np_halve(np_halve(x)), 2), np_double(np_halve(x)), x]
    for p, weights in {
        0.0: (1, 0, 0),
        1.0: (0, 1, 0),
        1.25: (0, 0.75, 0.25),
        2.0: (0, 0, 1),
    }.items():
        expected = sum(w * level for w, level in zip(weights, levels, strict=True))
        np.testing.assert_allclose(fade(x, p), expected, atol=1e-6)
    np.testing.assert_array_equal(make("dcgan").fade(x, 0.5), x)


def test_what_has_not_grown_yet_learns_nothing():
    pair = PAIRS["progan"]((4, 2, 1), (2, 3), LATENT)
    params, state = filled(pair)
    z = inputs()[0]

    @jax.jit
    def gradients(progress):
        def loss(params):
            y, _ = pair.generate(params, state, z, True, progress)
            return jnp.sum(pair.discriminate(params, state, y, True, progress)[0])

        return flatten_names(jax.grad(loss)(params))

    larger = {"generator/conv_1", "generator/to_image_1"}
    larger |= {"discriminator/conv_0", "discriminator/from_image_0"}
    # smaller images are no longer shown, once they are replaced
    smaller = {"generator/to_image_0", "discriminator/from_image_1"}
    for progress, resting in {0.0: larger, 0.5: set(), 1.0: smaller}.items():
        for name, grad in gradients(progress).items():
            assert np.any(grad) != (name.rpartition("/")[0] in resting), (progress, name)


def test_batch_norm_against_numpy():
    rng = np.random.default_rng(5)
    x = rng.normal(2.0, 3.0, (4, 2, 3, 5)).astype(np.float32)
    params = {name: rng.normal(size=4).astype(np.float32) for name in ("scale", "bias")}
    stats = {name: rng.uniform(1, 2, 4).astype(np.float32) for name in ("mean", "var")}
    train, still = (jax.jit(functools.partial(batch_norm, train=t)) for t in (True, False))
    pixels = x.transpose(1, 2, 3, 0)

    def back(y):
        return np.asarray(y).transpose(1, 2, 3, 0)

    y, new = train(params, stats, x)
    own = {"mean": pixels.mean((0, 1, 2)), "var": pixels.var((0, 1, 2))}
    np.testing.assert_allclose(back(y), np_batch_norm(pixels, params, own), rtol=1e-4, atol=1e-5)
    for name, value in own.items():
        np.testing.assert_allclose(new[name], 0.9 * stats[name] + 0.1 * value, rtol=1e-5)
    y, same = still(params, stats, x)
    np.testing.assert_allclose(back(y), np_batch_norm(pixels, params, stats), rtol=1e-4, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, same, stats)


@pytest.mark.parametrize("name", ["dcgan", "sagan"])
def test_in_training_each_member_keeps_its_own_statistics(name):
    pair = make(name)
    params, state = filled(pair)
    two = jax.tree.map(lambda leaf: np.stack([leaf, 2 * leaf + 0.1]), params)
    z, x, _ = inputs()

    @jax.jit
    @jax.vmap
    def train(params):
        _, new = pair.generate(params, state, z, True)
        return pair.discriminate(params, new, x, True)[2]

    new = flatten_names(train(two))
    assert list(new) == list(flatten_names(state))
    for statistic, value in new.items():
        if value.shape == (2, 1):
            continue  # the singular vector of a single output can only be 1
        assert not np.allclose(value[0], value[1], rtol=1e-3), statistic
        assert not np.allclose(value[0], flatten_names(state)[statistic], rtol=1e-3), statistic


def test_spectral_norm_against_a_singular_value_decomposition():
    rng = np.random.default_rng(6)
    kernel, G = rng.normal(size=(2, 3, 2, 2, 5)).astype(np.float32)
    u = np.full(5, 5**-0.5, np.float32)

    @functools.partial(jax.jit, static_argnums=2)
    def apply_fn(kernel, u, train):
        (_, aux), grad = jax.value_and_grad(
            lambda k: (jnp.vdot(spectral_norm(k, u, train)[0], G), spectral_norm(k, u, train)),
            has_aux=True,
        )(kernel)
        return *aux, grad

    W, first = kernel.reshape(-1, 5).astype(np.float64), u
    _, u, grad = apply_fn(kernel, u, True)
    # σ = vᵀ W u with v and u for constants, though they are far from singular vectors: ⟨W/σ, G⟩
    # has the gradient (G − ⟨W/σ, G⟩ v uᵀ) / σ
    v = W @ first / np.linalg.norm(W @ first)
    sigma = v @ W @ u
    outer = np.outer(v, u).reshape(kernel.shape)
    expected = (G - np.vdot(kernel, G) / sigma * outer) / sigma
    np.testing.assert_allclose(u, v @ W / np.linalg.norm(v @ W), rtol=1e-4)
    np.testing.assert_allclose(grad, expected, rtol=1e-3, atol=1e-5)
    for _ in range(60):
        normalised, u, _ = apply_fn(kernel, u, True)
    _, values, right = np.linalg.svd(W)
    np.testing.assert_allclose(normalised, kernel / values[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.abs(u @ right[0]), 1.0, atol=1e-5)
    again, same, _ = apply_fn(kernel, u, False)
    np.testing.assert_allclose(again, normalised, rtol=1e-5)
    np.testing.assert_array_equal(same, u)


def test_minibatch_discrimination_counts_near_images():
    h, tensor = jnp.asarray(np.random.default_rng(7).normal(0, 0.4, (2, 6, 6)), jnp.float32)
    tensor = tensor.reshape(6, 2, 3)
    near = closeness(h, tensor)
    np.testing.assert_allclose(near, np_closeness(h, tensor), rtol=1e-5)
    assert near.min() > 1 and near.max() < 6
    collapsed = closeness(jnp.repeat(h[:1], 6, axis=0), tensor)  # six images that are all one
    np.testing.assert_allclose(collapsed, np.full((6, 2), 6.0))


def test_first_parameters():
    pair = make("sagan")
    params, state = jax.jit(jax.vmap(pair.init))(jax.random.split(jax.random.key(0), 2))
    for name, leaf in flatten_names(params).items():
        leaf = np.asarray(leaf)
        assert leaf.dtype == np.float32
        if name.endswith(("bias", "gamma", "scale")):
            assert (leaf == float(name.endswith("scale"))).all()
        else:
            assert np.all(leaf[0] != leaf[1]), name
    kernel = np.asarray(params["generator"]["conv_1"]["kernel"])  # fan-in 4 · 4 · 5
    np.testing.assert_allclose(kernel.std(), 80**-0.5, rtol=0.05)
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", ["dcgan", "sagan", "progan"])
def test_images_that_cannot_be_halved_are_refused(name):
    fewer = 2 if name == "progan" else 1
    times = 2 if name == "progan" else 3
    message = rf"images of 6×4 cannot be halved {times} times.*at most {fewer} layers.*\"mlp\""
    with pytest.raises(ValueError, match=message):
        PAIRS[name]((6, 4, 1), (4, 4, 4), 2)
    PAIRS[name]((6, 4, 1), (4,) * fewer, 2)


def test_odd_images_are_left_to_dense_networks():
    with pytest.raises(ValueError, match=r"images of 7×5 .*hidden=\(4,\) need; take network="):
        PAIRS["dcgan"]((7, 5, 1), (4,), 2)
    PAIRS["mlp"]((7, 5, 1), (4,), 2)


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_faulty_arguments_are_refused(name):
    with pytest.raises(ValueError, match="needs hidden layers"):
        PAIRS[name](SHAPE, (), 2)
    z, x, label = inputs()
    for options, given in ((ALL, None), ({}, label)):
        pair = make(name, **options)
        params, state = shapes(pair)
        with pytest.raises(ValueError, match="label is needed"):
            jax.eval_shape(
                lambda p, s, g=given, f=pair: f.generate(p, s, z, True, label=g), params, state
            )
        with pytest.raises(ValueError, match="label is needed"):
            jax.eval_shape(
                lambda p, s, g=given, f=pair: f.discriminate(p, s, x, True, label=g), params, state
            )


def test_attention_needs_a_layer():
    with pytest.raises(ValueError, match="attention is 2; there are 2 hidden layers"):
        make("sagan", attention=2)
    second = make("sagan", attention=1)
    check_spec(second.spec, shapes(second)[0])
    assert (
        second.spec.groups["discriminator_1_value"] == second.spec.groups["generator_0_value"] == 2
    )
