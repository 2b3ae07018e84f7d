"""What matching is tested on: new members, and data sets in their proportions."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from experiments.banks import Bank
from experiments.common import bar, chunks, stream
from experiments.encoders import mixtures, whole_triplets
from experiments.setup import Setup
from genvec import quality, trees
from genvec.evaluate import retrieved
from genvec.geometry import angle_deg
from genvec.keys import fold_in_each, fold_in_name
from genvec.matching import frechet_distances, moment_distances, sum_angles

WIDTH = 8  # members run, or pairs compared, at once
COMPARED = 128  # images of each of two data sets whose distance is measured
EPSILON = 0.05  # of the Sinkhorn divergence, times the mean squared norm of standardised features


class Queries(NamedTuple):
    """Some of the tested members, each with its own data set."""

    members: np.ndarray  # rows [n] of the zoo
    sets: slice  # rows of the data sets
    pairs: np.ndarray  # [2, P] of the n, to compare distances
    apart: np.ndarray  # [P] Sinkhorn divergences of their data sets


def tested_members(config, setup: Setup) -> dict[str, np.ndarray]:
    """Indices of the members that are tested: of the known classes, and with unseen ones."""
    parts = {"seen": setup.split.test, "unseen": np.array(setup.split.unseen, int)}
    last = setup.cells[setup.cell].members.stop or np.inf  # a cell may have but the first members
    num = config.matching.num_queries
    return {name: members[members < last][:num] for name, members in parts.items()}


class TestPairs:
    """Test members of the known classes, and those of mixtures with classes never seen.

    Whom a member is compared with, and all of its noise, is drawn by its index: one that diverged
    is left out, and nothing else changes. A member's latent variables and the images of its data
    set have keys of their own. With one key for both they would be of the same noise, and a member
    would be nearer to its own data set by more than what it has learned.
    """

    __test__ = False  # not a test case

    def __init__(self, config, setup: Setup, zoo, heldout: Bank, describe: Callable):
        self.config, self.family, self.zoo = config, setup.family, zoo
        self.describe, settings = describe, config.matching
        planned = tested_members(config, setup)
        row_of = pd.Series(zoo.members.index, index=zoo.members["member"].to_numpy())
        parts = {name: row_of.reindex(members) for name, members in planned.items()}
        if few := [name for name, rows in parts.items() if rows.count() < 2]:
            raise ValueError(f"fewer than two tested members of {few} have not diverged")
        self.rows = np.concatenate([rows.dropna().to_numpy(int) for rows in parts.values()])
        self.members = zoo.members["member"].to_numpy()[self.rows]
        proportions = jnp.asarray(mixtures(zoo)[self.rows], jnp.float32)
        draw = jax.jit(jax.vmap(partial(heldout.draw, num=settings.images_a_set)))
        keys = fold_in_each(stream(config, "matching"), self.members)
        self.sets = np.asarray(draw(keys, proportions))  # [n, M, F]
        self.queries, start = {}, 0
        for name, rows in parts.items():
            there = rows.notna().to_numpy()
            sets, start = slice(start, start + there.sum()), start + there.sum()
            random = np.random.default_rng(config.seed)
            pairs = random.integers(len(rows), size=(2, settings.pairs))
            pairs = pairs[:, (pairs[0] != pairs[1]) & there[pairs].all(axis=0)]
            pairs = (np.cumsum(there) - 1)[pairs]  # places among all → among those that are there
            apart = _divergences(*(self.sets[sets][part, :COMPARED] for part in pairs))
            self.queries[name] = Queries(self.rows[sets], sets, pairs, apart)
        self.triplets = np.array(whole_triplets(zoo.members))

    def metrics(self, models: np.ndarray, datasets: np.ndarray) -> dict[str, dict[str, float]]:
        """Of embeddings of all members [N, D] and of the tested data sets [n, D]."""
        found = {}
        for name, query in self.queries.items():
            own, sets = models[query.members], datasets[query.sets]
            between = np.linalg.norm(own[query.pairs[0]] - own[query.pairs[1]], axis=1)
            found[f"retrieval_{name}"] = retrieved(cdist(own, sets))
            found[f"distances_{name}"] = _correlation(between, query)
            found[f"angles_{name}"] = {"own_deg_median": float(np.median(angle_deg(own, sets)))}
        found["composition"] = sum_angles(models[self.triplets], seed=self.config.seed)
        return found

    def controls(self) -> dict[str, dict[str, dict[str, float]]]:
        """Generated images against the images of data sets, without any encoder."""
        generated, real = self._generated(), _gaussians(self.sets)
        found = {"moments of samples": {}, "FID": {}}
        with bar(len(self.rows), "FID of all pairs", "member") as progress:
            for name, query in self.queries.items():
                own, sets = trees.take(generated, query.sets), trees.take(real, query.sets)
                near, far = _spread(own), _spread(sets)
                distances = {
                    "moments of samples": moment_distances(near, far),
                    "FID": frechet_distances(own, sets, on_row=progress.update),
                }
                compared = [trees.take(own, part) for part in query.pairs]
                between = {
                    "moments of samples": moment_distances(near, near)[*query.pairs],
                    "FID": np.asarray(jax.jit(jax.vmap(quality.frechet_distance))(*compared)),
                }
                for control in found:
                    found[control][f"retrieval_{name}"] = retrieved(distances[control])
                    found[control][f"distances_{name}"] = _correlation(between[control], query)
        return found

    def _generated(self) -> quality.Moments:
        """Moments of the features of images generated by each tested member."""

        @jax.jit
        @jax.vmap
        def moments(key, params, state):
            x = self.family.sample(params, state, key, self.config.matching.images_a_set)
            return quality.gaussian_moments(self.describe(x))

        members = trees.take((self.zoo.params, self.zoo.state), self.rows)
        # not the keys of the data sets, and so not their noise
        latent = fold_in_name(stream(self.config, "matching"), "latent variables")
        keys, parts = fold_in_each(latent, self.members), []
        with bar(len(self.rows), "sampling controls", "member") as progress:
            for part in chunks(len(self.rows), WIDTH):
                parts.append(jax.device_get(moments(keys[part], *trees.take(members, part))))
                progress.update(min(WIDTH, len(self.rows) - progress.n))
        return trees.take(trees.concatenate(parts), slice(0, len(self.rows)))


def _spread(moments: quality.Moments) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of features, without how they go together."""
    return np.asarray(moments.mean), np.sqrt(np.diagonal(moments.covariance, axis1=1, axis2=2))


def _gaussians(sets: np.ndarray) -> quality.Moments:
    of_sets = jax.jit(jax.vmap(quality.gaussian_moments))
    parts = [jax.device_get(of_sets(sets[part])) for part in chunks(len(sets), WIDTH)]
    return trees.take(trees.concatenate(parts), slice(0, len(sets)))


def _divergences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Sinkhorn divergences [P] between data sets [P, M, F]."""
    epsilon = EPSILON * float(np.mean(np.sum(np.square(first), axis=-1)))
    divergence = partial(quality.sinkhorn_divergence, epsilon=epsilon, num_iterations=100)
    of_pairs = jax.jit(jax.vmap(divergence))
    parts = [of_pairs(first[part], second[part]) for part in chunks(len(first), WIDTH)]
    return np.concatenate(parts)[: len(first)]


def _correlation(between: np.ndarray, query: Queries) -> dict[str, float]:
    """Ranks of the distances of models [P] against those of their data sets; 0 for a constant."""
    constant = np.ptp(between) == 0
    ranks = [rankdata(x) for x in (between, query.apart)]
    return {"spearman": 0.0 if constant else float(np.corrcoef(ranks)[0, 1])}
