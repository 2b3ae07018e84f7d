"""Randomness and splits: noise that only own pairs share, positions in place of names, columns."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from fake_run import write_fake_run
from ml_collections import ConfigDict

from configs import cifar10, families
from experiments import controls
from experiments.banks import Bank
from experiments.encoders import mixtures
from experiments.families import readers
from experiments.pairs import TestPairs
from experiments.setup import Setup, cells_of, splits
from genvec import evaluate, store
from genvec.geometry import angle_deg, to_sphere
from genvec.mixtures import assign_splits, pure_mixtures
from genvec.report import contents, families_table, results_table
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


def test_every_cell_has_members_enough_to_choose_a_step_by():
    """Cells of 64 members had one val member, and 256 had seven."""
    config = families.get_config()
    split = splits(config)
    assert [len(part) for part in split[:3]] == [4_250, 250, 500]
    for name, cell in config.zoo.cells.items():
        last = cell.get("members", 0) or config.mixtures.num
        assert np.sum(split.val < last) >= 50 and np.sum(split.test < last) >= 50, name
        assert np.sum(split.train < last) >= 200, name


def test_splits_without_first_members_are_as_before():
    args = {"val_fraction": 0.1, "test_fraction": 0.2, "num_triplets": 2}
    split = assign_splits(0, 20, **args)
    assert split.val.tolist() == [17, 18] and split.test.tolist() == [1, 9, 14, 15]
    first = assign_splits(0, 20, **args, first={"num": 6, "val": 2, "test": 1})
    assert (first.val < 6).all() and len(first.val) == 2 and len(first.test) == 4
    assert np.sum(first.test < 6) == 1
    together = np.concatenate([first.train, first.val, first.test])
    np.testing.assert_array_equal(np.sort(together), np.arange(20))
    with pytest.raises(ValueError, match=r"first is 3 val and 1 test of the first 6 members; in"):
        assign_splits(0, 20, **args, first={"num": 6, "val": 3, "test": 1})


def test_a_cell_is_read_by_what_suits_its_family():
    config = families.get_config()
    cells = cells_of(config, (8, 8, 1))
    read = {name: readers(config, name, cell) for name, cell in cells.items()}
    fixed = ("histogram", "gaussian_mixture", "hyper_vae")
    assert {read[name] for name in (*families.AUTOENCODERS, *fixed)} == {("graph",)}
    assert read["wgan"] == read["pca"] == read["inr"] == ("moments",)
    config.reads.histogram = ("moments",)  # a cell's own come first
    assert readers(config, "histogram", cells["histogram"]) == ("moments",)


def test_members_of_one_image_are_of_one_class():
    mixtures = np.tile(np.array([0.2, 0, 0.8, 0], np.float32), (4_000, 1))
    pure = pure_mixtures(jax.random.key(0), mixtures)
    assert set(np.unique(pure)) == {0, 1} and (pure.sum(axis=1) == 1).all()
    np.testing.assert_allclose(pure.mean(axis=0), mixtures[0], atol=0.03)
    assert not pure[:, [1, 3]].any()
    np.testing.assert_array_equal(pure_mixtures(jax.random.key(0), mixtures[:7]), pure[:7])
    embeddings = np.array([[0.6, 0.8], [1, 0], [0.8, 0.6]])
    single = evaluate.Predictions(embeddings, np.eye(2)[[1, 0, 1]])
    scored = evaluate.single_classes(single, None, 0)
    assert scored == {"class_accuracy": pytest.approx(2 / 3)}
    mixed = np.array([[0, 1], [1, 0], [0.5, 0.5]])
    assert evaluate.single_classes(evaluate.Predictions(embeddings, mixed), None, 0) == {}


def test_the_families_table_says_on_how_many_members_its_numbers_stand():
    num = {"train": 200, "val": 60, "test": 59}
    text = families_table({"families": {"inr": {"num_members": num, "class_accuracy": 0.5}}})
    heading, _, row = (line.split("|") for line in text.splitlines())
    values = dict(zip(map(str.strip, heading), map(str.strip, row), strict=True))
    assert (values["trained on"], values["chosen on"], values["tested on"]) == ("200", "60", "59")
    assert values["class %"] == "50"


def test_counts_are_calibrated_on_all_train_members_of_photographs():
    for variant in ("", "small", "shared", "ae"):
        config = cifar10.get_config(variant)
        assert config.controls.num_calibration >= len(splits(config).train), variant


@pytest.mark.parametrize("few", [None, 20])
def test_members_count_by_their_indices_and_calibrate_by_fewer_samples(monkeypatch, few):
    """A member's own noise is its count here: the first variable of its key, and how many."""
    asked = []

    def counted(keys, params, state, *, num_samples, **_):
        asked.append((np.asarray(jax.vmap(jax.random.uniform)(keys)), num_samples))
        return np.tile([0.5, 0.5], (len(keys), 1))

    monkeypatch.setattr(controls, "sampled_proportions", counted)
    classifier = SimpleNamespace(apply=len, variables=())
    monkeypatch.setattr(controls, "load_counter", lambda *_: classifier)
    settings = {"num_calibration": 50, **({"calibration_samples": few} if few else {})}
    config = ConfigDict({"seed": 0, "controls": settings})
    setup = SimpleNamespace(family=SimpleNamespace(sample=None))

    def noise(lost):
        asked.clear()
        member = np.setdiff1d(np.arange(12), lost)
        table = pd.DataFrame({"member": member, "triplet": -1, "mixture_a": member / 12})
        table["split"] = np.array(["train", "val", "test"])[member % 3]
        table["mixture_b"] = 1 - table["mixture_a"]
        zoo = Zoo({"w": member}, {}, table, {"classes": ["a", "b"]})
        controls._sampling(config, None, setup, zoo, controls.TestMembers(zoo, 0), 30)
        assert [num for _, num in asked] == [few or 30, 30]
        order = np.concatenate([member[member % 3 == role] for role in range(3)])
        return dict(zip(order.tolist(), np.concatenate([x for x, _ in asked]), strict=True))

    whole, fewer = noise([]), noise([1, 5])
    assert len(whole) == 12 and fewer == {i: x for i, x in whole.items() if i not in (1, 5)}
