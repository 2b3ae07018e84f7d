"""Models and data sets as points of one space, so that either can be looked for by the other."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genvec import trees
from genvec.arguments import check_whole
from genvec.encoders import MessagePassing
from genvec.evaluate import strangers
from genvec.geometry import angle_deg, to_sphere
from genvec.networks import MLP
from genvec.objectives import n_pair
from genvec.quality import Moments, frechet_distance
from genvec.types import NeuralGraph, Spec


class DatasetEncoder(nn.Module):
    """Features of images drawn from a data set [M, F] → a point of the unit sphere [D].

    A set network, blind to the order of the images: the mean of an MLP's outputs, and an MLP on it.
    That is added to a projection of the features' means and standard deviations, and is zero
    before training: the encoder starts as a comparison of moments, which knows no classes.
    Features are expected to be standardised.
    Reference: Zaheer et al. 2017, arXiv 1703.06114, theorem 2; the projection is our own.
    """

    num_outputs: int
    width: int = 256

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        h = jnp.mean(nn.gelu(MLP((self.width, self.width), name="image")(features)), axis=0)
        h = nn.gelu(nn.Dense(self.width, name="read")(nn.LayerNorm()(h)))
        moments = jnp.concatenate([jnp.mean(features, axis=0), jnp.std(features, axis=0) - 1])
        return _projected(self.num_outputs, moments, h)


class VectorEncoder(nn.Module):
    """What a member's run tells, a standardised vector [F] → a point of the unit sphere [D].

    A projection, and the correction of an MLP that is zero before training, as for data sets; our
    own.
    """

    num_outputs: int
    width: int = 128

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return _projected(self.num_outputs, x, nn.gelu(MLP((self.width, self.width))(x)))


def _projected(num_outputs: int, x: jax.Array, h: jax.Array) -> jax.Array:
    """Within a module: x [F] projected to the sphere [D], corrected by h; at first by nothing."""
    project = nn.Dense(num_outputs, use_bias=False, name="project")
    correct = nn.Dense(num_outputs, kernel_init=nn.initializers.zeros, name="correct")
    return to_sphere(project(x) + correct(h))


class ModelEncoder(nn.Module):
    """A member's neural graph → a point of the unit sphere [D]."""

    spec: Spec
    num_outputs: int
    width: int = 32
    readout: int = 256

    @nn.compact
    def __call__(self, graph: NeuralGraph) -> jax.Array:
        features = MessagePassing(self.spec, self.width, readout=self.readout)(graph)
        return to_sphere(MLP((self.readout, self.num_outputs), name="read")(nn.gelu(features)))


# what an encoder may read of a member → its representation; all but weights have to run it
READS = {"weights": "graph", "samples": "generated", "reconstruction": "reconstruction"}


class PairEncoder(nn.Module):
    """A model and data sets as points of one space [D].

    A model is a dict of what is read of it: "weights", its neural graph; "samples", features
    [M, F] of images that it generates, which the encoder of data sets reads as it reads data;
    "reconstruction", standardised errors [F] of giving back held-out images. Of several, the mean
    on the sphere.
    """

    spec: Spec
    num_outputs: int = 32
    width: int = 32
    readout: int = 256

    def __post_init__(self):
        check_whole(num_outputs=self.num_outputs, width=self.width, readout=self.readout)
        super().__post_init__()

    def setup(self) -> None:
        self.model = ModelEncoder(self.spec, self.num_outputs, self.width, self.readout)
        self.dataset = DatasetEncoder(self.num_outputs)
        self.errors = VectorEncoder(self.num_outputs)

    def __call__(self, pair: tuple[Mapping[str, Any], jax.Array]) -> jax.Array:
        """What is read of one member, and features [S, M, F] of S data sets: [1 + S, D]."""
        read, sets = pair
        return jnp.stack([self.embed_model(read), *map(self.embed_dataset, sets)])

    def embed_model(self, read: Mapping[str, Any]) -> jax.Array:
        """[D]."""
        encoders = {"weights": self.model, "samples": self.dataset, "reconstruction": self.errors}
        return to_sphere(sum(encoders[name](x) for name, x in read.items()))

    def embed_dataset(self, features: jax.Array) -> jax.Array:
        """[D]."""
        return self.dataset(features)


def contrast(temperature: float) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The objective of models and data sets: who belongs together, and what is the sum.

    N-pair from models to data sets and back, averaged, and the same from sums to unions: a model of
    D1, added to another data set D2, is to be found by D1 + D2, among the unions of the batch.

    Returns:
      (embeddings [B, 4, D], targets) → scalar. The embeddings are of B models, of their data sets,
      of as many others and of the unions; the targets are not looked at, as all others of the batch
      are negatives.

    Reference: Sohn 2016, eq. 6, in both directions as in Radford et al. 2021, arXiv 2103.00020,
    figure 3; the sums are our own.
    """

    def both_ways(first: jax.Array, second: jax.Array) -> jax.Array:
        there = n_pair(first, second, temperature=temperature)
        return (there + n_pair(second, first, temperature=temperature)) / 2

    def objective(embeddings: jax.Array, targets: jax.Array) -> jax.Array:
        del targets
        model, own, other, union = jnp.unstack(embeddings, axis=1)
        return both_ways(model, own) + both_ways(to_sphere(model + other), union)

    return objective


def moment_distances(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Distances [n, m] between means and standard deviations of features, ([n, F], [n, F]) each.

    Each of the 2F numbers is divided by its standard deviation over `second`.
    Reference: Lu et al. 2022, arXiv 2210.03116, section 3 (search by moments of samples).

    Raises:
      NotFiniteError: moments of `second` are not finite; names the rows.
    """
    rows, columns = (np.concatenate(moments, axis=1) for moments in (first, second))
    trees.check_finite("moments", columns)
    scale = columns.std(axis=0)
    scale = np.where(scale > 1e-6, scale, np.inf)  # what never differs tells nothing
    rows, columns = rows / scale, columns / scale
    return np.stack([np.linalg.norm(columns - row, axis=1) for row in rows])


def frechet_distances(
    first: Moments, second: Moments, *, on_row: Callable[[], object] = lambda: None
) -> np.ndarray:
    """Fréchet distances [n, m] between Gaussians with leading axes n and m.

    `on_row` is called after each of the n rows: a decomposition of every pair takes its time.
    """
    of_row = jax.jit(jax.vmap(frechet_distance, in_axes=(None, 0)))
    rows = []
    for row in zip(*first, strict=True):
        rows.append(np.asarray(of_row(Moments(*row), second)))
        on_row()
    return np.stack(rows)


def sum_angles(triplets: np.ndarray, *, seed: int) -> dict[str, float]:
    """Median angle in degrees between x₁ + x₂, normalised, and x₃ [R, 3, D].

    Beside it the same with x₂ of another triplet, by a random cycle: what the sum must stay below.
    """
    first, second, union = np.moveaxis(triplets, 1, 0)
    stranger = strangers(second, seed)
    return {
        "composition_deg_median": float(np.median(angle_deg(first + second, union))),
        "composition_random_deg_median": float(np.median(angle_deg(first + stranger, union))),
    }


def nearest(query: np.ndarray, items: np.ndarray, num: int) -> list[tuple[int, float]]:
    """The `num` items [n, D] nearest to a query [D] on the sphere: (index, cosine), best first.

    Raises:
      NotFiniteError: the query, or an item, is not finite.
    """
    trees.check_finite("the query", query[None])
    trees.check_finite("items", items)
    similarity = items @ query
    order = np.argsort(-similarity, kind="stable")[:num]
    return [(int(i), float(similarity[i])) for i in order]
