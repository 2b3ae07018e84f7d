import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import IMAGE_SHAPE, random_params

from genvec import represent as R
from genvec import symmetry, trees
from genvec.types import NeuralGraph

IMAGES = jax.random.uniform(jax.random.key(3), (7, *IMAGE_SHAPE))
INVARIANT = ("moments",)  # vectors that no permutation of free neurons changes


@pytest.fixture(scope="module")
def context(family):
    return R.Context(
        family.spec,
        family.encode,
        IMAGES,
        sample=family.sample,
        describe=lambda x: x.reshape(len(x), -1)[:, :5],
        reference=random_params(family, seed=20)[0],
        decode=family.decode,
    )


def members(family, num=5):
    pairs = [random_params(family, seed) for seed in range(num)]
    return trees.stack([p for p, _ in pairs]), trees.stack([s for _, s in pairs])


@pytest.mark.parametrize("name", sorted(R.REPRESENTATIONS))
def test_represent_equals_one_member_at_a_time(family, context, name):
    params, state = members(family)
    whole = R.represent(name, params, state, context, width=2)  # 5 members: the last chunk overlaps
    for i in range(5):
        one = R.REPRESENTATIONS[name](trees.take(params, i), trees.take(state, i), context)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            trees.take(whole, i),
            one,
        )


def test_statistics_against_numpy(family, context):
    params, state = random_params(family)
    row = np.asarray(R.statistics(params, state, context)).reshape(-1, 7)
    for numbers, leaf in zip(row, trees.flatten_names(params).values(), strict=True):
        expected = [np.mean(leaf), np.var(leaf), *np.percentile(leaf, [0, 25, 50, 75, 100])]
        np.testing.assert_allclose(numbers, expected, rtol=1e-4, atol=1e-6)


def test_samples_are_moments_of_features(family, context):
    params, state = random_params(family)
    x = family.sample(params, state, jax.random.key(0), 40)
    h = np.asarray(x, np.float64).reshape(40, -1)[:, :5]
    expected = np.concatenate([h.mean(axis=0), h.std(axis=0)])
    found = R.samples(params, state, context, num=40)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    without = context._replace(describe=None)
    with pytest.raises(ValueError, match="need a sampler and features"):
        R.samples(params, state, without)


def test_pixels_are_moments_of_images(family, context):
    params, state = random_params(family)
    x = np.asarray(family.sample(params, state, jax.random.key(0), 40), np.float64)
    expected = np.concatenate([np.ravel(x.mean(axis=0)), np.ravel(x.std(axis=0))])
    found = R.pixels(params, state, context, num=40)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    permutations = symmetry.random_permutations(jax.random.key(4), family.spec)
    permuted = symmetry.permute(params, family.spec, permutations)
    other, _ = random_params(family, seed=1)
    # another order of z is another draw of the same distribution, another member is not
    far, near = (
        np.abs(R.pixels(p, state, context, num=4_000) - R.pixels(params, state, context, num=4_000))
        for p in (other, permuted)
    )
    assert near.max() < 0.25 * far.max()
    with pytest.raises(ValueError, match="needs a sampler"):
        R.pixels(params, state, context._replace(sample=None))


def test_reconstruction_is_the_error_of_each_image(family, context):
    params, state = random_params(family)
    expected = []
    for x in np.asarray(IMAGES, np.float64)[[0, 1, 3, 5]]:  # four of seven, spread evenly
        y = family.decode(params, state, family.encode(params, state, jnp.asarray(x[None])))
        expected.append(np.log(np.mean((x - np.asarray(y[0])) ** 2)))
    found = R.reconstruction(params, state, context, num=4)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert R.reconstruction(params, state, context).shape == (len(IMAGES),)
    permutations = symmetry.random_permutations(jax.random.key(4), family.spec)
    permuted = symmetry.permute(params, family.spec, permutations)
    again = R.reconstruction(permuted, state, context, num=4)
    np.testing.assert_allclose(again, found, rtol=1e-4)
    other = R.reconstruction(random_params(family, seed=1)[0], state, context, num=4)
    assert not np.allclose(other, found, rtol=1e-2)
    with pytest.raises(ValueError, match="gives images back"):
        R.reconstruction(params, state, context._replace(decode=None))


def test_tokens_hold_every_weight_of_a_free_neuron(family, context):
    params, state = random_params(family)
    own = context._replace(reference=params)  # aligned to itself: balanced, in its own order
    flat = trees.flatten_names(symmetry.balance(params, family.spec))
    rows = np.asarray(R.tokens(params, state, own))
    free = [group for group in family.spec.groups if group not in family.spec.fixed]
    assert len(rows) == sum(family.spec.groups[group] for group in free)
    # the third neuron of the first group
    first = next(name for name, axes in family.spec.axes.items() if axes == ("x", "encoder_0"))
    into, bias = flat[first][:, 2], flat[first.replace("kernel", "bias")][2]
    out = [flat[name][2] for name, axes in family.spec.axes.items() if axes == ("encoder_0", "z")]
    expected = np.sort(np.concatenate([into, bias[None], *out]))
    np.testing.assert_allclose(np.sort(rows[2][: len(expected)]), expected, rtol=1e-5)
    assert not rows[2][len(expected) :].any()
    with pytest.raises(ValueError, match="need a reference"):
        R.aligned(params, state, context._replace(reference=None))


