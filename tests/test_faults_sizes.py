"""Families, encoders and networks refuse sizes that cannot be, in one message."""

import re

import pytest
from conftest import ARGS, IMAGE_SHAPE

from genvec.encoders import ENCODERS
from genvec.families import FAMILIES
from genvec.networks import ConvEmbedder, MLPClassifier, ResNet


@pytest.mark.parametrize("name", sorted(FAMILIES))
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("hidden", (0,)),
        ("hidden", (-3,)),
        ("hidden", (6.5,)),
        ("hidden", 6),
        ("hidden", "6"),
        ("latent", 0),
        ("latent", -1),
        ("latent", 2.5),
        ("latent", True),
    ],
)
def test_a_family_refuses_sizes_that_cannot_be(name, argument, value):
    args = dict(ARGS.get(name, {"hidden": (6,), "latent": 2}))
    if argument not in args:
        pytest.skip(f"{name} has no {argument}")
    with pytest.raises(ValueError, match=rf"{argument}( is |=){re.escape(repr(value))}; allowed"):
        FAMILIES[name](IMAGE_SHAPE, **{**args, argument: value})


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("vae", {"image_shape": (8, 0, 1)}, "image_shape"),
        ("aae", {"critic_hidden": (0,)}, "critic_hidden"),
        ("density", {"num_columns": 2.5}, "num_columns"),
        ("hyper_vae", {"num_classes": 3, "hyper_hidden": (0,)}, "hyper_hidden"),
        ("hyper_vae", {"num_classes": 3, "num_targets": 0}, "num_targets"),
        ("mad_gan", {"num_generators": 2.5}, "num_generators"),
        ("wgan", {"clip": 0.0}, "clip"),
        ("lsgan", {"num_critic": -1}, "num_critic"),
        ("lsgan", {"feature_matching": float("nan")}, "feature_matching"),
        ("inr", {"omega": float("inf")}, "omega"),
    ],
)
def test_a_family_refuses_options_that_cannot_be(name, args, message):
    shape = args.pop("image_shape", IMAGE_SHAPE)
    with pytest.raises(ValueError, match=f"{message} is .*; allowed"):
        FAMILIES[name](shape, **args)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("mlp", {"hidden": (0,)}),
        ("mlp", {"hidden": 8}),
        ("graph", {"width": 0}),
        ("graph", {"rounds": 0}),
        ("graph", {"readout": -1}),
        ("set", {"width": 2.5}),
        ("set", {"hidden": (-3,)}),
        ("transformer", {"num_heads": 7}),
        ("transformer", {"num_layers": -1}),
        ("probes", {"num_probes": 0}),
    ],
)
def test_an_encoder_refuses_sizes_that_cannot_be(name, args, vae):
    with pytest.raises(ValueError, match=f"{next(iter(args))} is .*; allowed"):
        ENCODERS[name](vae, 3, **args)


@pytest.mark.parametrize(
    ("network", "args"),
    [
        (MLPClassifier, {"hidden_widths": (0,)}),
        (ResNet, {"stage_widths": ()}),
        (ResNet, {"blocks_per_stage": 0}),
        (ConvEmbedder, {"widths": (8, 0)}),
    ],
)
def test_a_network_refuses_sizes_that_cannot_be(network, args):
    with pytest.raises(ValueError, match=f"{next(iter(args))} is .*; allowed"):
        network(3, **args)
