"""The cases' VAEs as one would write them in JAX without this engine; the yardstick `naive`."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from benchmarks.cases import Case

TX = optax.adam(1e-3)


class DenseVAE(nn.Module):
    """x [B, H, W, C], noise [B, Z] → logits [B, H, W, C], mean and log-variance [B, Z]."""

    hidden: Sequence[int]
    latent: int

    @nn.compact
    def __call__(self, x: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        h = x.reshape(len(x), -1)
        for width in self.hidden:
            h = nn.relu(nn.Dense(width)(h))
        mean, log_var = jnp.split(nn.Dense(2 * self.latent)(h), 2, axis=-1)
        h = mean + jnp.exp(0.5 * log_var) * noise
        for width in reversed(self.hidden):
            h = nn.relu(nn.Dense(width)(h))
        return nn.Dense(x[0].size)(h).reshape(x.shape), mean, log_var


class ConvVAE(nn.Module):
    """As `DenseVAE`, with 3×3 convolutions: of stride 2 down, behind nearest upsampling up."""

    hidden: Sequence[int]
    latent: int

    @nn.compact
    def __call__(self, x: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        h = x
        for channels in self.hidden:
            h = nn.relu(nn.Conv(channels, (3, 3), strides=2, padding=1)(h))
        shape = h.shape
        moments = nn.Dense(2 * self.latent)(h.reshape(len(x), -1))
        mean, log_var = jnp.split(moments, 2, axis=-1)
        z = mean + jnp.exp(0.5 * log_var) * noise
        h = nn.relu(nn.Dense(h[0].size)(z)).reshape(shape)
        for channels in reversed(self.hidden[:-1]):
            h = nn.relu(nn.Conv(channels, (3, 3), padding=1)(doubled(h)))
        return nn.Conv(x.shape[-1], (3, 3), padding=1)(doubled(h)), mean, log_var


def doubled(x: jax.Array) -> jax.Array:
    """Nearest-neighbour upsampling: [B, H, W, C] → [B, 2H, 2W, C]."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


NETWORKS = {"dense": DenseVAE, "conv": ConvVAE}


def model_of(case: Case) -> Any:
    """The Flax module of a case."""
    return NETWORKS[case.network](case.hidden, case.latent)


def init(key: jax.Array, case: Case) -> Any:
    """Parameters of one member."""
    x, noise = jnp.zeros((1, *case.image_shape)), jnp.zeros((1, case.latent))
    return model_of(case).init(key, x, noise)


def loss_fn(params: Any, x: jax.Array, noise: jax.Array, *, case: Case) -> jax.Array:
    """−ELBO of a batch x [B, H, W, C] in [0, 1], in nats: Bernoulli pixels plus KL."""
    logits, mean, log_var = model_of(case).apply(params, x, noise)
    reconstruction = jnp.sum(optax.sigmoid_binary_cross_entropy(logits, x))
    kl = 0.5 * jnp.sum(jnp.square(mean) + jnp.exp(log_var) - 1.0 - log_var)
    return (reconstruction + kl) / len(x)


def start(key: jax.Array, case: Case) -> Any:
    """Parameters and optimiser state of one member."""
    params = init(key, case)
    return params, TX.init(params)


def train_step(carry: Any, key: jax.Array, images: jax.Array, *, case: Case) -> Any:
    """One step of ONE member on a batch drawn from images uint8 [M, H, W, C]."""
    params, opt_state = carry
    batch_key, noise_key = jax.random.split(key)
    index = jax.random.randint(batch_key, (case.batch,), 0, len(images))
    x = images[index].astype(jnp.float32) / 255.0
    noise = jax.random.normal(noise_key, (case.batch, case.latent))
    loss, grads = jax.value_and_grad(partial(loss_fn, case=case))(params, x, noise)
    updates, opt_state = TX.update(grads, opt_state)
    return (optax.apply_updates(params, updates), opt_state), loss


def train(key: jax.Array, images: jax.Array, *, case: Case, steps: int) -> Any:
    """ONE member from its init through all steps in a scan → parameters, losses [T]."""

    def step_fn(carry, key):
        return train_step(carry, key, images, case=case)

    keys = jax.random.split(jax.random.fold_in(key, 1), steps)
    (params, _), losses = jax.lax.scan(step_fn, start(key, case), keys)
    return params, losses


Program = tuple[Callable[[], Any], int]  # runs once, and is so many steps times members


def naive(case: Case, images: jax.Array, *, quick: bool) -> Program:
    """jit(vmap(scan)) over all members."""
    members, steps = case.naive_quick if quick else case.naive[0], case.naive[1]
    train_fn = jax.vmap(partial(train, case=case, steps=steps), in_axes=(0, None))
    keys = jax.random.split(jax.random.key(0), members)
    train_fn = jax.jit(train_fn).lower(keys, images).compile()
    return lambda: jax.block_until_ready(train_fn(keys, images)), members * steps


def single(case: Case, images: jax.Array, *, quick: bool) -> Program:
    """jit(scan) of one member, to be called for one member after the other."""
    del quick
    key = jax.random.key(0)
    train_fn = jax.jit(partial(train, case=case, steps=case.single_steps))
    train_fn = train_fn.lower(key, images).compile()
    return lambda: jax.block_until_ready(train_fn(key, images)), case.single_steps


def step_loop(case: Case, images: jax.Array, *, quick: bool) -> Program:
    """One jitted step of one member, called from a Python loop.

    XLA on the CPU runs a convolution within a scan many times slower than outside of one.
    """
    del quick
    key = jax.random.key(0)
    step_fn = jax.jit(partial(train_step, case=case), donate_argnums=0)
    carry = jax.jit(partial(start, case=case))(key)
    step_fn = step_fn.lower(carry, key, images).compile()
    keys = [jax.random.fold_in(key, step) for step in range(10)]

    def run():
        nonlocal carry
        for key in keys:
            carry, loss = step_fn(carry, key, images)
        loss.block_until_ready()

    return run, len(keys)


PROGRAMS = {"naive": naive, "single": single, "step_loop": step_loop}
