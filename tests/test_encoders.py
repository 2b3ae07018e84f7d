import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_params, small

from genvec import symmetry
from genvec.encoders import (
    ENCODERS,
    GraphEncoder,
    JointEncoder,
    MessagePassing,
    NamedModules,
)
from genvec.families import FAMILIES
from genvec.networks import MLP, initialise
from genvec.represent import Context, flat, graph, member, tokens
from genvec.trees import flatten_names, unflatten_names


def graph_of(family, params):
    return graph(params, {}, Context(family.spec, family.encode, jnp.zeros((1, 4, 4, 1))))


@pytest.fixture(scope="module")
def encoded(family):
    encoder = GraphEncoder(family.spec, 3, width=8, readout=16)
    params = initialise(encoder, jax.random.key(0), graph_of(family, random_params(family)[0]))
    return jax.jit(lambda member: encoder.apply(params, graph_of(family, member)))


READS = {
    "graph": graph,
    "mlp": flat,
    "set": tokens,
    "transformer": tokens,
    "probes": member,
}


def made(name, family, seed=0):
    """An untrained encoder as a function of (params, state)."""
    reference = random_params(family, seed=11)[0]
    images = jnp.zeros((1, *family.architecture["image_shape"]))
    context = Context(family.spec, family.encode, images, reference=reference)
    encoder = ENCODERS[name](family, 3)

    def features(params, state):
        return READS[name](params, state, context)

    first = features(*random_params(family))
    variables = initialise(encoder, jax.random.key(seed), first)
    return jax.jit(lambda params, state: encoder.apply(variables, features(params, state)))


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_embeddings_lie_on_the_positive_orthant_of_the_sphere(family, name):
    embedding = made(name, family)(*random_params(family))
    assert embedding.shape == (3,)
    assert (embedding > 0).all()
    np.testing.assert_allclose(jnp.linalg.norm(embedding), 1, rtol=1e-5)


@pytest.mark.parametrize("name", ["graph", "probes"])
def test_what_no_symmetry_of_the_member_changes(family, name):
    encode, (params, state) = made(name, family), random_params(family)
    permutations = symmetry.random_permutations(jax.random.key(5), family.spec)
    permuted = symmetry.permute(params, family.spec, permutations)
    before = encode(params, state)
    np.testing.assert_allclose(encode(permuted, state), before, rtol=1e-4)
    # control: another member, and one axis permuted alone
    assert not np.allclose(encode(*random_params(family, seed=7)), before, rtol=1e-3)
    wrong = dict(flatten_names(params))
    wrong["decoder/dense_0/kernel"] = wrong["decoder/dense_0/kernel"][:, ::-1]
    assert not np.allclose(encode(unflatten_names(wrong), state), before, rtol=1e-4)


def test_a_set_has_no_order_and_places_do(family):
    """Tokens of one group in another order: the set stays, the transformer's places do not."""
    params, state = random_params(family)
    context = Context(family.spec, family.encode, jnp.zeros((1, 4, 4, 1)), reference=params)
    x = tokens(params, state, context)
    start, stop = family.spec.groups["encoder_0"], len(x) - family.spec.groups["encoder_0"]
    turned = jnp.concatenate([x[:start][::-1], x[start:]])
    assert start < stop
    for name, same in (("set", True), ("transformer", False)):
        encoder = ENCODERS[name](family, 3)
        variables = initialise(encoder, jax.random.key(0), x)
        if name == "transformer":  # places begin near zero
            places = jax.random.normal(jax.random.key(1), variables["params"]["places"].shape)
            variables = {"params": {**variables["params"], "places": places}}
        before, after = (encoder.apply(variables, t) for t in (x, turned))
        assert np.allclose(before, after, rtol=1e-4) == same


def test_tokens_of_another_architecture_are_refused(family):
    with pytest.raises(ValueError, match="5 tokens for"):
        ENCODERS["set"](family, 3).init(jax.random.key(0), jnp.zeros((5, 20)))


def test_probes_want_a_member_that_gives_images_back():
    with pytest.raises(ValueError, match="a non_saturating gives none back"):
        ENCODERS["probes"](small("non_saturating"), 3)


def test_a_step_of_training_leaves_probes_of_photographs_unsaturated():
    """A step of 0.0003 for every weight, as Adam begins: the softmax stays where it has slope."""
    family = FAMILIES["vae"]((32, 32, 3), hidden=(8,), latent=4)
    params, state = random_params(family)
    x = member(params, state, Context(family.spec, family.encode, jnp.zeros((1, 32, 32, 3))))
    target = jnp.array([1.0, 0.0, 0.0])

    class Plain(nn.Module):
        """Control: an MLP on all pixels that come out."""

        @nn.compact
        def __call__(self, member):
            images = nn.sigmoid(self.param("images", nn.initializers.normal(), (16, 32, 32, 3)))
            code = family.encode(member["params"], {}, images)
            seen = family.decode(member["params"], {}, code).reshape(-1)
            return nn.softmax(MLP((256, 256, 3))(seen))

    def largest_after_a_step(encoder):
        variables = initialise(encoder, jax.random.key(0), x)
        grads = jax.grad(lambda v: jnp.sum((encoder.apply(v, x) - target) ** 2))(variables)
        stepped = jax.tree.map(lambda w, g: w - 3e-4 * jnp.sign(g), variables, grads)
        return float(jnp.max(encoder.apply(stepped, x)))

    assert largest_after_a_step(ENCODERS["probes"](family, 3)) < 0.999
    assert largest_after_a_step(Plain()) > 0.999, "control"


