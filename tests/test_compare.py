"""Representations against objectives end to end, on digits, and zoos of other architectures."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import script

from configs.mnist import get_config
from experiments.encoders import rates_to_try, seed_folder
from experiments.evaluate import mean_embeddings
from experiments.setup import check
from genvec.store import RunFolder, write_jsonl

ENSEMBLE = "graph/graph/mse + aligned/mlp/mse"
CONFIG = """
from configs.mnist import get_config as mnist

def get_config():
    config = mnist("compare,smoke")
    config.name = "compared"
    config.data.name = "digits"
    config.classes.choose = "1,4,5"
    config.zoo.family.args = {"hidden": (8,), "latent": 2}
    kept = ("aligned_mlp", "tokens_set", "tokens_transformer", "member_probes", "graph_graph")
    config.encoders = {
        name: entry
        for name, entry in config.encoders.items()
        if name in {f"{start}_mse" for start in kept} | {"aligned_mlp_distance"}
    }
    config.ensembles = {"two": ("graph_graph_mse", "aligned_mlp_mse")}
    config.encoders.aligned_mlp_mse.seeds = (0, 1)
    config.encoders.aligned_mlp_mse.train.update(
        {"learning_rate": (1e-5, 1e-2), "batch_size": 64}  # all members: no noise in the steps
    )
    return config
"""


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    config = folder / "config.py"
    config.write_text(CONFIG)
    result = script("run", f"--config={config}", f"--workdir={folder}/run")
    assert result.returncode == 0, result.stderr[-3000:]
    return folder / "run", config, result.stdout


def test_every_reader_with_every_objective(compared):
    run, _, printed = compared
    encoders = json.loads((run / "metrics.json").read_text())["encoders"]
    assert len(encoders) == 5 + 1 + 1
    assert {name for name in encoders if " + " in name} == {ENSEMBLE}
    assert (encoders["aligned/mlp/mse"]["num_seeds"], encoders[ENSEMBLE]["num_seeds"]) == (2, 1)
    assert {name for name in encoders if encoders[name]["runs_member"]} == {"member/probes/mse"}
    assert "member/probes/mse ▸" in printed and "▸ runs the member" in printed
    page = (run / "report.html").read_text()
    table = page[page.index('id="comparison"') : page.index('id="distances"')]
    # both tasks: the vector, and the distance of two models
    assert table.count("<td") == 2 * 5 * 2 and table.count("train ") == 2 * 6
    assert table.count("–") == 2 * 4 and len(re.findall(r"member/probes ▸", table)) == 2
    values = encoders["aligned/mlp/distance"]
    angle, distance = values["angle_deg_mean"], values["distance_mae"]
    assert f">{angle:.2f}°<" in table and f">{distance:.3f}<" in table
    kept = script("table", run / "metrics.json").stdout
    assert f"**{distance:.3f}** ({values['train_distance_mae']:.3f})" in kept, "alone in its column"


def test_the_better_learning_rate_is_kept(compared):
    run, _, _ = compared
    log = run / "encoders" / "aligned--mlp--mse" / "seed_0" / "log.jsonl"
    rates = {json.loads(line)["learning_rate"] for line in log.read_text().splitlines()}
    assert rates == {0.01}, "twenty steps of 1e-5 change nothing"


def test_other_seeds_take_the_learning_rate_of_the_first(tmp_path):
    run = RunFolder(tmp_path)
    entry = get_config("compare").encoders.aligned_mlp_mse
    entry.train.learning_rate = (1e-3, 3e-3)
    write_jsonl(seed_folder(run, entry, 0) / "log.jsonl", [{"step": 1, "learning_rate": 1e-3}])
    assert rates_to_try(run, entry, 0) == (1e-3, 3e-3)
    assert rates_to_try(run, entry, 1) == (1e-3,)


def test_embed_gives_what_the_run_has_embedded(compared, tmp_path):
    run, _, _ = compared
    out = tmp_path / "embeddings.parquet"
    result = script("embed", f"--zoo={run}/zoo", "--encoder=graph/graph/mse", f"--out={out}")
    assert result.returncode == 0, result.stderr[-3000:]
    found = pd.read_parquet(out)
    own = pd.read_parquet(run / "encoders" / "graph--graph--mse" / "embeddings.parquet")
    assert found["member"].tolist() == own["member"].tolist()
    columns = [f"embedding_{k}" for k in range(3)]
    np.testing.assert_allclose(found[columns], own[columns], rtol=1e-4)


def test_an_ensemble_is_the_mean_on_the_sphere(compared, tmp_path):
    run, _, _ = compared
    columns = [f"embedding_{k}" for k in range(3)]
    found = {}
    for name in ("graph/graph/mse", "aligned/mlp/mse", ENSEMBLE):
        out = tmp_path / "embeddings.parquet"
        result = script("embed", f"--zoo={run}/zoo", f"--encoder={name}", f"--out={out}")
        assert result.returncode == 0, result.stderr[-3000:]
        found[name] = pd.read_parquet(out)[columns].to_numpy()
    own = pd.read_parquet(run / "encoders" / ENSEMBLE.replace("/", "--") / "embeddings.parquet")
    np.testing.assert_allclose(found[ENSEMBLE], own[columns], rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(own[columns], axis=1), 1, rtol=1e-5)
    parts = {0: found["graph/graph/mse"]}, {0: found["aligned/mlp/mse"], 1: None}
    joint = mean_embeddings(parts)
    assert list(joint) == [0], "the seed that both have"
    middle = (parts[0][0] + parts[1][0]) / 2
    np.testing.assert_allclose(joint[0], middle / np.linalg.norm(middle, axis=1, keepdims=True))
    assert np.abs(joint[0] - middle).max() > 1e-6, "control: the plain mean is inside the sphere"


@pytest.mark.parametrize("keys", [("graph",), ("graph", "latent_mean")])
def test_an_ensemble_needs_two_encoders_with_a_common_seed(keys):
    config = get_config("smoke")
    config.data.name, config.classes.choose = "digits", "1,4,5"
    config.encoders.latent_mean.seeds = (1,)
    check(config)
    config.ensembles.weights = keys
    with pytest.raises(ValueError, match=r"config.ensembles: weights is .* common seed"):
        check(config)


def test_a_zoo_of_another_architecture(compared, tmp_path):
    run, config, _ = compared
    wide, deep = tmp_path / "wide", tmp_path / "deep"
    for folder, hidden in ((wide, "(12,)"), (deep, "(8, 6)")):
        extra = (f"--workdir={folder}", f"--config.zoo.family.args.hidden={hidden}")
        for stage in ("classes", "zoo"):
            result = script(stage, f"--config={config}", *extra)
            assert result.returncode == 0, result.stderr[-2000:]

    def embed(folder, encoder):
        return script("embed", f"--zoo={folder}/zoo", f"--run={run}", f"--encoder={encoder}")

    accepted = embed(wide, "graph/graph/mse")
    assert accepted.returncode == 0, accepted.stderr[-2000:]
    assert "it now reads vae" in accepted.stdout
    assert len(pd.read_parquet(wide / "embeddings.parquet")) == 64 + 6
    refused = embed(wide, "aligned/mlp/mse")
    assert refused.returncode == 1 and "an encoder of vectors knows one" in refused.stderr
    refused = embed(deep, "graph/graph/mse")
    assert refused.returncode == 1 and "other groups of neurons" in refused.stderr
    unknown = embed(wide, "graph/graph/msee")
    assert unknown.returncode == 1 and "unknown encoder 'graph/graph/msee'" in unknown.stderr
