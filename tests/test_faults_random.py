"""Randomness and splits: noise that only own pairs share, positions in place of names, columns."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from fake_run import write_fake_run
from ml_collections import ConfigDict

from experiments.banks import Bank
from experiments.encoders import mixtures
from experiments.pairs import TestPairs
from experiments.setup import Setup
from genvec import evaluate, store
from genvec.geometry import angle_deg, to_sphere
from genvec.report import contents, results_table
from genvec.types import Split, Zoo

CLASSES = 40
NUM, IMAGES = 120, 64


def pairs_of_noise(lost: tuple[int, ...] = ()) -> TestPairs:
    """Members that generate their latent variables, and data sets of 40 classes of one image.

    All mixtures are equal and so are all members: what own and foreign pairs have in common is
    noise. The feature of an image is the number of its class, that of a sample its variable.
    """
    member = np.setdiff1d(np.arange(2 * NUM), lost)
    table = pd.DataFrame({"member": member, "triplet": -1})
    table["split"] = np.where(member < NUM, "test", "unseen")
    names = [f"c{k}" for k in range(CLASSES)]
    shares = {f"mixture_{name}": 1 / CLASSES for name in names}
    params = {"index": member.astype(np.float32)}
    zoo = Zoo(params, {}, table.assign(**shares), {"classes": names})
    split = Split(
        np.arange(0), np.arange(0), np.arange(NUM), np.empty((0, 3)), NUM + np.arange(NUM)
    )

    def sample(params, state, key, num):
        return jax.random.normal(key, (num, 1, 1, 1))

    settings = {"num_queries": NUM, "images_a_set": IMAGES, "pairs": 20}
    config = ConfigDict({"seed": 0, "matching": settings})
    cell = SimpleNamespace(members=slice(None), family=SimpleNamespace(sample=sample))
    setup = Setup(None, {"one": cell}, "one", split)
    ones = jnp.ones(CLASSES, int)
    bank = Bank(jnp.arange(CLASSES, dtype=jnp.float32)[:, None], jnp.arange(CLASSES), ones)
    return TestPairs(config, setup, zoo, bank, lambda x: x.reshape(len(x), -1))


def test_own_pairs_share_no_more_noise_than_foreign_ones():
    test = pairs_of_noise()
    generated, real = test._generated().mean[:, 0], test.sets.mean(axis=1)[:, 0]
    own = np.corrcoef(generated, real)[0, 1]
    foreign = np.corrcoef(generated, np.roll(real, 1))[0, 1]
    assert generated.std() > 0.05 and real.std() > 0.5
    assert abs(own) < 4 / np.sqrt(2 * NUM) > abs(foreign)  # with one key for both, own was 0.97


def test_a_member_that_diverged_takes_nobody_s_place():
    whole, fewer = pairs_of_noise(), pairs_of_noise(lost=(3, 7, NUM + 5))
    there = np.isin(whole.members, fewer.members)
    np.testing.assert_array_equal(fewer.sets, whole.sets[there])
    np.testing.assert_array_equal(fewer._generated().mean, whole._generated().mean[there])
    for name, query in whole.queries.items():
        pairs = whole.members[query.sets][query.pairs]
        kept = np.isin(pairs, fewer.members).all(axis=0)
        other = fewer.queries[name]
        np.testing.assert_array_equal(fewer.members[other.sets][other.pairs], pairs[:, kept])
        np.testing.assert_allclose(other.apart, query.apart[kept], rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"fewer than two tested members of \['seen'\]"):
        pairs_of_noise(lost=tuple(range(NUM - 1)))


def test_a_metric_called_like_a_mixture_is_no_class():
    table = pd.DataFrame({"mixture_a": [0.25], "mixture_b": [0.75], "gaussian_mixture_nll": [3.0]})
    zoo = Zoo({}, {}, table.assign(mixture_c=9.0), {"classes": ["b", "a"]})
    np.testing.assert_array_equal(mixtures(zoo), [[0.75, 0.25]])
    with pytest.raises(ValueError, match="no mixture_d; its manifest has the classes a, d"):
        mixtures(zoo._replace(manifest={"classes": ["a", "d"]}))


def test_the_page_and_the_table_have_one_random_partner(tmp_path):
    run = write_fake_run(tmp_path / "run", seed=3)
    read = contents.read_contents(run)
    drawn = contents.predict(read)
    table = store.read_table(run.encoder("graph/graph/n_pair") / "embeddings.parquet")
    embeddings = table.filter(like="embedding_").to_numpy()
    members = read.members
    numbers = members["triplet"].to_numpy()
    rows = np.array([np.flatnonzero(numbers == t) for t in range(numbers.max() + 1)])
    exact = read.mixtures(members.index)
    predictions = evaluate.Predictions(embeddings, exact, embeddings[rows], exact[rows])
    measured = evaluate.composition(predictions, None, seed=3)
    assert drawn.random_deg.mean() == pytest.approx(measured["composition_random_deg_mean"])
    assert drawn.composed_deg.mean() == pytest.approx(measured["composition_deg_mean"])


def test_the_literal_sum_stands_beside_the_mean_of_proportions():
    """(1, 0) and (½, ½): the union is (¾, ¼) at 18.43°, the literal sum at 22.5°."""
    p = np.array([[[1, 0], [0.5, 0.5], [0.75, 0.25]]] * 2)
    vectors = to_sphere(p)
    predictions = evaluate.Predictions(vectors[:, 0], p[:, 0], vectors, p)
    found = evaluate.composition(predictions, None, seed=0)
    off = 22.5 - np.rad2deg(np.arctan(1 / 3))
    for name in ("sum_deg_mean", "sum_deg_median", "sum_random_deg_mean", "sum_exact_deg_mean"):
        assert found[f"composition_{name}"] == pytest.approx(off)
    assert found["composition_deg_mean"] == pytest.approx(0, abs=1e-9)
    assert off == pytest.approx(angle_deg(vectors[0, 0] + vectors[0, 1], vectors[0, 2]))
    blind = evaluate.composition(predictions._replace(triplet_mixtures=None), None, seed=0)
    assert set(found) - set(blind) == {"composition_sum_exact_deg_mean"}
    before = {"angle_deg_mean": 1.0, "composition_deg_mean": 2.0}  # a file of before has two
    text = results_table({"encoders": {"new": before | found, "old": before}})
    assert "exact sum °" in text and text.count("–") == 3
