"""Self-attention over the pixels of an image, fast under vmap."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class SelfAttention(nn.Module):
    """Every pixel attends to all of its image: maps [C, H, W, B] → [C, H, W, B].

    o_j = v(Σ_i softmax_i(f(x_i)·g(x_j)) h(x_i)), y = γ o + x, with f, g to C/8 channels and h to
    C/2; γ starts at zero. The four 1×1 convolutions are matmuls over all pixels.
    Reference: Zhang et al. 2018, arXiv 1805.08318, eq. 1-3.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels, height, width, batch = x.shape
        pixels = x.reshape(channels, -1)  # [C, P·B]

        def project(name, features, inputs):
            shape = (inputs.shape[0], features)
            kernel = self.param(name, nn.initializers.lecun_normal(), shape)
            return jnp.einsum("co,cm->om", kernel, inputs)

        def of_image(h):  # [F, P·B] → [B, P, F]
            return h.reshape(-1, height * width, batch).transpose(2, 1, 0)

        narrow = max(channels // 8, 1)
        query, key = (of_image(project(name, narrow, pixels)) for name in ("g", "f"))
        value = of_image(project("h", max(channels // 2, 1), pixels))
        weights = jax.nn.softmax(jnp.einsum("bjf,bif->bji", query, key), axis=-1)
        mixed = jnp.einsum("bji,bif->fjb", weights, value)
        out = project("v", channels, mixed.reshape(mixed.shape[0], -1))
        gamma = self.param("gamma", nn.initializers.zeros, ())
        return gamma * out.reshape(x.shape) + x
