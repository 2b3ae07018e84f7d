"""Fitting an `inr` to each of many given images, where a zoo would draw them from mixtures."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from genvec import trees
from genvec.types import Array, Batch, Family, Params, State


class Fitted(NamedTuple):
    """Members that were fitted to given images, as numpy arrays with leading axis n."""

    params: Params
    state: State
    psnr: Array  # [n] dB


def fit_images(
    key: jax.Array,
    images: Array,
    family: Family,
    *,
    steps: int,
    width: int,
    on_chunk: Callable[[int], None] | None = None,
) -> Fitted:
    """Fits a member to each of n images, `width` at a time on each device of this process.

    Member i starts from `fold_in(key, i)` and is what a zoo of as many steps makes of image i. A
    chunk ends when all its members have reached their goal, or after `steps`.

    Args:
      key: of all members.
      images: [n, H, W, C], uint8, or floats in [0, 1].
      family: an `inr`; its default learning rate is used, and falls linearly to zero.
      steps: at most so many.
      width: members on a device at once.
      on_chunk: called with the number of members that were finished.

    Raises:
      ValueError: images of another shape, or none, or some that are not finite; names them.
    """
    if len(images) == 0 or images.shape[1:] != tuple(family.architecture["image_shape"]):
        shape = family.architecture["image_shape"]
        raise ValueError(f"images have shape {images.shape}; the family wants [n, *{shape}]")
    trees.check_finite("images", images, unit="image")
    devices = jax.local_devices()
    chunk_fn, size, parts = _fitter(family, steps, devices), width * len(devices), []
    for first in range(0, len(images), size):
        num = min(size, len(images) - first)
        index = first + np.minimum(np.arange(size), num - 1)  # the last one fills up the chunk
        fitted = jax.device_get(chunk_fn(index, images[index], key))
        parts.append(trees.take(fitted, slice(0, num)))
        if on_chunk is not None:
            on_chunk(num)
    return trees.concatenate(parts)


def _fitter(family: Family, steps: int, devices: Sequence[Any]) -> Callable[..., Fitted]:
    """(index [n], images [n, H, W, C], key) → Fitted; n sharded over the devices."""
    (player,) = family.players
    hparams = {name: jnp.asarray(value) for name, value in family.hparams.items()}

    def fit(index, image, key):
        scale = 255.0 if image.dtype == np.uint8 else 1.0
        batch = Batch(image.astype(jnp.float32)[None] / scale, jnp.zeros(1, jnp.int32))
        params, state = family.init(jax.random.fold_in(key, index))

        def unfinished(carry):
            *_, step, loss = carry
            return (step < steps) & (loss > 0)  # a NaN is not

        def step_fn(carry):
            params, state, opt_state, step, _ = carry
            loss_fn = jax.value_and_grad(player.loss_fn, has_aux=True)
            (loss, state), grads = loss_fn(params, state, key, batch, hparams)
            direction, opt_state = player.tx.update(grads, opt_state, params)
            length = hparams[player.learning_rate] * (1.0 - step / steps)
            params = jax.tree.map(lambda w, u: w - length * u, params, direction)
            return params, state, opt_state, step + 1, loss

        start = (params, state, player.tx.init(params), jnp.int32(0), jnp.float32(jnp.inf))
        params, state, *_ = jax.lax.while_loop(unfinished, step_fn, start)
        psnr = family.evaluate(params, state, key, batch.x, hparams)["psnr"]
        return Fitted(params, state, psnr[0])

    mesh = jax.make_mesh((len(devices),), ("members",), (AxisType.Auto,), devices=devices)
    members = PartitionSpec("members")
    sharded = jax.shard_map(
        jax.vmap(fit, (0, 0, None)),
        mesh=mesh,
        in_specs=(members, members, PartitionSpec()),
        out_specs=members,
        check_vma=False,  # zeros made inside the loop are replicated, what they become is not
    )
    return jax.jit(sharded)
