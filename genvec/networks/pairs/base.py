"""What all pairs of a generator and a discriminator share: the interface, and the layout."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genvec.arguments import check_widths
from genvec.networks.pairs.normal import closeness
from genvec.trees import unflatten_names
from genvec.types import Params, Spec, State

FIXED = ("x", "label", "deviation", "score", "y")  # groups whose order means something
GROWN = math.inf  # progress of a network that has grown up
SLOPE = 0.2  # of a LeakyReLU
LENGTH = 3  # of a row of minibatch discrimination's matrix M


class Pair(NamedTuple):
    """A generator and a discriminator, whatever the loss. All functions are of ONE member.

    Parameters are {"generator": .., "discriminator": ..}; the state holds batch statistics and
    singular vectors under the names of their layers, and is {} where there are none. `train` is
    static. `progress` is heeded by progan alone. `label` [B, labels] is one-hot; it must be given
    where the pair was built with labels, and nowhere else.
    """

    init: Callable[[jax.Array], tuple[Params, State]]  # key → params, state
    # (params, state, z [B, Z], train, progress=GROWN, label=None) → (x [B, H, W, C], new state)
    generate: Callable[..., tuple[jax.Array, State]]
    # (params, state, x [B, H, W, C], train, progress=GROWN, label=None)
    # → (outputs [B, outputs], last hidden activations [B, F], new state)
    discriminate: Callable[..., tuple[jax.Array, jax.Array, State]]
    spec: Spec
    # (real images [B, H, W, C], progress) → as they are shown to the discriminator at that progress
    fade: Callable[..., jax.Array] = lambda x, progress=GROWN: x


class Leaf(NamedTuple):
    """A parameter array: what its axes are, and the normal distribution that it is drawn from."""

    axes: tuple[str | None, ...]
    shape: tuple[int, ...]
    mean: float
    std: float


class Layout:
    """The arrays of a pair, each written down once; spec and first values follow from it.

    Args:
      down: hidden groups of the discriminator and their sizes, forward; the last one is judged.
      up: hidden groups of the generator.
      size: of x and y: pixels, or channels.
    """

    def __init__(
        self,
        down: Mapping[str, int],
        up: Mapping[str, int],
        *,
        size: int,
        latent: int,
        outputs: int,
        labels: int,
        minibatch: int,
    ):
        optional = {"label": labels, "minibatch": minibatch}
        forward = {"x": size, "label": labels, **down, "minibatch": minibatch, "score": outputs}
        groups = {**forward, "z": latent, **up, "y": size}
        self.groups = {group: n for group, n in groups.items() if optional.get(group, 1)}
        self.leaves: dict[str, Leaf] = {}
        self.state: dict[str, np.ndarray] = {}
        self.mirrored: dict[str, tuple[str, ...]] = {}

    def kernel(self, layer: str, source: str, target: str, window: Sequence[int] = ()) -> None:
        """[*window, source, target], drawn from N(0, 1 / fan-in)."""
        shape = (*window, self.groups[source], self.groups[target])
        axes = (*[None] * len(window), source, target)
        std = 1 / math.sqrt(math.prod(shape[:-1]))
        self.leaves[f"{layer}/kernel"] = Leaf(axes, shape, 0.0, std)

    def vector(self, name: str, group: str, value: float = 0.0) -> None:
        """[group], such as a bias."""
        self.leaves[name] = Leaf((group,), (self.groups[group],), value, 0.0)

    def layer(self, name: str, source: str, target: str, window: Sequence[int] = ()) -> None:
        """A kernel and a bias."""
        self.kernel(name, source, target, window)
        self.vector(f"{name}/bias", target)

    def batch_norm(self, name: str, group: str) -> None:
        """See `normal.batch_norm`."""
        self.vector(f"{name}/scale", group, 1.0)
        self.vector(f"{name}/bias", group)
        self.state[f"{name}/mean"] = np.zeros(self.groups[group], np.float32)
        self.state[f"{name}/var"] = np.ones(self.groups[group], np.float32)

    def spectral_norm(self, layer: str) -> None:
        """See `normal.spectral_norm`; the power iteration starts alike from every output."""
        size = self.leaves[f"{layer}/kernel"].shape[-1]
        self.state[f"{layer}/u"] = np.full(size, 1 / math.sqrt(size), np.float32)

    def attention(self, name: str, group: str) -> None:
        """The parameters of `SelfAttention` on maps of `group`; its channels are groups too."""
        channels = self.groups[group]
        key, value = f"{group}_key", f"{group}_value"
        sizes = {key: max(channels // 8, 1), value: max(channels // 2, 1)}
        order = list(self.groups.items())  # the new groups follow their own
        place = [name for name, _ in order].index(group) + 1
        self.groups = dict([*order[:place], *sizes.items(), *order[place:]])
        ends = {"f": (group, key), "g": (group, key), "h": (group, value), "v": (value, group)}
        for part, axes in ends.items():
            shape = (self.groups[axes[0]], self.groups[axes[1]])
            self.leaves[f"{name}/{part}"] = Leaf(axes, shape, 0.0, 1 / math.sqrt(shape[0]))
        self.leaves[f"{name}/gamma"] = Leaf((), (), 0.0, 0.0)
        self.mirrored |= {key: (f"{name}/f", f"{name}/g"), value: (f"{name}/h", f"{name}/v")}

    def labels(self, layer: str, target: str) -> None:
        """Adds labels to what enters the neurons of `target`, if the pair has any."""
        if "label" in self.groups:
            self.kernel(layer, "label", target)

    def head(self, last: str, window: Sequence[int] = ()) -> None:
        """From the last hidden neurons (maps of the size `window`) to the score; see `judge`."""
        self.layer("discriminator/score", last, "score", window)
        if "minibatch" in self.groups:
            shape = (*window, self.groups[last], self.groups["minibatch"], LENGTH)
            axes = (*[None] * len(window), last, "minibatch", None)
            std = 1 / math.sqrt(math.prod(shape[:-2]))
            self.leaves["discriminator/minibatch/kernel"] = Leaf(axes, shape, 0.0, std)
            self.kernel("discriminator/score_minibatch", "minibatch", "score")

    def spec(self, scaled: Sequence[str], first: str) -> Spec:
        """The spec; `first` is the parameter that reads z."""
        return Spec(
            groups=self.groups,
            fixed=tuple(group for group in FIXED if group in self.groups),
            axes={name: leaf.axes for name, leaf in self.leaves.items()},
            scaled=tuple(scaled),
            mirrored={"z": (first,), **self.mirrored},
        )

    def init(self, key: jax.Array) -> tuple[Params, State]:
        """First parameters, all from one draw, as every draw costs a second of compilation."""
        drawn = {name: leaf for name, leaf in self.leaves.items() if leaf.std > 0}
        sizes = [math.prod(leaf.shape) for leaf in drawn.values()]
        parts = jnp.split(jax.random.normal(key, (sum(sizes),)), np.cumsum(sizes)[:-1])
        normal = dict(zip(drawn, parts, strict=True))
        params = {
            name: leaf.std * normal[name].reshape(leaf.shape)
            if name in drawn
            else jnp.full(leaf.shape, leaf.mean, jnp.float32)
            for name, leaf in self.leaves.items()
        }
        state = {name: jnp.asarray(value) for name, value in self.state.items()}
        return unflatten_names(params), unflatten_names(state)


def spread(z: jax.Array, kernel: jax.Array) -> jax.Array:
    """The generator's first layer, z [B, Z] and kernel [h, w, Z, C] → maps [C, h, w, B]."""
    height, width, latent, channels = kernel.shape
    matrix = kernel.transpose(3, 0, 1, 2).reshape(-1, latent)
    return (matrix @ z.T).reshape(channels, height, width, -1)


