"""The Flax blocks that families, classifiers and encoders share."""

from genvec.networks.attention import SelfAttention
from genvec.networks.coders import NETWORKS, Coder
from genvec.networks.conv import (
    CONVOLUTIONS,
    Conv,
    conv,
    conv_transpose,
    from_maps,
    to_maps,
    upsample_conv,
)
from genvec.networks.conv_embedder import ConvEmbedder
from genvec.networks.dense import MLP, MLPClassifier, initialise, mlp_axes
from genvec.networks.efficientnet import EfficientNet
from genvec.networks.pairs import PAIRS, Pair
from genvec.networks.resnet import ResNet

__all__ = [
    "CONVOLUTIONS",
    "MLP",
    "NETWORKS",
    "PAIRS",
    "Coder",
    "Conv",
    "ConvEmbedder",
    "EfficientNet",
    "MLPClassifier",
    "Pair",
    "ResNet",
    "SelfAttention",
    "conv",
    "conv_transpose",
    "from_maps",
    "initialise",
    "mlp_axes",
    "to_maps",
    "upsample_conv",
]