def test_aligned_does_not_see_how_a_member_is_written(family):
    params, state = random_params(family)
    context = R.Context(family.spec, family.encode, IMAGES, reference=params)
    key = jax.random.key(4)
    other = symmetry.permute(params, family.spec, symmetry.random_permutations(key, family.spec))
    same, again = (R.aligned(p, state, context) for p in (params, other))
    np.testing.assert_allclose(again, same, rtol=1e-4, atol=1e-5)
    assert not np.allclose(R.flat(other, state, context), R.flat(params, state, context))


def test_moments_by_hand():
    from genvec.types import Spec

    spec = Spec({"x": 2, "h": 3}, ("x",), {"w": ("x", "h"), "b": ("x",)})
    w = jnp.array([[1.0, -1.0, 3.0], [0.0, 0.0, 2.0]])
    params = {"w": w, "b": jnp.array([5.0, 6.0])}
    moments = R.moments(params, {}, R.Context(spec, lambda *_: jnp.ones(1), IMAGES), order=3)
    mean, second, third = [1, 2 / 3], [11 / 3, 4 / 3], [27 / 3, 8 / 3]
    expected = [*mean, *np.sqrt(second), *np.cbrt(third), 5, 6]
    np.testing.assert_allclose(moments, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["flat", "moments", "statistics"])
def test_which_vectors_are_invariant(family, context, name):
    params, state = random_params(family)
    permutations = symmetry.random_permutations(jax.random.key(4), family.spec)
    permuted = symmetry.permute(params, family.spec, permutations)
    before, after = (R.REPRESENTATIONS[name](p, state, context) for p in (params, permuted))
    assert np.allclose(before, after, rtol=1e-4, atol=1e-5) is (name != "flat")
    # moments keep pixels apart; statistics do not, and would not notice
    pixels = {"x": jnp.roll(jnp.arange(family.spec.groups["x"]), 1)}
    moved = R.REPRESENTATIONS[name](symmetry.permute(params, family.spec, pixels), state, context)
    assert np.allclose(before, moved, rtol=1e-4, atol=1e-5) is (name == "statistics")


def test_latent_mean_is_the_mean_code(family, context):
    params, state = random_params(family)
    loop = np.mean([family.encode(params, state, x[None])[0] for x in IMAGES], axis=0)
    np.testing.assert_allclose(R.latent_mean(params, state, context), loop, rtol=1e-5, atol=1e-6)


def test_graph_holds_every_parameter_once(family, context):
    params, state = random_params(family)
    graph = R.graph(params, state, context)
    numbers = np.sort(np.concatenate([np.ravel(x) for x in jax.tree.leaves(graph)]))
    np.testing.assert_array_equal(numbers, np.sort(trees.ravel(params)))
    assert set(graph.edges) >= {"x>encoder_0", "z>decoder_0"}
    heads = 2 if family.name == "vae" else 1  # mean and log-variance: two features of one edge
    assert graph.edges["encoder_0>z"].shape == (6, 2, heads)
    np.testing.assert_array_equal(
        graph.edges["z>decoder_0"][..., 0], params["decoder"]["dense_0"]["kernel"]
    )


def test_graph_of_a_convolution_makes_the_window_edge_features():
    from genvec.types import Spec

    kernel = jnp.arange(3 * 3 * 2 * 4.0).reshape(3, 3, 2, 4)
    spec = Spec({"a": 2, "b": 4}, ("a",), {"kernel": (None, None, "a", "b"), "bias": ("b",)})
    context = R.Context(spec, lambda *_: jnp.ones(1), IMAGES)
    graph = R.graph({"kernel": kernel, "bias": jnp.ones(4)}, {}, context)
    assert graph.edges["a>b"].shape == (2, 4, 9)
    np.testing.assert_array_equal(graph.edges["a>b"][1, 2], kernel[:, :, 1, 2].ravel())


def test_normaliser_standardises_vectors_on_the_train_split(family, context):
    x = np.random.default_rng(0).normal(3, 2, (200, 4)).astype(np.float32)
    x[:, 3] = 1.5  # a constant feature must not explode
    normalised = R.fit_normaliser(x, family.spec)(x)
    np.testing.assert_allclose(normalised[:, :3].mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(normalised[:, :3].std(0), 1, rtol=1e-3)
    np.testing.assert_array_equal(normalised[:, 3], 0)


def test_normalising_a_graph_commutes_with_permuting(family, context):
    params, state = members(family)
    graphs = R.represent("graph", params, state, context)
    normaliser = R.fit_normaliser(graphs, family.spec)
    for edges in normaliser(graphs).edges.values():
        np.testing.assert_allclose(np.sqrt(np.mean(edges**2, axis=(0, 1, 2))), 1, rtol=1e-3)
    permutations = symmetry.random_permutations(jax.random.key(4), family.spec)

    def permuted(p):
        return symmetry.permute(p, family.spec, permutations)

    one, state0 = trees.take(params, 0), trees.take(state, 0)
    first = normaliser(R.graph(permuted(one), state0, context))
    graph = normaliser(R.graph(one, state0, context))
    order = permutations["encoder_0"]
    np.testing.assert_allclose(first.nodes["encoder_0"], graph.nodes["encoder_0"][order], rtol=1e-5)
    assert not np.allclose(first.nodes["encoder_0"], graph.nodes["encoder_0"])


def test_normaliser_survives_being_saved(family, context):
    params, state = members(family)
    for name in ("graph", "moments"):
        features = R.represent(name, params, state, context)
        normaliser = R.fit_normaliser(features, family.spec)
        back = R.normaliser_from_tree(R.normaliser_to_tree(normaliser))
        assert isinstance(back.shift, NeuralGraph) is (name == "graph")
        jax.tree.map(np.testing.assert_array_equal, normaliser(features), back(features))
