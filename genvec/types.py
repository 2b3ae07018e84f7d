"""The words of the project as types. Every module speaks in these.

Axis legend, used in every docstring:
  N members · K classes · B batch · P parameters of one member · V nodes, E edge features of a
  graph · D embedding · T steps · M images of a data set · images [.., H, W, C] in [0, 1], and
  uint8 0..255 at rest.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

if TYPE_CHECKING:  # annotations only: this module imports nothing but jax and numpy when it runs
    import optax
    import pandas as pd

Array = jax.Array | np.ndarray
Params = Mapping[str, Any]  # nested dicts of arrays, addressed by name: "decoder/dense_0/kernel"
State = Mapping[str, Any]  # what a member keeps besides parameters, such as batch statistics
HParams = Mapping[str, jax.Array]  # name → scalar for one member, [N] for a cell
Metrics = dict[str, jax.Array]


class NotFiniteError(FloatingPointError, ValueError):
    """Numbers that are NaN or infinite, given or arrived at; the message names whose they are."""


class Batch(NamedTuple):
    """Images drawn for one update of one member."""

    x: jax.Array  # [B, H, W, C] in [0, 1]
    label: jax.Array  # [B] int, index into the K classes of the zoo


class Dataset(NamedTuple):
    """Labelled images at rest; the held-out part never reaches a member."""

    name: str
    class_names: tuple[str, ...]
    images: np.ndarray  # uint8 [M, H, W, C], the train part
    labels: np.ndarray  # int32 [M], index into class_names
    heldout_images: np.ndarray  # uint8 [M', H, W, C]
    heldout_labels: np.ndarray  # int32 [M']


class Spec(NamedTuple):
    """Symmetry of an architecture as data: which groups of neurons its parameters join.

    Neurons of a group may be permuted together in every axis that carries the group's name and the
    function stays the same, except in `fixed` groups, whose order means something (pixels). A
    parameter's last axis is its output, so a bias belongs to the input of its neurons' activation.
    Reference: Ainsworth et al. 2022, arXiv 2209.04836, section 3 (the spec is their equations).
    """

    groups: Mapping[str, int]  # group → number of neurons, in forward order
    fixed: tuple[str, ...]  # groups that must not be permuted
    axes: Mapping[str, tuple[str | None, ...]]  # parameter name → group of each axis, forward order
    scaled: tuple[str, ...] = ()  # groups behind a ReLU: a neuron's input · a, its output / a
    mirrored: Mapping[
        str, tuple[str, ...]
    ] = {}  # group → parameters whose sign flips with a neuron


class NeuralGraph(NamedTuple):
    """One member as a graph with static topology: neurons are nodes, weights are edges.

    Reference: Kofinas et al. 2024, arXiv 2403.12143, section 3.
    """

    nodes: Mapping[
        str, jax.Array
    ]  # group → [V, F], biases as features; absent where there are none
    edges: Mapping[str, Array]  # "source>target" → [V_source, V_target, E]


class Player(NamedTuple):
    """One group of parameters with its own loss and optimiser; a VAE has one, a GAN two."""

    name: str
    owns: tuple[str, ...]  # top-level keys of the parameters that this player updates
    # (params, state, key, batch, hparams) → (scalar loss, new state); params are everybody's
    loss_fn: Callable[[Params, State, jax.Array, Batch, HParams], tuple[jax.Array, State]]
    tx: "optax.GradientTransformation"  # direction of the step; its length is the learning rate
    learning_rate: str = "learning_rate"  # the hyper-parameter that holds it
    num_updates: int = 1  # updates a step (n_critic), each on its own batch
    project_fn: Callable[[Params], Params] | None = (
        None  # after each update, such as weight clipping
    )


class Family(NamedTuple):
    """A kind of generative model. All functions are of ONE member."""

    name: str
    architecture: Mapping[str, Any]  # plain values that rebuild it: FAMILIES[name](**architecture)
    spec: Spec
    hparams: Mapping[str, float]  # per-member hyper-parameters and their defaults
    init: Callable[[jax.Array], tuple[Params, State]]  # key → params, state
    players: tuple[Player, ...]  # in update order
    encode: Callable[[Params, State, jax.Array], jax.Array]  # x [B, H, W, C] → code [B, Z]
    sample: Callable[..., jax.Array]  # (params, state, key, num) → images [num, H, W, C] in [0, 1]
    evaluate: Callable[..., Metrics]  # (params, state, key, x [B, ..], hparams) → {name: [B]}
    # what turns codes [B, Z] back into images [B, H, W, C] in [0, 1], where something does
    decode: Callable[[Params, State, jax.Array], jax.Array] | None = None


class Split(NamedTuple):
    """Member indices by role, each int [n]; a triplet's third member is in no other place."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    triplets: np.ndarray  # [R, 3] members trained on D1, D2 (both in test) and D1 + D2
    unseen: np.ndarray | tuple[()] = ()  # members of mixtures with classes that no other one has


class Zoo(NamedTuple):
    """Trained members as read from disk."""

    params: Params  # nested dict of numpy arrays with leading N
    state: State  # likewise; empty for families without
    members: "pd.DataFrame"  # N rows: member, split, mixture, hyper-parameters, metrics, finite
    manifest: Mapping[str, Any]