def judge(params: Params, features: jax.Array) -> jax.Array:
    """The discriminator's last layer: features [B, F] → [B, outputs]; see `Layout.head`."""
    kernel = params["score"]["kernel"]
    outputs = features @ kernel.reshape(-1, kernel.shape[-1]) + params["score"]["bias"]
    if "minibatch" in params:
        near = closeness(features, params["minibatch"]["kernel"])
        outputs += near @ params["score_minibatch"]["kernel"]
    return outputs


def add_label(h: jax.Array, params: Params, layer: str, label: jax.Array | None) -> jax.Array:
    """h [V, .., B] and what the label [B, labels] adds to each of its neurons.

    For dense layers that is the same as a label beside the input; for convolutions, as constant
    maps beside the input, read by one tap of the window.

    Reference: Mirza & Osindero 2014, arXiv 1411.1784, section 3.2.

    Raises:
      ValueError: a label is missing, or the pair was built without labels.
    """
    if (label is None) == (layer in params):
        raise ValueError("label is needed where a pair was built with labels > 0, and only there")
    if label is None:
        return h
    added = (label @ params[layer]["kernel"]).T
    return h + added.reshape(added.shape[0], *[1] * (h.ndim - 2), -1)


def updated(state: State, scope: str, stats: State) -> State:
    """The state with new statistics of a network, if it has any."""
    return {**state, scope: stats} if stats else state


def check_size(image_shape: Sequence[int], hidden: Sequence[int], halvings: int) -> None:
    """Refuses images that cannot be halved once for each layer (`halvings` times).

    Raises:
      ValueError: which sizes and layers would do, or that there is no hidden layer.
    """
    check_widths(hidden=hidden)
    if not hidden:
        raise ValueError("a pair needs hidden layers, such as hidden=(16, 32)")
    height, width, _ = image_shape
    if height % 2**halvings or width % 2**halvings:
        most = 0
        while height % 2 ** (most + 1) == 0 and width % 2 ** (most + 1) == 0:
            most += 1
        layers = most + len(hidden) - halvings
        fewer = f"at most {layers} layers, or " if layers else ""
        raise ValueError(
            f"images of {height}×{width} cannot be halved {halvings} times, as the {len(hidden)} "
            f'layers of hidden={tuple(hidden)} need; take {fewer}network="mlp"'
        )
