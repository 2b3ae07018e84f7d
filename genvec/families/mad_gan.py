"""Several generators against one discriminator that must also tell them from one another."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from genvec.arguments import check_network, check_whole
from genvec.networks import PAIRS
from genvec.registry import lookup
from genvec.types import Family, Player, Spec


def mad_gan(
    image_shape: Sequence[int],
    *,
    num_generators: int = 3,
    hidden: Sequence[int] = (32,),
    latent: int = 8,
    network: str = "mlp",
) -> Family:
    """MAD-GAN: the discriminator has a class for each generator and one for real images.

    To be told from the others each generator has to make something else, so the modes are shared
    out among them. A sample comes from a generator drawn uniformly.

    Args:
      image_shape: (H, W, C).
      num_generators: at least two.
      hidden: widths, or channels, of the discriminator's hidden layers; reversed in the generators.
      latent: Z, the size of the generators' input.
      network: one of `PAIRS` whose networks keep no state and do not grow: "mlp".

    Raises:
      ValueError: fewer than two generators, or another network.

    Reference: Ghosh et al. 2018, arXiv 1704.02906, eq. 2-3 (cross entropy in place of its two
    steps) and figure 1; parameters are not shared between the generators here.
    """
    check_network(image_shape, hidden, latent)
    check_whole(num_generators=num_generators)
    if num_generators < 2:
        raise ValueError(f"num_generators is {num_generators}; one alone is a gan, 2 or more here")
    if network != "mlp":
        raise ValueError(f"mad_gan with network={network!r}; allowed: mlp")
    make = lookup(PAIRS, network, kind="network")
    pair = make(image_shape, hidden, latent, outputs=num_generators + 1)
    real = num_generators  # the discriminator's class of real images

    def init(key):
        keys = jax.random.split(key, num_generators)
        drawn = [pair.init(key)[0] for key in keys]
        generators = {_scope(i): params["generator"] for i, params in enumerate(drawn)}
        return {**generators, "discriminator": drawn[0]["discriminator"]}, {}

    def generate(params, key, num):
        """Images [num_generators, num, H, W, C] of all generators."""
        z = jax.random.normal(key, (num_generators, num, latent))
        return jnp.stack(
            [
                pair.generate({"generator": params[_scope(i)]}, {}, z[i], True, 0.0)[0]
                for i in range(num_generators)
            ]
        )

    def discriminate(params, x):
        """Log-probabilities [B, num_generators + 1] and features [B, F]."""
        outputs, h, _ = pair.discriminate(params, {}, x, True, 0.0)
        return jax.nn.log_softmax(outputs), h

    def blurred(key, x, hparams):
        return x + hparams["instance_noise"] * jax.random.normal(key, x.shape)

    def judged(params, key, num, hparams):
        """Log-probabilities [num_generators, num, num_generators + 1] of generated images."""
        z_key, noise_key = jax.random.split(key)
        fake = generate(params, z_key, num)
        fake = blurred(noise_key, fake.reshape(-1, *image_shape), hparams)
        return discriminate(params, fake)[0].reshape(num_generators, num, -1)

    def critic_loss(params, state, key, batch, hparams):
        fake_key, real_key = jax.random.split(key)
        r = discriminate(params, blurred(real_key, batch.x, hparams))[0]
        f = judged(params, fake_key, len(batch.x), hparams)
        own = jnp.einsum("ibi->ib", f[..., :real])
        return -jnp.mean(r[:, real]) - jnp.mean(own), state

    def generator_loss(params, state, key, batch, hparams):
        return -jnp.mean(judged(params, key, len(batch.x), hparams)[..., real]), state

    def encode(params, state, x):
        return discriminate(params, x)[1]

    def sample(params, state, key, num):
        which_key, z_key = jax.random.split(key)
        which = jax.random.randint(which_key, (num,), 0, num_generators)
        return generate(params, z_key, num)[which, jnp.arange(num)]

    def evaluate(params, state, key, x, hparams):
        return {"score": discriminate(params, x)[0][:, real]}

    critic = Player(
        "critic",
        ("discriminator",),
        critic_loss,
        optax.scale_by_adam(b1=0.5),
        learning_rate="critic_learning_rate",
    )
    scopes = tuple(_scope(i) for i in range(num_generators))
    generator = Player("generator", scopes, generator_loss, optax.scale_by_adam(b1=0.5))
    return Family(
        name="mad_gan",
        architecture={
            "image_shape": tuple(image_shape),
            "num_generators": num_generators,
            "hidden": tuple(hidden),
            "latent": latent,
            "network": network,
        },
        spec=_several(pair.spec, num_generators),
        hparams={
            "learning_rate": 2e-3,
            "critic_learning_rate": 2e-3,
            "instance_noise": 0.2,
        },
        init=init,
        players=(critic, generator),
        encode=encode,
        sample=sample,
        evaluate=evaluate,
    )


def _scope(number: int) -> str:
    return f"generator{number}"


def _several(spec: Spec, num: int) -> Spec:
    """The spec of a pair whose generator stands there `num` times, each with neurons of its own."""

    def copies(name: str, number: int) -> str:
        return name.replace("generator", _scope(number), 1) if name != "z" else f"z{number}"

    def mine(name: str | None) -> bool:
        return name is not None and (name == "z" or name.startswith("generator"))

    groups, axes, scaled, mirrored = {}, {}, [], {}
    for group, size in spec.groups.items():
        names = [copies(group, i) for i in range(num)] if mine(group) else [group]
        groups |= dict.fromkeys(names, size)
    for name, groups_of in spec.axes.items():
        for i in range(num) if mine(name) else [0]:
            own = tuple(copies(g, i) if g is not None and mine(g) else g for g in groups_of)
            axes[copies(name, i) if mine(name) else name] = own
    for group in spec.scaled:
        scaled += [copies(group, i) for i in range(num)] if mine(group) else [group]
    for group, names in spec.mirrored.items():
        for i in range(num):
            mirrored[copies(group, i)] = tuple(copies(name, i) for name in names)
    return Spec(groups, spec.fixed, axes, tuple(scaled), mirrored)
