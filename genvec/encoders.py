"""Encoders: one member's features → a point on the positive orthant of the unit sphere [D]."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from genvec.geometry import to_sphere
from genvec.networks import MLP
from genvec.types import NeuralGraph, Spec

CODE = 16  # numbers that a neuron of a fixed group hands to the read-out


class MLPEncoder(nn.Module):
    """Dense layers on any vector representation."""

    spec: Spec
    num_outputs: int
    hidden: Sequence[int] = (256, 256)

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        return to_sphere(nn.softmax(MLP((*self.hidden, self.num_outputs))(features)))


class MessagePassing(nn.Module):
    """A neural graph → features [readout] that no permutation of its free groups changes.

    A message along the edges is Σ_e W_eᵀ (h V_e): with h a learned code of the pixels, this is how
    `width` learned probe images run through the member's own weights, so the encoder can imitate
    the member's forward pass. A message against the edges, Σ_e W_e (h V_e), can imitate its
    backward pass. A round sweeps forward through the groups and back again, and every group reads
    neighbours that the sweep has already updated: one round crosses the whole network.

    Reference: Kofinas et al. 2024, arXiv 2403.12143, section 4 (messages that multiply edge with
    node features); the probes are those of ProbeGen, arXiv 2410.10811, without running the member.
    """

    spec: Spec
    width: int = 32
    rounds: int = 1
    readout: int = 256

    @nn.compact
    def __call__(self, graph: NeuralGraph) -> jax.Array:
        order = list(self.spec.groups)  # forward; the graph's own dicts may come sorted by name
        h = {group: self._initial(group, graph.nodes.get(group)) for group in order}
        for sweep in range(2 * self.rounds):
            for group in order if sweep % 2 == 0 else reversed(order):
                message = self._message(graph, h, group, sweep)
                if message is not None:
                    joint = jnp.concatenate([h[group], message], axis=-1)
                    update = MLP((self.width, self.width), name=f"update_{sweep}_{group}")
                    h[group] = h[group] + update(nn.LayerNorm(name=f"norm_{sweep}_{group}")(joint))
        return self._read_out(h)

    def _initial(self, group: str, biases: jax.Array | None) -> jax.Array:
        """Biases and a learned code; pixels have one each, hidden neurons share one: [V, width]."""
        num = self.spec.groups[group]
        rows = num if group in self.spec.fixed else 1
        code = self.param(f"code_{group}", nn.initializers.normal(1.0), (rows, self.width))
        if biases is None:
            return jnp.broadcast_to(code, (num, self.width))
        return code + nn.Dense(self.width, name=f"bias_{group}")(biases)

    def _message(self, graph: NeuralGraph, h, group: str, sweep: int) -> jax.Array | None:
        """Sum over the edges into `group` (even sweeps) or out of it (odd sweeps): [V, width]."""
        messages = []
        for name, edges in graph.edges.items():
            source, target = name.split(">")
            if sweep % 2 == 1:
                source, target, edges = target, source, jnp.swapaxes(edges, 0, 1)
            if target != group:
                continue
            num, _, features = edges.shape
            probe = nn.Dense(features * self.width, use_bias=False, name=f"probe_{sweep}_{name}")
            values = probe(h[source]).reshape(num, features, self.width)
            messages.append(jnp.einsum("ste,sew->tw", edges, values) / jnp.sqrt(num))
        return jnp.sum(jnp.stack(messages), axis=0) if messages else None

    def _read_out(self, h) -> jax.Array:
        """Pixels side by side, hidden neurons averaged: [readout]."""
        parts = []
        for group, x in h.items():
            x = nn.LayerNorm(name=f"read_norm_{group}")(x)
            if group in self.spec.fixed:
                x = jnp.ravel(nn.Dense(CODE, name=f"read_code_{group}")(x))
            else:
                x = jnp.mean(nn.gelu(nn.Dense(self.width, name=f"read_code_{group}")(x)), axis=0)
            parts.append(nn.Dense(self.readout, name=f"read_{group}")(x))
        return nn.LayerNorm(name="read_norm")(sum(parts))


class GraphEncoder(nn.Module):
    """`MessagePassing` on a neural graph and an MLP on what it reads out."""

    spec: Spec
    num_outputs: int
    width: int = 32
    rounds: int = 1
    readout: int = 256

    @nn.compact
    def __call__(self, graph: NeuralGraph) -> jax.Array:
        features = MessagePassing(self.spec, self.width, self.rounds, self.readout)(graph)
        logits = MLP((self.readout, self.num_outputs))(nn.gelu(features))
        return to_sphere(nn.softmax(logits))


ENCODERS = {"mlp": MLPEncoder, "graph": GraphEncoder}
