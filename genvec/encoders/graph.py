"""Encoders of neural graphs: message passing through the member's own weights."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genvec.arguments import check_whole
from genvec.geometry import to_sphere
from genvec.networks import MLP
from genvec.trees import flatten_names, unflatten_names
from genvec.types import Array, NeuralGraph, Spec

CODE = 16  # numbers that a neuron of a fixed group hands to the read-out


class MessagePassing(nn.Module):
    """A neural graph → features [readout] that no permutation of its free groups changes.

    A message along the edges is Σ_e W_eᵀ (h V_e): with h a learned code of the pixels, this is how
    `width` learned probe images run through the member's own weights, so the encoder can imitate
    the member's forward pass. A message against the edges, Σ_e W_e (h V_e), can imitate its
    backward pass. A round sweeps forward through the groups and back again, and every group reads
    neighbours that the sweep has already updated: one round crosses the whole network.

    Layers are named after groups, up to a dot: "h1" and "h1.1" share theirs. Where architectures
    share a tree (`JointEncoder`), `joint` adds the number of features to the names.

    Reference: Kofinas et al. 2024, arXiv 2403.12143, section 4 (messages that multiply edge with
    node features); the probes are those of ProbeGen, arXiv 2410.10811, without running the member.
    """

    spec: Spec
    width: int = 32
    rounds: int = 1
    readout: int = 256
    joint: bool = False

    def __post_init__(self):
        check_whole(width=self.width, rounds=self.rounds, readout=self.readout)
        super().__post_init__()

    @nn.compact
    def __call__(self, graph: NeuralGraph) -> jax.Array:
        order = list(self.spec.groups)  # forward; the graph's own dicts may come sorted by name
        once = NamedModules()
        h = {group: self._initial(once, group, graph.nodes.get(group)) for group in order}
        for sweep in range(2 * self.rounds):
            for group in order if sweep % 2 == 0 else reversed(order):
                message = self._message(once, graph, h, group, sweep)
                if message is not None:
                    both = jnp.concatenate([h[group], message], axis=-1)
                    update = once(f"update_{sweep}_{_role(group)}", MLP, (self.width, self.width))
                    norm = once(f"norm_{sweep}_{_role(group)}", nn.LayerNorm)
                    h[group] = h[group] + update(norm(both))
        return self._read_out(once, h)

    def _initial(self, once, group: str, biases: jax.Array | None) -> jax.Array:
        """Biases and a learned code; pixels have one each, hidden neurons share one: [V, width]."""
        num, role = self.spec.groups[group], _role(group)
        rows = num if group in self.spec.fixed else 1
        if f"code_{role}" not in once:
            first = nn.initializers.normal(1.0)
            once[f"code_{role}"] = self.param(f"code_{role}", first, (rows, self.width))
        code = once[f"code_{role}"]
        if biases is None:
            return jnp.broadcast_to(code, (num, self.width))
        return code + once(self._named(f"bias_{role}", biases), nn.Dense, self.width)(biases)

    def _message(self, once, graph: NeuralGraph, h, group: str, sweep: int) -> jax.Array | None:
        """Sum over the edges into `group` (even sweeps) or out of it (odd sweeps): [V, width]."""
        messages = []
        for name, edges in graph.edges.items():
            source, target = name.split(">")
            features = edges.shape[2]
            own_name = self._named(f"probe_{sweep}_{_role(source)}>{_role(target)}", edges)
            if sweep % 2 == 1:
                source, target, edges = target, source, jnp.swapaxes(edges, 0, 1)
            if target != group:
                continue
            num = edges.shape[0]
            probe = once(own_name, nn.Dense, features * self.width, use_bias=False)
            values = probe(h[source]).reshape(num, features, self.width)
            messages.append(jnp.einsum("ste,sew->tw", edges, values) / jnp.sqrt(num))
        return jnp.sum(jnp.stack(messages), axis=0) if messages else None

    def _read_out(self, once, h) -> jax.Array:
        """Pixels side by side, hidden neurons averaged: [readout]."""
        parts = []
        for group, x in h.items():
            role = _role(group)
            x = once(f"read_norm_{role}", nn.LayerNorm)(x)
            if group in self.spec.fixed:
                x = jnp.ravel(once(f"read_code_{role}", nn.Dense, CODE)(x))
            else:
                x = nn.gelu(once(f"read_code_{role}", nn.Dense, self.width)(x))
                x = jnp.mean(x, axis=0)
            parts.append(once(f"read_{role}", nn.Dense, self.readout)(x))
        return nn.LayerNorm(name="read_norm")(sum(parts))

    def _named(self, name: str, features: Array) -> str:
        return f"{name}_{features.shape[-1]}" if self.joint else name


def _role(group: str) -> str:
    return group.partition(".")[0]


class NamedModules(dict):
    """Modules by name: what is asked for a second time is the first one."""

    def __call__(self, name: str, make: type[nn.Module], *args: Any, **options: Any) -> Any:
        if name not in self:
            self[name] = make(*args, **options, name=name)
        return self[name]


class GraphEncoder(nn.Module):
    """`MessagePassing` on a neural graph and an MLP on what it reads out."""

    spec: Spec
    num_outputs: int
    width: int = 32
    rounds: int = 1
    readout: int = 256
    joint: bool = False  # to be one of a `JointEncoder`

    def __post_init__(self):
        check_whole(width=self.width, rounds=self.rounds, readout=self.readout)
        super().__post_init__()

    @nn.compact
    def __call__(self, graph: NeuralGraph) -> jax.Array:
        options = (self.width, self.rounds, self.readout, self.joint)
        features = MessagePassing(self.spec, *options)(graph)
        logits = MLP((self.readout, self.num_outputs))(nn.gelu(features))
        return to_sphere(nn.softmax(logits))


class JointEncoder(NamedTuple):
    """One tree of parameters for graphs of several architectures, shared where names are equal.

    An example is a dict: architecture → graphs [C, ..] of the C members that are trained on one
    mixture; it becomes embeddings [Σ C, D], architecture by architecture.
    """

    encoders: Mapping[str, GraphEncoder]

    def init(self, key: jax.Array, graphs: Mapping[str, NeuralGraph]) -> dict[str, Any]:
        """The union of the first parameters of all encoders."""
        union: dict[str, Any] = {}
        for name, encoder in self.encoders.items():
            first = encoder.init(key, jax.tree.map(lambda x: x[0], graphs[name]))
            union = flatten_names(first) | union
        return unflatten_names(union)

    def apply(self, params: Mapping[str, Any], graphs: Mapping[str, NeuralGraph]) -> jax.Array:
        """Embeddings of one example."""
        parts: list[Any] = [
            jax.vmap(partial(encoder.apply, params))(graphs[name])
            for name, encoder in self.encoders.items()
        ]
        return jnp.concatenate(parts)
