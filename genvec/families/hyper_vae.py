"""Hypernetwork: from a vector of class proportions to all parameters of a VAE."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from genvec import trees
from genvec.arguments import check_number, check_whole, check_widths, is_whole
from genvec.families.vae import vae
from genvec.networks import MLP, mlp_axes
from genvec.types import Family, Params, Player, Spec

SPREAD = 0.1  # of the written parameters over d at the start, in units of a VAE's own init
TRUNCATED_STD = 0.87962566  # standard deviation of a standard normal that is cut off at ±2


def hyper_vae(
    image_shape: Sequence[int],
    *,
    num_classes: int = 0,
    hidden: Sequence[int] = (32,),
    latent: int = 4,
    hyper_hidden: Sequence[int] = (16,),
    alpha: float = 0.5,
    num_targets: int = 4,
) -> Family:
    """A network that writes VAEs: proportions d [K] → the parameters of a Bernoulli `vae`.

    The way back from our encoders. Only the hypernetwork's parameters are trained, by the −ELBO of
    the members that it writes, each on the mixture that it was written for: every step draws
    `num_targets` mixtures from Dirichlet(alpha) and reweighs the batch to each of them. A class of
    which there is no image in the batch is taken out of the drawn mixture.

    State: the running mean of the label frequencies, which is the member's own mixture, and the
    number of batches it is of. `encode`, `sample` and `evaluate` are those of the VAE written for
    that mixture; `write_member` writes for any other.

    Args:
      image_shape: (H, W, C).
      num_classes: K, of the zoo's mixtures; it has to be given.
      hidden: of the VAE.
      latent: of the VAE.
      hyper_hidden: widths of the hypernetwork's hidden layers, ReLU between.
      alpha: a multiple of 1/2, where normalised sums of squared normals are exact Dirichlet draws.
      num_targets: mixtures a step.

    Raises:
      ValueError: no `num_classes`, or fewer than 2; an `alpha` that is no multiple of 1/2.

    Reference: Ha et al. 2016, arXiv 1609.09106; conditioned on the task, and without chunks, as in
    von Oswald et al. 2020, arXiv 1906.00695, section 2.
    """
    if not is_whole(num_classes) or num_classes < 2:
        raise ValueError(
            f"hyper_vae: num_classes is {num_classes}; give the number of classes of the zoo's "
            "mixtures (config.classes.num), at least 2"
        )
    check_number(alpha=alpha)
    check_widths(hyper_hidden=hyper_hidden)
    check_whole(num_targets=num_targets)
    if alpha <= 0 or 2 * alpha != int(2 * alpha):
        raise ValueError(f"hyper_vae: alpha is {alpha}; it must be a positive multiple of 1/2")
    target = vae(image_shape, hidden=hidden, latent=latent)
    shapes = _shapes(target)
    sizes = (num_classes, *hyper_hidden, sum(int(np.prod(shape)) for shape in shapes.values()))
    target_hparams = {name: np.float32(value) for name, value in target.hparams.items()}

    def init(key):
        layers, written = _starts(key, sizes, shapes)
        # row 0 is where all members start, the others are how far each hidden neuron moves them
        output = {"kernel": SPREAD * written[1:], "bias": written[0]}
        params = {**layers, f"dense_{len(hyper_hidden)}": output}
        state = {"proportions": jnp.full(num_classes, 1 / num_classes), "batches": jnp.zeros(())}
        return {"hypernetwork": params}, state

    def write(params, d):
        return _write(params, d, sizes, shapes)

    def loss_fn(params, state, key, batch, hparams):
        d_key, *keys = jax.random.split(key, num_targets + 1)
        targets = draw_proportions(d_key, num_targets, num_classes, alpha)
        frequencies = jnp.mean(jax.nn.one_hot(batch.label, num_classes), axis=0)

        def target_loss(d, key):
            d, weight = reweigh(d, batch.label)
            elbo = target.evaluate(write(params, d), {}, key, batch.x, target_hparams)["elbo"]
            return -jnp.dot(weight, elbo)

        batches = state["batches"] + 1
        change = (frequencies - state["proportions"]) / batches
        state = {"proportions": state["proportions"] + change, "batches": batches}
        return jnp.mean(jax.vmap(target_loss)(targets, jnp.stack(keys))), state

    def encode(params, state, x):
        return target.encode(write(params, state["proportions"]), {}, x)

    def sample(params, state, key, num):
        return target.sample(write(params, state["proportions"]), {}, key, num)

    def evaluate(params, state, key, x, hparams):
        return target.evaluate(write(params, state["proportions"]), {}, key, x, target_hparams)

    return Family(
        name="hyper_vae",
        architecture={
            "image_shape": tuple(image_shape),
            "num_classes": num_classes,
            "hidden": tuple(hidden),
            "latent": latent,
            "hyper_hidden": tuple(hyper_hidden),
            "alpha": alpha,
            "num_targets": num_targets,
        },
        spec=_spec(sizes),
        hparams={"learning_rate": 5e-3},
        init=init,
        players=(Player("hyper_vae", ("hypernetwork",), loss_fn, optax.scale_by_adam()),),
        encode=encode,
        sample=sample,
        evaluate=evaluate,
    )


def draw_proportions(key: jax.Array, num: int, num_classes: int, alpha: float) -> jax.Array:
    """[num, K] from Dirichlet(alpha); 2·alpha is whole.

    A sum of 2·alpha squared normals is twice a Gamma(alpha) draw; normalised, they are Dirichlet.
    `jax.random.dirichlet` takes any alpha, and more than twice as long to compile.
    """
    normals = jax.random.normal(key, (num, num_classes, int(2 * alpha)))
    gammas = jnp.sum(jnp.square(normals), axis=-1)
    return gammas / jnp.sum(gammas, axis=-1, keepdims=True)


def reweigh(d: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Weights that turn the mean over a batch into the mean under other class proportions.

    Args:
      d: [K] proportions.
      label: [B] int, the classes of the batch's images.

    Returns:
      d [K] on the simplex, without the classes that the batch has no image of; and weights [B] that
      sum to 1: each class's share of d, divided equally among its images.
    """
    classes = jax.nn.one_hot(label, d.shape[0])
    counts = jnp.sum(classes, axis=0)
    d = jnp.where(counts > 0, jnp.maximum(d, 1e-12), 0.0)  # a draw may be 0, the sum may not
    d = d / jnp.sum(d)
    return d, classes @ (d / jnp.maximum(counts, 1.0))


