"""Representations: one member's parameters → a vector, tokens, or a neural graph."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genvec import trees
from genvec.registry import lookup
from genvec.symmetry import align, edge_name, neuron_rows, touching
from genvec.types import Array, NeuralGraph, Params, Spec, State

Features = Any  # [F], tokens [T, F], a NeuralGraph or a member; with leading N once stacked


class Context(NamedTuple):
    """What a representation may use besides the member itself; what may be None, where it needs."""

    spec: Spec
    encode: Callable[[Params, State, jax.Array], jax.Array]  # the family's
    images: jax.Array  # [M', H, W, C] in [0, 1], held-out
    sample: Callable[..., jax.Array] | None = None  # the family's
    describe: Callable[[jax.Array], jax.Array] | None = None  # images [B, H, W, C] → [B, F]
    reference: Params | None = None  # of the member that others are aligned to
    decode: Callable[[Params, State, jax.Array], jax.Array] | None = None  # the family's


def flat(params: Params, state: State, context: Context) -> jax.Array:
    """All parameters as one vector [P]."""
    del state, context
    return trees.ravel(params)


def statistics(params: Params, state: State, context: Context) -> jax.Array:
    """Mean, variance and quantiles 0/25/50/75/100 of every parameter array: [7 · arrays].

    Reference: Unterthiner et al. 2020, arXiv 2002.11448, section 4.
    """
    del state, context
    quantiles = jnp.array([0.0, 0.25, 0.5, 0.75, 1.0])
    rows = []
    for leaf in trees.flatten_names(params).values():
        rows += [jnp.mean(leaf)[None], jnp.var(leaf)[None], jnp.quantile(leaf, quantiles)]
    return jnp.concatenate(rows)


def moments(params: Params, state: State, context: Context, *, order: int = 4) -> jax.Array:
    """Moments over the neurons that may be permuted, kept for each one that may not (pixels).

    For every parameter array, mean(w), mean(w²)^½, mean(w³)^⅓, … over the axes of free groups: a
    vector that no permutation of hidden neurons changes. [order · Σ of the fixed axes' sizes].
    """
    del state
    rows = []
    for name, leaf in trees.flatten_names(params).items():
        axes = context.spec.axes[name]
        free = tuple(i for i, group in enumerate(axes) if group not in (*context.spec.fixed, None))
        powers = (jnp.mean(leaf**k, axis=free) for k in range(1, (order if free else 1) + 1))
        rows += [jnp.ravel(_signed_root(m, k)) for k, m in enumerate(powers, start=1)]
    return jnp.concatenate(rows)


def _signed_root(x: jax.Array, k: int) -> jax.Array:
    return jnp.sign(x) * jnp.abs(x) ** (1.0 / k)


def latent_mean(params: Params, state: State, context: Context) -> jax.Array:
    """Mean latent code over held-out images [Z]: the way of the first experiment."""
    return jnp.mean(context.encode(params, state, context.images), axis=0)


def reconstruction(params: Params, state: State, context: Context, *, num: int = 2048) -> jax.Array:
    """Logarithm of the mean squared error at each of `num` held-out images: [min(num, M')].

    A member gives back best what it has seen most of. The images are spread evenly over M'. Our
    own; raises ValueError for a family without a decoder.
    """
    if context.decode is None:
        raise ValueError(
            "the representation 'reconstruction' needs a family that gives images back"
        )
    total = len(context.images)
    x = context.images[np.arange(min(num, total)) * total // min(num, total)]
    error = jnp.square(x - context.decode(params, state, context.encode(params, state, x)))
    mean = jnp.mean(error.reshape(len(x), -1), axis=1)
    return jnp.log(jnp.maximum(mean, jnp.finfo(mean.dtype).tiny))  # an image may come back exactly


def generated(params: Params, state: State, context: Context, *, num: int = 256) -> jax.Array:
    """Features of images that the member generates, a set: [num, F].

    Every member draws by the same key, so that what differs is the member.
    """
    if context.sample is None or context.describe is None:
        raise ValueError("features of generated images need a sampler and features of images")
    return context.describe(context.sample(params, state, jax.random.key(0), num))


def samples(params: Params, state: State, context: Context, *, num: int = 512) -> jax.Array:
    """Mean and standard deviation of the features of generated images: [2 · F].

    Reference: Lu et al. 2022, arXiv 2210.03116, section 3 (models found by the moments of their
    samples' features).
    """
    return _mean_and_deviation(generated(params, state, context, num=num))


def pixels(params: Params, state: State, context: Context, *, num: int = 512) -> jax.Array:
    """Mean and standard deviation of the pixels of generated images: [2 · H · W · C].

    The mean image of a mixture is the mixture of the classes' mean images, whatever the network.
    Our own; raises ValueError for a family without a sampler.
    """
    if context.sample is None:
        raise ValueError("the representation 'pixels' needs a sampler")
    x = context.sample(params, state, jax.random.key(0), num)
    return _mean_and_deviation(x.reshape(num, -1))


def _mean_and_deviation(x: jax.Array) -> jax.Array:
    return jnp.concatenate([jnp.mean(x, axis=0), jnp.std(x, axis=0)])


def aligned(params: Params, state: State, context: Context) -> jax.Array:
    """All parameters as one vector [P], neurons in the order of the reference member's.

    Reference: Ainsworth et al. 2022, arXiv 2209.04836; see `genvec.symmetry.align`.
    """
    del state
    return trees.ravel(_aligned(params, context))


def tokens(params: Params, state: State, context: Context) -> jax.Array:
    """A token for each free neuron: its bias, the weights into it and out of it, aligned: [T, F].

    Tokens come group by group, in forward order and in the reference's order within a group; the
    shorter ones end in zeros.
    Reference: Schürholt et al. 2024, arXiv 2406.09997, section 3 (tokens of aligned models; theirs
    are slices of rows of one layer).
    """
    del state
    flat = trees.flatten_names(_aligned(params, context))
    rows = []
    for group in context.spec.groups:
        if group not in context.spec.fixed:
            into, out = touching(context.spec, group)
            parts = [neuron_rows(flat[name], axis) for name, axis in (*into, *out)]
            rows.append(jnp.concatenate(parts, axis=1))
    longest = max(part.shape[1] for part in rows)
    return jnp.concatenate([jnp.pad(x, ((0, 0), (0, longest - x.shape[1]))) for x in rows])


def _aligned(params: Params, context: Context) -> Params:
    if context.reference is None:
        raise ValueError("aligned parameters need a reference member")
    return align(params, context.reference, context.spec)


def member(params: Params, state: State, context: Context) -> dict[str, Any]:
    """Parameters and state as they are, for an encoder that runs the member."""
    del context
    return {"params": params, **({"state": state} if state else {})}


def graph(params: Params, state: State, context: Context) -> NeuralGraph:
    """The member as a neural graph with the topology of its spec.

    Parameters that join the same two groups become features of the same edges (a VAE's mean and
    log-variance heads); axes without a group (a convolution's window) become edge features too. A
    scalar (the noise of a `ppca`) belongs to no neuron and is left out.

    Reference: Kofinas et al. 2024, arXiv 2403.12143, section 3.
    """
    del state
    nodes: dict[str, list[jax.Array]] = {}
    edges: dict[str, list[jax.Array]] = {}
    params = trees.flatten_names(params)
    for name, axes in context.spec.axes.items():
        groups = [group for group in axes if group is not None]
        if not groups:
            continue
        window = [i for i, group in enumerate(axes) if group is None]
        leaf = (
            jnp.moveaxis(params[name], window, range(-len(window), 0)) if window else params[name]
        )
        leaf = leaf.reshape(*(context.spec.groups[group] for group in groups), -1)
        if len(groups) == 1:
            nodes.setdefault(groups[0], []).append(leaf)
        else:
            edges.setdefault(edge_name(*groups), []).append(leaf)
    joined = [{name: jnp.concatenate(x, -1) for name, x in part.items()} for part in (nodes, edges)]
    return NeuralGraph(*joined)


REPRESENTATIONS = {
    "flat": flat,
    "statistics": statistics,
    "moments": moments,
    "aligned": aligned,
    "tokens": tokens,
    "graph": graph,
    "latent_mean": latent_mean,
    "reconstruction": reconstruction,
    "generated": generated,
    "samples": samples,
    "pixels": pixels,
    "member": member,
}
# what has to run the member: not of the weights alone
RUNNING = ("latent_mean", "reconstruction", "generated", "samples", "pixels", "member")


def represent(
    name: str, params: Params, state: State, context: Context, *, width: int = 0
) -> Features:
    """Features of N members as numpy arrays with leading N.

    Args:
      width: members at a time; 0 for 256, or for 16 where the members are run.
    """
    member_fn = lookup(REPRESENTATIONS, name, kind="representation")
    width = width or (16 if name in RUNNING else 256)
    batch_fn = jax.jit(jax.vmap(lambda p, s: member_fn(p, s, context)))
    num = len(jax.tree.leaves(params)[0])

    def chunks() -> Iterator[Features]:
        for start in range(0, num, width):
            # the last chunk reaches back, so that every call has one shape and compiles once
            begin = max(0, min(start, num - width))
            rows = slice(begin, begin + width)
            chunk = batch_fn(trees.take(params, rows), trees.take(state, rows))
            yield trees.take(jax.device_get(chunk), slice(start - begin, None))

    return trees.gather(chunks(), num)


class Normaliser(NamedTuple):
    """Features → (features − shift) / scale; both broadcast against one member's features."""

    shift: Features
    scale: Features

    def __call__(self, features: Features) -> Features:
        return jax.tree.map(lambda x, m, s: (x - m) / s, features, self.shift, self.scale)


def fit_normaliser(features: Features, spec: Spec) -> Normaliser:
    """Fitted on the features of the train split, leading N.

    A vector is standardised entry by entry, tokens likewise; a whole member stays as it is. In a
    graph only the biases of fixed groups are standardised; all else is divided by one root mean
    square for each feature of a group or of the edges between two groups, so that normalising
    commutes with permuting, rescaling and mirroring free neurons.

    Raises:
      NotFiniteError: features are not finite; names the rows. They would leave no other's alone.
    """
    trees.check_finite("features", features)
    if isinstance(features, Mapping):
        zeros = jax.tree.map(lambda _: np.zeros((), np.float32), dict(features))
        return Normaliser(zeros, jax.tree.map(np.ones_like, zeros))
    if not isinstance(features, NeuralGraph):
        return Normaliser(*_moments_over(features))
    nodes: dict[str, Any] = {
        group: _moments_over(x) if group in spec.fixed else _scale_over(x)
        for group, x in features.nodes.items()
    }
    edges: dict[str, Any] = {name: _scale_over(x) for name, x in features.edges.items()}
    shift, scale = (
        NeuralGraph({k: v[i] for k, v in nodes.items()}, {k: v[i] for k, v in edges.items()})
        for i in range(2)
    )
    return Normaliser(shift, scale)


def _moments_over(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each entry over the members [N, ..]."""
    mean, std = trees.mean_and_std(x)
    std = np.where(std > 1e-6, std, 1.0)  # a constant feature stays constant instead of exploding
    return np.asarray(mean, np.float32), np.asarray(std, np.float32)


def _scale_over(x: Array) -> tuple[np.ndarray, np.ndarray]:
    """Zero and the root mean square of each feature, over all axes but the last."""
    rows = (np.square(row, dtype=np.float64).reshape(-1, x.shape[-1]).mean(axis=0) for row in x)
    rms = np.sqrt(sum(rows) / len(x))
    rms = np.asarray(np.where(rms > 1e-6, rms, 1.0), np.float32)
    return np.zeros_like(rms), rms


def normaliser_to_tree(normaliser: Normaliser) -> dict[str, Any]:
    """Nested dicts of arrays, to be saved beside an encoder's parameters."""
    if not isinstance(normaliser.shift, NeuralGraph):
        return {"vector": normaliser._asdict()}
    return {"graph": {name: graph._asdict() for name, graph in normaliser._asdict().items()}}


def normaliser_from_tree(tree: dict[str, Any]) -> Normaliser:
    """The inverse of `normaliser_to_tree`."""
    if "vector" in tree:
        return Normaliser(**tree["vector"])
    return Normaliser(**{name: NeuralGraph(**graph) for name, graph in tree["graph"].items()})
