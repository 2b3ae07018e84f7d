"""Models and data sets in one space: distances by hand, and the scripts end to end."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from conftest import random_params, script
from PIL import Image

from configs.unseen import get_config
from experiments.finished import matched_encoders
from experiments.matching import check_matching
from genvec import matching, quality
from genvec.evaluate import retrieved
from genvec.mixtures import spread, unseen_mixtures
from genvec.networks import initialise
from genvec.represent import Context, graph
from genvec.store import StoreError, save_tree


def test_sums_need_triplets():
    config = get_config("smoke")
    check_matching(config)
    config.mixtures.num_triplets = 0
    with pytest.raises(ValueError, match=r"num_triplets is 0; .* needs at least 2 triplets"):
        check_matching(config)


def test_retrieved_by_hand():
    distances = np.array([[1.0, 2, 3], [1, 2, 3], [1, 1, 1]])  # ranks 1, 2 and (a tie) 3
    found = retrieved(distances)
    assert found == {"r1": 1 / 3, "r5": 1.0, "mrr": pytest.approx((1 + 1 / 2 + 1 / 3) / 3)}
    assert retrieved(np.ones((10, 10))) == {"r1": 0.0, "r5": 0.0, "mrr": 0.1}


def test_unseen_mixtures():
    mixtures = unseen_mixtures(jax.random.key(0), 500, 5, [1, 3], alpha=0.5)
    np.testing.assert_allclose(mixtures.sum(axis=1), 1, rtol=1e-5)
    share = mixtures[:, [1, 3]].sum(axis=1)
    assert share.min() >= 0.2 and share.max() <= 1 and 0.57 < share.mean() < 0.63
    assert (mixtures >= 0).all()
    np.testing.assert_array_equal(spread(np.array([[0.4, 0.6]]), [2, 0], 3), [[0.6, 0, 0.4]])


def test_contrast_wants_each_model_with_its_own_data_set_and_sums_with_unions():
    model, other = np.eye(4, 8), np.eye(4, 8, k=4)  # all at right angles
    union = (model + other) / np.sqrt(2)
    objective = matching.contrast(temperature=0.1)

    def loss(own, union):
        return float(objective(jnp.stack([model, own, other, union], axis=1), None))

    found = np.log(1 + 3 * np.exp(-10.0))  # N-pair of four, all others at right angles
    assert loss(model, union) == pytest.approx(2 * found, rel=1e-3)
    turned = np.roll(model, 1, axis=0), np.roll(union, 1, axis=0)
    assert loss(turned[0], union) == pytest.approx(10 + 2 * found, rel=1e-3)
    assert loss(model, turned[1]) == pytest.approx(10 + 2 * found, rel=1e-3)


def test_before_training_a_set_is_its_moments():
    encoder, key = matching.DatasetEncoder(8), jax.random.key(0)
    x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    # of another shape, with the same means and standard deviations
    sign = np.where(np.arange(40) < 20, -1, 1)[:, None]
    twin = (x.mean(axis=0) + sign * x.std(axis=0)).astype(np.float32)
    variables = initialise(encoder, key, x)
    np.testing.assert_allclose(
        encoder.apply(variables, x), encoder.apply(variables, twin), atol=1e-5
    )
    params = dict(variables["params"])
    kernel = jax.random.normal(key, params["correct"]["kernel"].shape)
    params["correct"] = {**params["correct"], "kernel": kernel}
    trained = [encoder.apply({"params": params}, inputs) for inputs in (x, twin)]
    assert np.abs(trained[0] - trained[1]).max() > 1e-3


def test_distances_against_loops():
    rng = np.random.default_rng(0)
    first, second = ((rng.normal(size=(n, 3)), rng.random((n, 3)) + 0.5) for n in (4, 5))
    found = matching.moment_distances(first, second)
    scale = [column.std(axis=0) for column in second]
    for i in range(4):
        for j in range(5):
            parts = [(first[m][i] - second[m][j]) / scale[m] for m in range(2)]
            assert found[i, j] == pytest.approx(np.sqrt(sum((p**2).sum() for p in parts)))
    samples = jnp.asarray(rng.normal(size=(4, 30, 3)))
    moments = jax.vmap(quality.gaussian_moments)(samples)
    found = matching.frechet_distances(moments, moments)
    alone = quality.frechet_distance(*(jax.tree.map(lambda x, i=i: x[i], moments) for i in (1, 2)))
    assert found[1, 2] == pytest.approx(float(alone), rel=1e-4)
    assert abs(np.diagonal(found)).max() < 1e-3 < found[1, 2]


def test_sums_beside_strangers():
    rng = np.random.default_rng(0)
    first, second = (
        x / np.linalg.norm(x, axis=-1, keepdims=True) for x in rng.normal(size=(2, 20, 8))
    )
    union = (first + second) / np.linalg.norm(first + second, axis=-1, keepdims=True)
    found = matching.sum_angles(np.stack([first, second, union], axis=1), seed=0)
    assert found["composition_deg_median"] < 1e-3 < 20 < found["composition_random_deg_median"]


def test_nearest():
    items = np.array([[1.0, 0], [0, 1], [0.8, 0.6]])
    assert matching.nearest(np.array([1.0, 0]), items, 2) == [(0, 1.0), (2, 0.8)]


def test_both_encoders_end_on_the_sphere_and_a_set_has_no_order(family):
    params, state = random_params(family)
    context = Context(family.spec, family.encode, jnp.empty(0))
    images = jax.random.normal(jax.random.key(1), (9, 5))
    pair = {"weights": graph(params, state, context)}, images[None]
    module = matching.PairEncoder(family.spec, 32)
    variables = initialise(module, jax.random.key(0), pair)
    both = module.apply(variables, pair)
    np.testing.assert_allclose(jnp.linalg.norm(both, axis=-1), 1, rtol=1e-5)
    turned = module.apply(variables, (pair[0], images[None, ::-1]))
    np.testing.assert_allclose(turned, both, atol=1e-5)
    other = module.apply(variables, (pair[0], images[None] + 1))
    assert not np.allclose(other[1], both[1], atol=1e-3), "control: other images"
    np.testing.assert_array_equal(
        module.apply(variables, images, method=matching.PairEncoder.embed_dataset), both[1]
    )


def test_generated_images_are_read_as_data_are(family):
    params, state = random_params(family)
    weights = graph(params, state, Context(family.spec, family.encode, jnp.empty(0)))
    images, data = jax.random.normal(jax.random.key(1), (2, 9, 5))
    module = matching.PairEncoder(family.spec, 32, width=8, readout=16)
    variables = initialise(
        module, jax.random.key(0), ({"weights": weights, "samples": images}, data[None])
    )

    def embed(**read):
        return module.apply(variables, read, method=matching.PairEncoder.embed_model)

    own = module.apply(variables, images, method=matching.PairEncoder.embed_dataset)
    np.testing.assert_allclose(embed(samples=images), own, atol=1e-6)
    middle = embed(weights=weights) + own
    joint = embed(weights=weights, samples=images)
    np.testing.assert_allclose(joint, middle / jnp.linalg.norm(middle), atol=1e-6)
    assert np.abs(joint - own).max() > 1e-3, "control: the weights count"


def test_errors_move_a_model_and_at_first_linearly(family):
    errors, data = jax.random.normal(jax.random.key(1), (3, 7)), jnp.ones((1, 9, 5))
    module = matching.PairEncoder(family.spec, 32)
    variables = initialise(module, jax.random.key(0), ({"reconstruction": errors[0]}, data))

    def embed(x):
        read = {"reconstruction": x}
        return module.apply(variables, read, method=matching.PairEncoder.embed_model)

    kernel = variables["params"]["errors"]["project"]["kernel"]
    middle = (errors[0] + errors[1]) @ kernel
    np.testing.assert_allclose(
        embed(errors[0] + errors[1]), middle / jnp.linalg.norm(middle), atol=1e-5
    )
    assert np.abs(embed(errors[0]) - embed(errors[2])).max() > 1e-3, "control: other errors"


def test_a_family_that_gives_no_images_back():
    config = get_config("reconstruction,smoke")
    check_matching(config)
    config.zoo.family = {"name": "wgan", "args": {}}
    config.zoo.hparams = {"learning_rate": 1e-3}
    with pytest.raises(ValueError, match="reads has reconstruction, and a wgan gives no images"):
        check_matching(config)


@pytest.mark.parametrize("reads", [(), ("weights", "gradients")])
def test_what_cannot_be_read(reads):
    config = get_config("smoke")
    config.matching.reads = reads
    with pytest.raises(ValueError, match=r"reads is .*; allowed: some of weights, samples, recon"):
        check_matching(config)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The smoke variant of configs/unseen.py, reading all that may be read."""
    folder = tmp_path_factory.mktemp("unseen")
    result = script("matching", "--config=configs/unseen.py:all,smoke", f"--workdir={folder}")
    assert result.returncode == 0, result.stderr[-3000:]
    return folder, result.stdout


