"""What a single member shows of its latent space: the manifold, ways through it, a score field."""

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from genvec import trees
from genvec.classes import Classifier
from genvec.families import denoising_ae, vae
from genvec.families.denoising_ae import score
from genvec.mixtures import MixtureData, to_unit
from genvec.types import Array, Family
from genvec.zoo import Task, Trained, member_inputs, train_member

HIDDEN = (64, 64)  # of the VAEs: twice the width of the zoo's, as each stands alone
GRID = 15  # images along each side of the manifold
LEARNING_RATE = 3e-3  # at the families' 1e-2 half of the latent variables of these VAEs go unused
STEPS = 9  # images on the way from one code to another
MAX_CLASSES = 4  # that are moved into one another, so that all of it can be looked at
MAX_CODES = 600  # of held-out images; as many as can be told apart
NOISE = 0.05  # of the corruption in the plane: a quarter of what lies between a spiral's turns
ARROWS = 25  # along each side of the plane
WALKS, WALK_STEPS = 40, 24


def train_one(
    key: jax.Array,
    family: Family,
    data: MixtureData,
    *,
    steps: int,
    batch_size: int,
    **hparams: float,
) -> Trained:
    """ONE member, on equal shares of all classes."""
    mixture = np.full((1, len(data.counts)), 1 / len(data.counts))
    hparams = {"learning_rate": LEARNING_RATE, **hparams}
    inputs = member_inputs(key, mixture, family, init="independent", hparams=hparams)
    train_fn = jax.jit(partial(train_member, task=Task(family, steps, batch_size)))
    return train_fn(trees.take(inputs, 0), data)


def to_bytes(images: Array) -> np.ndarray:
    """Images in [0, 1] → uint8; what is not a number is black."""
    return np.round(np.clip(np.nan_to_num(np.asarray(images)), 0, 1) * 255).astype(np.uint8)


def quantile_grid(num: int) -> np.ndarray:
    """Codes [num, num, 2] at the middles of equally likely cells of N(0, I), the top row first.

    Column i of a row holds the quantile (i + ½) / num of z₁, row i that of z₂ from above.

    Reference: Kingma & Welling 2013, arXiv 1312.6114, figure 4.
    """
    q = norm.ppf((np.arange(num) + 0.5) / num)
    return np.stack(np.meshgrid(q, q[::-1]), axis=-1)


def lerp(first: np.ndarray, last: np.ndarray, num: int) -> np.ndarray:
    """Codes [num, Z] on the straight line from one code [Z] to another, both included."""
    return np.linspace(first, last, num)


def slerp(first: np.ndarray, last: np.ndarray, num: int) -> np.ndarray:
    """Codes [num, Z] on the arc from one code [Z] to another, both included.

    sin((1 − t) ω) / sin ω · first + sin(t ω) / sin ω · last, with ω the angle between the two:
    codes of equal length keep it, where the straight line passes nearer to the origin.

    Raises:
      ValueError: the codes point in opposite directions, between which there are many arcs.

    Reference: White 2016, arXiv 1609.04468, section 2.1.
    """
    cosine = first @ last / (np.linalg.norm(first) * np.linalg.norm(last))
    angle = np.arccos(np.clip(cosine, -1, 1))
    if np.pi - angle < 1e-6:
        raise ValueError("the codes are opposite: no arc between them is the shortest")
    t = np.linspace(0, 1, num)[:, None]

    def weight(t):  # np.sinc(u / π) is sin(u) / u, also at 0
        return t * np.sinc(t * angle / np.pi) / np.sinc(angle / np.pi)

    return weight(1 - t) * first + weight(t) * last


def manifold(key: jax.Array, data: MixtureData, **training: int) -> dict[str, np.ndarray]:
    """A VAE with two latent variables: what it decodes of a grid, and codes of held-out images."""
    shape = data.images.shape[1:]
    family = vae(shape, hidden=HIDDEN, latent=2)
    member = train_one(key, family, data, **training)
    z = jnp.asarray(quantile_grid(GRID), jnp.float32).reshape(-1, 2)
    total = len(data.heldout_images)
    shown = np.unique(np.linspace(0, total - 1, MAX_CODES).round().astype(int))
    x = to_unit(data.heldout_images[shown])
    decode: Any = family.decode
    images = decode(member.params, member.state, z)
    return {
        "images": to_bytes(images).reshape(GRID, GRID, *shape),
        "codes": np.asarray(family.encode(member.params, member.state, x)),
        "labels": np.asarray(data.heldout_labels)[shown],
        "scans": np.asarray(data.heldout_images)[shown],
    }


class Coded(NamedTuple):
    """What a trained VAE makes of held-out images; a list holds an item for each class."""

    scans: list[np.ndarray]  # uint8 [M, H, W, C]
    codes: list[np.ndarray]  # [M, Z]
    means: list[np.ndarray]  # [Z] of the training images
    middle: list[np.ndarray]  # [2] rows: those of median reconstruction error, neither good nor bad
    decode: Callable[[Array], jax.Array]


