"""Generative adversarial networks: one game for every loss and every pair of networks."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from genvec.arguments import check_network, check_number, check_whole
from genvec.networks import PAIRS
from genvec.registry import lookup
from genvec.types import Family, Params, Player

PROPORTION_DECAY = 0.99  # of the running class frequencies that a conditional generator samples by


class Loss(NamedTuple):
    """What the two players minimise; r = D(x) and f = D(G(z)) are [B], before any sigmoid."""

    critic: Callable[[jax.Array, jax.Array], jax.Array]  # (r, f) → [B]
    generator: Callable[[jax.Array], jax.Array]  # f → [B]
    tx: Callable[[], optax.GradientTransformation] = lambda: optax.scale_by_adam(b1=0.5)
    num_critic: int = 1
    lipschitz: str = ""  # how D is kept 1-Lipschitz: "clip", "penalty" or not at all


def cross_entropy(r: jax.Array, f: jax.Array) -> jax.Array:
    """−log D(x) − log(1 − D(G(z))) with D = σ(r) and σ(f)."""
    return jax.nn.softplus(-r) + jax.nn.softplus(f)


def least_squares(a: float, b: float, c: float) -> Loss:
    """½(r − b)² + ½(f − a)² against ½(f − c)²: Mao et al. 2017, arXiv 1611.04076, eq. 2."""
    return Loss(
        lambda r, f: 0.5 * jnp.square(r - b) + 0.5 * jnp.square(f - a),
        lambda f: 0.5 * jnp.square(f - c),
    )


WASSERSTEIN = Loss(lambda r, f: f - r, lambda f: -f)  # Arjovsky et al. 2017, arXiv 1701.07875

LOSSES = {
    # Goodfellow et al. 2014, arXiv 1406.2661, eq. 1, and what section 3 proposes in its place
    "minimax": Loss(cross_entropy, lambda f: -jax.nn.softplus(f)),
    "non_saturating": Loss(cross_entropy, lambda f: jax.nn.softplus(-f)),
    "lsgan": least_squares(0.0, 1.0, 1.0),  # eq. 9: 0-1 labels
    "lsgan_pearson": least_squares(-1.0, 1.0, 0.0),  # eq. 8: minimises a Pearson χ² divergence
    # algorithm 1
    "wgan": WASSERSTEIN._replace(tx=optax.scale_by_rms, num_critic=5, lipschitz="clip"),
    # Gulrajani et al. 2017, arXiv 1704.00028, eq. 3 and algorithm 1
    "wgan_gp": WASSERSTEIN._replace(
        tx=lambda: optax.scale_by_adam(b1=0.0, b2=0.9), num_critic=3, lipschitz="penalty"
    ),
}


def gradient_penalty(
    discriminate: Callable[[jax.Array], jax.Array], key: jax.Array, x: jax.Array, fake: jax.Array
) -> jax.Array:
    """(‖∇D(x̂)‖ − 1)² [B] at x̂ uniformly between x and fake [B, H, W, C]; D is x → [B]."""
    share = jax.random.uniform(key, (x.shape[0], 1, 1, 1))
    between = share * x + (1 - share) * fake
    gradient = jax.grad(lambda x: jnp.sum(discriminate(x)))(between)
    squared = jnp.sum(jnp.square(gradient), axis=(1, 2, 3))
    return jnp.square(jnp.sqrt(squared + 1e-12) - 1.0)  # the root of 0 has no gradient


def clip_weights(bound: float) -> Callable[[Params], Params]:
    """The projection of the parameters onto [−bound, bound]."""
    return lambda params: jax.tree.map(lambda w: jnp.clip(w, -bound, bound), params)


def gan(
    image_shape: Sequence[int],
    *,
    loss: str = "non_saturating",
    hidden: Sequence[int] = (32,),
    latent: int = 8,
    network: str = "mlp",
    num_critic: int = 0,
    minibatch: int = 0,
    feature_matching: float = 0.0,
    clip: float = 0.1,
    num_classes: int = 0,
) -> Family:
    """Two players, a discriminator (the critic) and a generator.

    The hyper-parameters hold two learning rates; `instance_noise`, the standard deviation of
    Gaussian noise on all that the discriminator sees (Sønderby et al. 2017, arXiv 1610.04490,
    section 3); and `stage_steps`, how long a growing pair spends at each size.

    Args:
      image_shape: (H, W, C).
      loss: one of `LOSSES`.
      hidden: widths, or channels, of the discriminator's hidden layers; reversed in the generator.
      latent: Z, the size of the generator's input.
      network: one of `PAIRS`.
      num_critic: updates of the discriminator for each one of the generator; 0 for the loss's own.
      minibatch: kernels of minibatch discrimination (Salimans et al. 2016, arXiv 1606.03498,
        section 3.2), 0 for none.
      feature_matching: weight of ‖E h(x) − E h(G(z))‖² in the generator's loss, h the last hidden
        layer of the discriminator (Salimans et al. 2016, eq. 1).
      clip: bound of the critic's weights where the loss clips them.
      num_classes: K where both players are told the class (see `cgan`), 0 where they are not.

    Raises:
      ValueError: a loss with gradient penalty and networks with batch normalisation, or images
        that the networks cannot halve.
    """
    check_network(image_shape, hidden, latent)
    check_whole(num_critic=num_critic, minibatch=minibatch, num_classes=num_classes, least=0)
    check_number(feature_matching=feature_matching, least=0)
    check_number(clip=clip, above=0)
    rule = lookup(LOSSES, loss, kind="loss")
    make = lookup(PAIRS, network, kind="network")
    if rule.lipschitz == "penalty" and network in ("dcgan", "sagan"):
        raise ValueError(
            f"loss {loss!r} penalises the gradient at each image, and {network!r} normalises over "
            "batches (arXiv 1704.00028, section 4); use network='mlp' or 'progan', or another loss"
        )
    pair = make(image_shape, hidden, latent, labels=num_classes, minibatch=minibatch)

    def init(key):
        params, state = pair.init(key)
        state = {**state, "stage": jnp.zeros(())}  # beside the batch statistics of the pair
        return params, state | ({"proportions": jnp.zeros(num_classes)} if num_classes else {})

    def grown(state):
        """How far a growing pair has grown: in the first half of every stage it stands still."""
        whole = jnp.floor(state["stage"])
        fade = jnp.maximum(2 * (state["stage"] - whole) - 1, 0)
        return jnp.minimum(whole + fade, len(hidden) - 1.0)

    def real(batch, state):
        """The images of a batch, as coarse as a growing pair still is."""
        return pair.fade(batch.x, grown(state))

    def one_hot(label):
        return jax.nn.one_hot(label, num_classes) if num_classes else None

    def generate(params, state, key, label):
        z = jax.random.normal(key, (len(label), latent))
        return pair.generate(params, state, z, True, grown(state), one_hot(label))

    def discriminate(params, state, x, label):
        """Output [B], features [B, F] and the new state."""
        output, h, state = pair.discriminate(params, state, x, True, grown(state), one_hot(label))
        return output[:, 0], h, state

    def noise(key, hparams, num):
        """One draw for real and generated images: random numbers weigh in a small step."""
        return hparams["instance_noise"] * jax.random.normal(key, (num, *image_shape))

    def critic_loss(params, state, key, batch, hparams):
        z_key, noise_key, share_key = jax.random.split(key, 3)
        fake, state = generate(params, state, z_key, batch.label)
        added = noise(noise_key, hparams, len(fake))
        fake, x = fake + added, real(batch, state) + added
        r, _, new_state = discriminate(params, state, x, batch.label)
        f, _, new_state = discriminate(params, new_state, fake, batch.label)
        value = jnp.mean(rule.critic(r, f))
        if rule.lipschitz == "penalty":
            penalty = gradient_penalty(
                lambda x: discriminate(params, state, x, batch.label)[0], share_key, x, fake
            )
            value += hparams["gradient_penalty"] * jnp.mean(penalty)
        return value, new_state

    def generator_loss(params, state, key, batch, hparams):
        z_key, noise_key = jax.random.split(key)
        fake, state = generate(params, state, z_key, batch.label)
        added = noise(noise_key, hparams, len(fake))
        f, h, state = discriminate(params, state, fake + added, batch.label)
        value = jnp.mean(rule.generator(f))
        if feature_matching:
            x = real(batch, state) + added
            _, h_real, state = discriminate(params, state, x, batch.label)
            value += feature_matching * matching(h_real, h)
        state = {**state, "stage": state["stage"] + 1 / hparams["stage_steps"]}
        if num_classes:
            shares = jnp.mean(jax.nn.one_hot(batch.label, num_classes), axis=0)
            state["proportions"] = (
                PROPORTION_DECAY * state["proportions"] + (1 - PROPORTION_DECAY) * shares
            )
        return value, state

    def judge(params, state, x):
        """Output [B] and features [B, F] after training, a class known by its share alone."""
        label = state["proportions"][None].repeat(len(x), axis=0) if num_classes else None
        output, h, _ = pair.discriminate(params, state, x, False, grown(state), label)
        return output[:, 0], h

    def encode(params, state, x):
        return judge(params, state, x)[1]

    def sample(params, state, key, num):
        z_key, label_key = jax.random.split(key)
        z, label = jax.random.normal(z_key, (num, latent)), None
        if num_classes:
            logits = jnp.log(state["proportions"])
            label = one_hot(jax.random.categorical(label_key, logits, shape=(num,)))
        return pair.generate(params, state, z, False, grown(state), label)[0]

    def evaluate(params, state, key, x, hparams):
        return {"score": judge(params, state, x)[0]}

    hparams = {
        "learning_rate": 2e-3,
        "critic_learning_rate": 2e-3,
        "instance_noise": 0.2,
        "stage_steps": 200.0,
    }
    if rule.lipschitz == "penalty":
        hparams["gradient_penalty"] = 1.0
    critic = Player(
        "critic",
        ("discriminator",),
        critic_loss,
        rule.tx(),
        learning_rate="critic_learning_rate",
        num_updates=num_critic or rule.num_critic,
        project_fn=clip_weights(clip) if rule.lipschitz == "clip" else None,
    )
    return Family(
        name=loss,
        architecture={
            "image_shape": tuple(image_shape),
            "loss": loss,
            "hidden": tuple(hidden),
            "latent": latent,
            "network": network,
            "num_critic": num_critic,
            "minibatch": minibatch,
            "feature_matching": feature_matching,
            "clip": clip,
            "num_classes": num_classes,
        },
        spec=pair.spec,
        hparams=hparams,
        init=init,
        players=(critic, Player("generator", ("generator",), generator_loss, rule.tx())),
        encode=encode,
        sample=sample,
        evaluate=evaluate,
    )


def matching(h_real: jax.Array, h: jax.Array) -> jax.Array:
    """‖E h(x) − E h(G(z))‖² of features [B, F] (Salimans et al. 2016, eq. 1)."""
    return jnp.sum(jnp.square(jnp.mean(h_real, axis=0) - jnp.mean(h, axis=0)))