def test_members_with_unseen_classes_are_in_no_other_split(run):
    folder, printed = run
    members = pd.read_parquet(folder / "zoo" / "vae" / "members.parquet")
    share = members[["mixture_3", "mixture_8"]].sum(axis=1)
    assert (share[members["split"] == "unseen"] >= 0.2).all()
    assert (share[members["split"] != "unseen"] == 0).all()
    assert (members["split"] == "unseen").sum() == 8
    metrics = json.loads((folder / "matching" / "metrics.json").read_text())
    for values in (metrics["encoder"], *metrics["controls"].values()):
        assert set(values["retrieval_unseen"]) >= {"r1", "r5", "mrr"}
    assert {"moments of samples", "FID"} == set(metrics["controls"])
    assert "unseen R@1 %" in printed and "moments of samples" in printed
    assert "encoder of weights + samples + reconstruction" in printed


def test_retrieval_is_kept_beside_what_another_run_has_measured(run, tmp_path):
    folder, _ = run
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text('{"dataset": "digits", "encoders": {}}')
    result = script("keep", second, first, folder)
    assert result.returncode == 0, result.stderr
    kept, metrics = (json.loads(p.read_text()) for p in (second, folder / "matching/metrics.json"))
    read = "weights + samples + reconstruction"
    assert kept["dataset"] == "digits" and set(kept["retrieval_unseen"]) == {
        f"encoder of {read}", "moments of samples", "FID"
    }  # fmt: skip
    for part in ("retrieval_seen", "retrieval_unseen"):
        assert kept[part]["FID"] == metrics["controls"]["FID"][part]
        assert kept[part][f"encoder of {read}"] == metrics["encoder"][part]
    assert kept["retrieval_seen"] != kept["retrieval_unseen"]
    assert "--workdir" in metrics["environment"]["command"]
    assert not any("workdir" in run["command"] for run in kept["retrieval_environments"])
    result = script("keep", first, folder)
    assert result.returncode == 0 and json.loads(first.read_text())["controls"], "kept whole"
    result = script("keep", second, first, tmp_path)
    assert result.returncode == 1 and str(tmp_path) in result.stderr, "nothing was matched there"