def coded(key: jax.Array, data: MixtureData, **training: int) -> Coded:
    """A VAE with the default size of code, on the first classes.

    Raises:
      ValueError: one of them has no held-out image to encode.
    """
    heldout, labels = np.asarray(data.heldout_images), np.asarray(data.heldout_labels)
    counts = np.asarray(data.counts)[:MAX_CLASSES]
    if len(missing := np.setdiff1d(np.arange(len(counts)), labels)):
        raise ValueError(f"class number {missing[0]} of the run has no held-out image to encode")
    family = vae(data.images.shape[1:], hidden=HIDDEN)
    member = train_one(key, family, data, **training)
    encode = jax.jit(partial(family.encode, member.params, member.state))
    decode_fn: Any = family.decode
    decode = jax.jit(partial(decode_fn, member.params, member.state))
    scans = [heldout[labels == k] for k in range(len(counts))]
    codes = [np.asarray(encode(x / np.float32(255))) for x in scans]
    seen = np.split(np.asarray(encode(to_unit(data.images[: counts.sum()]))), np.cumsum(counts))
    middle = []
    for x, z in zip(scans, codes, strict=True):
        error = np.square(np.asarray(decode(z)) - x / 255).sum(axis=(1, 2, 3))
        middle.append(np.resize(np.argsort(error)[len(x) // 2 :], 2))
    return Coded(scans, codes, [z.mean(axis=0) for z in seen[: len(counts)]], middle, decode)


def interpolation(vae: Coded) -> dict[str, np.ndarray]:
    """Straight and spherical ways between images of the first three classes."""
    pairs = list(combinations(range(min(3, len(vae.scans))), 2))
    scans, codes = ([x[i[0]] for x, i in zip(xs, vae.middle, strict=True)] for xs in vae[:2])
    paths = np.array([[way(codes[a], codes[b], STEPS) for way in (lerp, slerp)] for a, b in pairs])
    images = to_bytes(vae.decode(paths.reshape(-1, paths.shape[-1])))
    return {
        "classes": np.array(pairs),
        "ends": np.array([[scans[a], scans[b]] for a, b in pairs]),
        "images": images.reshape(*paths.shape[:3], *images.shape[1:]),  # [pairs, 2, STEPS, H, W, C]
        "norms": np.linalg.norm(paths, axis=-1),
    }


def arithmetic(vae: Coded, classifier: Classifier) -> dict[str, np.ndarray]:
    """z − mean of its class + mean of another, with how often that is what a classifier says; and
    z₁ − z₂ + z₃ of two images of one class and one of the next.
    """
    num, moved, hits = min(8, *map(len, vae.scans)), [], []
    for scans, codes, mean in zip(vae.scans, vae.codes, vae.means, strict=True):
        turned = [np.asarray(vae.decode(codes - mean + other)) for other in vae.means]
        logits = [classifier.apply(classifier.variables, jnp.asarray(x)) for x in turned]
        hits.append([np.mean(np.argmax(x, axis=1) == k) for k, x in enumerate(logits)])
        moved.append([scans[:num], *(to_bytes(x[:num]) for x in turned)])
    pairs = [(x[i], z[i]) for x, z, i in zip(*vae[:2], vae.middle, strict=True)]
    following = pairs[1:] + pairs[:1]
    sums = [(*x, x3[0]) for (x, _), (x3, _) in zip(pairs, following, strict=True)]
    codes = [z[0] - z[1] + z3[0] for (_, z), (_, z3) in zip(pairs, following, strict=True)]
    decoded = to_bytes(vae.decode(np.array(codes)))
    return {
        "moved": np.array(moved),  # [classes, 1 + classes, num, H, W, C]
        "hits": np.array(hits),  # [classes, classes]
        "sums": np.concatenate([np.array(sums), decoded[:, None]], axis=1),  # [classes, 4, H, W, C]
    }


def spiral(num: int) -> np.ndarray:
    """Points [num, 2] at equal distances along a spiral of two turns in [0, 1]²."""
    t = np.sqrt(np.linspace(0.01, 1, num))  # the length grows with the square of the angle
    angle = 4 * np.pi * t
    return 0.5 + 0.42 * t[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def field(key: jax.Array, *, steps: int) -> dict[str, np.ndarray]:
    """A denoising autoencoder of points in the plane: its score on a grid, and walks along it."""
    points = np.round(spiral(600) * 255).astype(np.uint8)
    images = jnp.asarray(points).reshape(-1, 1, 2, 1)
    data = MixtureData(
        images=images,
        starts=jnp.zeros(1, jnp.int32),
        counts=jnp.full(1, len(points), jnp.int32),
        heldout_images=images[::8],
        heldout_labels=jnp.zeros(len(points[::8]), jnp.int32),
    )
    family = denoising_ae((1, 2, 1), hidden=(64, 64), latent=2, corruption="gaussian")
    train_key, start_key = jax.random.split(key)
    member = train_one(train_key, family, data, steps=steps, batch_size=256, noise=NOISE)

    @jax.jit
    def score_fn(x):
        images = x.reshape(-1, 1, 2, 1)
        return score(family, member.params, member.state, images, NOISE).reshape(-1, 2)

    side = (np.arange(ARROWS) + 0.5) / ARROWS
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    walk = [jax.random.uniform(start_key, (WALKS, 2))]
    for _ in range(WALK_STEPS):
        walk.append(walk[-1] + NOISE**2 * score_fn(walk[-1]))  # r(x)
    return {
        "points": points / 255,
        "grid": grid,
        "score": np.asarray(score_fn(jnp.asarray(grid, jnp.float32))),
        "noise": np.array(NOISE),
        "walks": np.stack([np.asarray(x) for x in walk], axis=1),
    }
