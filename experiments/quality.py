"""How good the generators of each cell are: FID and its companions, on its first members."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments.checks import check_fields
from experiments.classes import load_counter
from experiments.common import bar, chunks, clock, mixture_data, stream
from experiments.done import is_done
from experiments.encoders import mixtures
from experiments.errors import named_section
from experiments.settings import check_settings
from experiments.setup import check
from experiments.start import main
from genvec import classes, quality, trees
from genvec.keys import fold_in_each
from genvec.mixtures import MixtureData, draw_batch, to_unit
from genvec.store import load_zoo, write_json
from genvec.zoo import member_inputs

WIDTH = 8  # members measured at once
FEWEST = 4  # samples: precision and recall need three neighbours of each
NEIGHBOURS = 256  # samples that precision and recall compare: all pairs of them


def run_stage(config, run) -> None:
    """Writes cell → metric → the median and, of mode coverage, the share of members above 0.95."""
    if is_done(run, run.quality):
        return
    setup, data = check(config), mixture_data(check(config).dataset, run)
    classifier = load_counter(config, run)
    measure = Measure(classifier, data)
    written = {}
    with clock(run, "quality"), bar(len(setup.cells), "quality", "cell") as progress:
        for name, cell in setup.cells.items():
            progress.set_postfix_str(name)
            asked = range(
                min(config.quality.num_members, len(range(config.mixtures.num)[cell.members]))
            )
            zoo = load_zoo(run.zoo, cell=name, members=asked, finite_only=True)
            written[name] = _summary(measure, config, cell, zoo, np.arange(len(zoo.members)))
            progress.update()
    write_json(run.quality, written)


class Measure:
    """Generated images of one member against the images of its mixture."""

    def __init__(self, classifier, data: MixtureData):
        self.classifier, self.data = classifier, data
        labels = np.repeat(np.arange(len(data.counts)), data.counts)
        seen = np.asarray(jax.jit(partial(classes.features, classifier))(to_unit(data.images)))
        # the moments of a mixture follow from those of its classes: no images are drawn for them
        self.means = jnp.stack([seen[labels == k].mean(axis=0) for k in np.unique(labels)])
        self.seconds = jnp.stack(
            [seen[labels == k].T @ seen[labels == k] / sum(labels == k) for k in np.unique(labels)]
        )

    def moments(self, mixture: jax.Array) -> quality.Moments:
        """Of the features of the training images, weighted as in the mixture [K]."""
        mean = mixture @ self.means
        second = jnp.einsum("k,kfg->fg", mixture, self.seconds)
        return quality.Moments(mean, second - jnp.outer(mean, mean))

    def fid(self, generated: jax.Array, mixture: jax.Array) -> jax.Array:
        """Of images [num, H, W, C] of one member."""
        h = classes.features(self.classifier, generated)
        return quality.frechet_distance(self.moments(mixture), quality.gaussian_moments(h))

    def __call__(self, key: jax.Array, generated: jax.Array, mixture: jax.Array):
        """Metrics of images [num, H, W, C] of one member, name → scalar."""
        draw_key, project_key = jax.random.split(key)
        real = draw_batch(draw_key, mixture, self.data, len(generated)).x
        logits = self.classifier.apply(self.classifier.variables, generated)
        shares = quality.class_shares(logits)
        h_real, h = (classes.features(self.classifier, x[:NEIGHBOURS]) for x in (real, generated))
        precision, recall = quality.precision_recall(h_real, h)
        flat_real, flat = (x.reshape(len(x), -1) for x in (real, generated))
        return {
            "fid": self.fid(generated, mixture),
            "inception_score": quality.inception_score(logits),
            "wasserstein": quality.sliced_wasserstein(project_key, flat_real, flat),
            "precision": precision,
            "recall": recall,
            "mode_coverage": quality.mode_coverage(shares, mixture),
        }


def _summary(measure, config, cell, zoo, rows) -> dict[str, float]:
    """Medians over the members, trained and untrained."""
    proportions = jnp.asarray(mixtures(zoo)[rows], jnp.float32)
    numbers = jnp.asarray(zoo.members["member"].to_numpy()[rows])
    keys = fold_in_each(stream(config, "evaluate"), numbers)
    hparams = cell.settings.hparams.to_dict()
    inputs = member_inputs(
        stream(config, "zoo"),
        np.zeros((int(numbers.max()) + 1, proportions.shape[1])),
        cell.family,
        init=cell.settings.init,
        hparams=hparams,
    )

    def measured(measure_fn, members) -> dict[str, np.ndarray]:
        @jax.jit
        @jax.vmap
        def of_members(key, params, state, mixture):
            sample_key, key = jax.random.split(key)
            x = cell.family.sample(params, state, sample_key, config.quality.num_samples)
            return measure_fn(key, x, mixture)

        parts = [
            jax.device_get(of_members(*trees.take((keys, *members, proportions), part)))
            for part in chunks(len(rows), WIDTH)
        ]
        return trees.take(trees.concatenate(parts), slice(0, len(rows)))

    first = jax.jit(jax.vmap(cell.family.init))(inputs.init_key[numbers])
    values = measured(measure, trees.take((zoo.params, zoo.state), rows))
    values |= measured(lambda _, x, mixture: {"fid_untrained": measure.fid(x, mixture)}, first)
    covered = values["mode_coverage"]
    covered = covered[np.isfinite(covered)]  # without a class of 5 % or more there is none
    return {
        "num_measured": len(rows),
        **{name: float(np.median(x)) for name, x in values.items()},
        "covering_members": float(np.mean(covered >= 0.95)) if len(covered) else float("nan"),
    }


def check_quality(config):
    """The config's setup, its section for this script checked as well."""
    check_settings(config, "quality")
    with named_section("config.quality"):
        check_fields(config.quality, "num_members")
        check_fields(config.quality, "num_samples", least=FEWEST)
    return check(config)


if __name__ == "__main__":
    main(run_stage, check_quality)