def test_search_by_a_folder_and_by_a_part_of_a_data_set(run, tmp_path):
    from genvec.data import load_dataset

    folder, _ = run
    dataset = load_dataset("digits")
    query = tmp_path / "query"
    query.mkdir()
    for number, image in enumerate(dataset.heldout_images[dataset.heldout_labels == 3][:5]):
        Image.fromarray(image[..., 0]).save(query / f"{number}.png")
    (query / "notes.txt").write_text("no image")
    page = tmp_path / "page.html"
    asked = (f"--zoo={folder}/zoo", "--num=3", f"--page={page}")
    result = script("search", *asked, f"--query={query}")
    assert result.returncode == 0, result.stderr[-3000:]
    assert "skipped notes.txt: no whole image of a known format" in result.stdout
    assert result.stdout.count("member ") == 3
    html = page.read_text()
    assert html.count("data:image/png") == 4 and "5 images" in html
    assert "its weights and images that it generates and how well" in " ".join(html.split())
    result = script("search", *asked, "--query=digits:heldout:3,8")
    assert result.returncode == 0 and result.stdout.count("member ") == 3


@pytest.mark.parametrize("before", ["moments were read", "normalisers had names"])
def test_encoders_of_an_earlier_version(run, tmp_path, before):
    saved = matched_encoders(run[0] / "matching" / "seed_0")
    assert set(saved["normalisers"]) == {"weights", "reconstruction"}
    if before == "moments were read":
        del saved["params"]["dataset"]["project"]
    else:
        saved["normaliser"] = saved.pop("normalisers")["weights"]
    save_tree(tmp_path / "seed_0" / "trained", saved)
    with pytest.raises(StoreError, match=f"remove {tmp_path} and train them again"):
        matched_encoders(tmp_path / "seed_0")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("digits:test", "'test' is no part of a data set; known: train, heldout"),
        ("digits:heldout:zebra", "unknown class of digits 'zebra'"),
        ("nowhere", "nowhere is not a folder"),
    ],
)
def test_a_query_that_is_none(run, query, message):
    result = script("search", f"--zoo={run[0]}/zoo", f"--query={query}")
    assert result.returncode == 1 and message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_zoo_without_a_common_space(tmp_path):
    result = script("search", f"--zoo={tmp_path}/zoo", "--query=x")
    assert result.returncode == 1 and "holds no zoo" in result.stderr
