"""Pairs of a generator and a discriminator for GANs, chosen apart from the loss."""

from genvec.networks.pairs.base import GROWN, Pair
from genvec.networks.pairs.dcgan import dcgan, sagan
from genvec.networks.pairs.mlp import mlp
from genvec.networks.pairs.progan import progan

PAIRS = {"mlp": mlp, "dcgan": dcgan, "sagan": sagan, "progan": progan}

__all__ = ["GROWN", "PAIRS", "Pair"]