def written_family(family: Family) -> Family:
    """The `vae` whose parameters `family`, a `hyper_vae`, writes."""
    own = family.architecture
    return vae(own["image_shape"], hidden=own["hidden"], latent=own["latent"])


def write_member(family: Family, params: Params, d: jax.Array) -> Params:
    """The parameters of the VAE for a mixture, to be used with `written_family(family)`.

    Args:
      family: a `hyper_vae`.
      params: of one trained member of it.
      d: [K] proportions.

    Raises:
      AssertionError: proportions of another number of classes.
    """
    return _write(params, d, list(family.spec.groups.values()), _shapes(written_family(family)))


def _shapes(target: Family) -> dict[str, tuple[int, ...]]:
    params, _ = jax.eval_shape(lambda: target.init(jax.random.key(0)))
    return {name: leaf.shape for name, leaf in trees.flatten_names(params).items()}


def _mlp(sizes: Sequence[int]) -> MLP:
    return MLP(tuple(sizes[1:]))


def _write(params: Params, d: jax.Array, sizes: Sequence[int], shapes) -> Params:
    chex.assert_shape(d, (sizes[0],))
    vector: Any = _mlp(sizes).apply({"params": params["hypernetwork"]}, d)
    return trees.unravel(vector, shapes)


def _starts(key: jax.Array, sizes: Sequence[int], shapes: Mapping[str, Sequence[int]]):
    """The hidden layers, and as many VAEs [1 + hidden neurons, P] as there are directions to go.

    Kernels are LeCun normal and biases zero, as in every `MLP`; all are drawn in one block, because
    each call of a generator takes about a second to compile.
    """
    hidden = {
        f"dense_{layer}/{name}": shape
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes[:-1]))
        for name, shape in (("kernel", (fan_in, fan_out)), ("bias", (fan_out,)))
    }
    scales = [_scales(hidden), np.tile(_scales(shapes), sizes[-2] + 1)]
    scale = np.concatenate(scales) / TRUNCATED_STD
    draws = scale * jax.random.truncated_normal(key, -2.0, 2.0, scale.shape)
    first, written = jnp.split(draws, [len(scales[0])])
    return trees.unravel(first, hidden) if hidden else {}, written.reshape(-1, sizes[-1])


def _scales(shapes: Mapping[str, Sequence[int]]) -> np.ndarray:
    """[P] in the order of `trees.ravel`: what makes kernels LeCun normal, and 0 for biases."""
    parts = [
        np.full(np.prod(shape, dtype=int), 1 / np.sqrt(shape[0]) if shape[1:] else 0.0)
        for _, shape in sorted(shapes.items())
    ]
    return np.concatenate([np.zeros(0), *parts]).astype(np.float32)


def _spec(sizes: Sequence[int]) -> Spec:
    hidden = [f"hyper_{i}" for i in range(len(sizes) - 2)]
    groups = ["d", *hidden, "w"]
    return Spec(
        groups=dict(zip(groups, sizes, strict=True)),
        fixed=("d", "w"),
        axes=mlp_axes("hypernetwork", groups),
        scaled=tuple(hidden),
    )