def test_graph_encoder_does_not_see_the_order_of_hidden_neurons(family, encoded):
    params, _ = random_params(family)
    permutations = symmetry.random_permutations(jax.random.key(5), family.spec)
    permuted = symmetry.permute(params, family.spec, permutations)
    np.testing.assert_allclose(encoded(permuted), encoded(params), rtol=1e-4)
    # a constant encoder would pass the line above; it fails here
    assert not np.allclose(encoded(random_params(family, seed=7)[0]), encoded(params), rtol=1e-3)


def test_graph_encoder_sees_one_axis_permuted_alone(family, encoded):
    params, _ = random_params(family)
    wrong = dict(flatten_names(params))
    wrong["decoder/dense_0/kernel"] = wrong["decoder/dense_0/kernel"][:, ::-1]
    assert not np.allclose(encoded(unflatten_names(wrong)), encoded(params), rtol=1e-4)


def test_graph_encoder_sees_pixels_permuted(family, encoded):
    params, _ = random_params(family)
    shuffled = {"y": jnp.roll(jnp.arange(family.spec.groups["y"]), 1)}
    moved = symmetry.permute(params, family.spec, shuffled)
    assert not np.allclose(encoded(moved), encoded(params), rtol=1e-4)


def test_every_parameter_reaches_the_embedding(family):
    params, _ = random_params(family)
    encoder = GraphEncoder(family.spec, 3, width=8, readout=16)
    variables = initialise(encoder, jax.random.key(0), graph_of(family, params))
    grad_fn = jax.grad(lambda p: encoder.apply(variables, graph_of(family, p))[0])
    grads = jax.jit(grad_fn)(params)
    for name, grad in flatten_names(grads).items():
        assert np.abs(grad).max() > 0, name


def test_a_message_is_a_forward_pass_of_probes(vae):
    """With the pixels' codes as input images, the first message is x W of the member itself."""
    params, _ = random_params(vae)
    module = MessagePassing(vae.spec, width=4, readout=8)
    variables = initialise(module, jax.random.key(0), graph_of(vae, params))["params"]
    probe = variables["probe_0_x>encoder_0"]["kernel"]  # [4, 4], one edge feature
    images = variables["code_x"] @ probe  # [pixels, 4]: four probe images

    class FirstMessage(MessagePassing):
        @nn.compact
        def __call__(self, graph):
            first = {"x": variables["code_x"]}
            return self._message(NamedModules(), graph, first, "encoder_0", sweep=0)

    message = FirstMessage(vae.spec, width=4).apply(
        {"params": {"probe_0_x>encoder_0": {"kernel": probe}}}, graph_of(vae, params)
    )
    forward = images.T @ params["encoder"]["dense_0"]["kernel"]  # [4, hidden]
    np.testing.assert_allclose(message, forward.T / np.sqrt(16), rtol=1e-4, atol=1e-5)


def test_a_joint_encoder_shares_what_has_one_name():
    """Two architectures: each embeds as alone with the same parameters, and some are common."""
    parts = {name: symmetry.generator_part(small(name).spec) for name in ("ae", "pca")}
    encoders = {
        n: GraphEncoder(p.spec, 3, width=8, readout=16, joint=True) for n, p in parts.items()
    }
    graphs = {}
    for name, part in parts.items():
        members = [part.take(random_params(small(name), seed)[0]) for seed in (0, 1)]
        context = Context(part.spec, lambda params, state, x: x, jnp.zeros(0))
        graphs[name] = jax.tree.map(
            lambda *x: jnp.stack(x), *[graph(member, {}, context) for member in members]
        )
    joint = JointEncoder(encoders)
    params = jax.jit(joint.init)(jax.random.key(0), graphs)
    names = set(flatten_names(params))
    alone = {
        name: set(flatten_names(jax.eval_shape(encoder.init, jax.random.key(0), first)))
        for (name, encoder) in encoders.items()
        for first in [jax.tree.map(lambda x: x[0], graphs[name])]
    }
    assert names == alone["ae"] | alone["pca"]
    assert any("code_y_16" in name for name in alone["ae"] & alone["pca"])
    assert alone["ae"] - alone["pca"] and alone["pca"] - alone["ae"]
    embeddings = jax.jit(joint.apply)(params, graphs)
    assert embeddings.shape == (4, 3)
    last = jax.tree.map(lambda x: x[1], graphs["pca"])
    np.testing.assert_allclose(embeddings[3], encoders["pca"].apply(params, last), rtol=1e-4)
    assert not np.allclose(embeddings[2], embeddings[3], rtol=1e-3)
