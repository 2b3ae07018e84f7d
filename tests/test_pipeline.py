"""End to end at smoke size: the whole chain, its second run, a kill in the middle, bad input."""

import importlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import genvec
from configs.digits import VARIANTS
from configs.digits import get_config as digits
from configs.mnist import get_config as mnist
from configs.unseen import PHOTOGRAPHED
from configs.unseen import get_config as unseen
from experiments import classes, setup
from experiments.errors import USER_ERRORS
from experiments.settings import config_of
from experiments.setup import check
from genvec.classes import CLASSIFIERS, classifier_from, predict
from genvec.data import Dataset, load_dataset
from genvec.objectives import weighted_sum
from genvec.store import RunFolder, load_tree, read_json

ROOT = Path(__file__).parent.parent
METRICS = {
    "angle_deg_mean",
    "angle_deg_median",
    "mixture_mae",
    "distance_spearman",
    "distance_mae",
    "retrieval_r1",
    "retrieval_mrr",
    "n_leaked",
    "composition_deg_mean",
    "composition_deg_median",
    "composition_random_deg_mean",
}


def command(*args):
    return [sys.executable, "-m", *args]


def run(workdir, *extra, module="experiments.run", config="configs/digits.py:smoke"):
    return subprocess.run(
        command(module, f"--config={config}", f"--workdir={workdir}", *extra),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    result = run(workdir)
    assert result.returncode == 0, result.stderr[-3000:]
    return workdir, result


def test_metrics_have_the_promised_form(finished):
    workdir, _ = finished
    metrics = json.loads((workdir / "metrics.json").read_text())
    assert {"dataset", "classes", "init", "num_members", "controls", "encoders"} <= set(metrics)
    assert {"classes", "zoo", "encoders", "evaluation", "total"} <= set(metrics["timings_s"])
    assert {"train", "val", "test"} <= set(metrics["num_members"])
    assert len(metrics["classes"]) == 3
    assert set(metrics["encoders"]["graph/graph/mse"]) >= METRICS
    for name, values in metrics["controls"].items():
        lacking = {metric for metric in METRICS if metric.startswith("composition")}
        assert METRICS - set(values) <= (lacking if "samples" in name else set()), name
    assert len(metrics["controls"]) == 9


def test_the_table_is_printed_and_the_report_written(finished):
    workdir, result = finished
    assert "graph/graph/mse" in result.stdout and "ridge on flat" in result.stdout
    page = (workdir / "report.html").read_text()
    assert "graph/graph/mse" in page and len(page) > 500_000


def test_the_zoo_is_there_for_an_analyst(finished):
    workdir, _ = finished
    zoo = genvec.load_zoo(workdir / "zoo", split="test")
    assert zoo.params["decoder"]["dense_1"]["kernel"].shape == (16, 32, 64)
    mixtures = zoo.members.filter(like="mixture_").to_numpy()
    np.testing.assert_allclose(mixtures.sum(1), 1, rtol=1e-5)
    assert {"elbo", "reconstruction", "vae_loss", "finite", "learning_rate"} <= set(zoo.members)
    sums = genvec.load_zoo(workdir / "zoo", split="sum").members
    for _, row in sums.iterrows():
        parts = zoo.members[zoo.members["triplet"] == row["triplet"]].filter(like="mixture_")
        np.testing.assert_allclose(
            parts.to_numpy().mean(0), row.filter(like="mixture_").to_numpy(float), rtol=1e-5
        )


def test_a_second_run_does_nothing_again(finished):
    workdir, _ = finished
    files = {p: p.stat().st_mtime_ns for p in workdir.rglob("*.json")}
    start = time.perf_counter()
    assert run(workdir).returncode == 0
    assert time.perf_counter() - start < 60
    changed = {p.name for p, then in files.items() if p.stat().st_mtime_ns != then}
    assert changed <= {"timings.json"}  # the report is drawn anew


def test_another_config_is_refused_with_the_difference(finished):
    workdir, _ = finished
    result = run(workdir, "--config.zoo.steps=41")
    assert result.returncode != 0
    assert "zoo.steps: 40 in the folder, 41 now" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_killed_run_ends_in_the_same_zoo(finished, tmp_path):
    workdir, _ = finished
    assert run(tmp_path, module="experiments.classes").returncode == 0
    process = subprocess.Popen(
        command("experiments.zoo", "--config=configs/digits.py:smoke", f"--workdir={tmp_path}"),
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    first = tmp_path / "zoo" / "vae" / "segments" / "00000.json"
    deadline = time.monotonic() + 300
    while not first.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert first.exists()
    assert run(tmp_path, module="experiments.zoo").returncode == 0
    whole, resumed = (genvec.load_zoo(path / "zoo") for path in (workdir, tmp_path))
    assert [s for s in whole.manifest["segments"]] == [s for s in resumed.manifest["segments"]]
    assert whole.members.drop(columns="vae_loss_curve").equals(
        resumed.members.drop(columns="vae_loss_curve")
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "--config.data.name=minst",
            "config.data: unknown dataset 'minst'; known: cifar10, digits",
        ),
        ("--config.zoo.family.name=gan", "unknown family 'gan'; known: aae, ae, bayesian_pca"),
        ("--config.encoders.graph.encoder.name=gnn", "unknown encoder 'gnn'; known: graph, mlp"),
        ("--config.encoders.graph.representation=svd", "unknown representation 'svd'"),
        ("--config.classes.num=11", "config.classes: 11 classes of digits; allowed: 2..10"),
        ("--config.classes.choose=1,12", "unknown class of digits '12'; known: 0, 1, 2"),
        ("--config.classes.choose=1,1", "class '1' is given twice"),
        ("--config.mixtures.num=0", "config.mixtures: 0 members"),
        ("--config.mixtures.alpha=0.0", "alpha is 0.0"),
        ("--config.mixtures.val_fraction=0.0", "train and val need one"),
        ("--config.zoo.steps=-5", "steps is -5"),
        ("--config.controls.num_calibration=0", "config.controls: num_calibration is 0"),
        ("--config.encoders.moments.representation=latent_mean", "stands there twice"),
        ("--config.zoo.init=common", "unknown init 'common'"),
        ("--config.zoo.hparams.beta=-1.0", "beta is -1.0"),
        ("--config.data.name=cifar10", "tfds.builder('cifar10'"),
        ("--config.zoo.stepz=5", "stepz"),
    ],
)
def test_bad_input_is_one_message_before_any_compute(tmp_path, monkeypatch, override, message):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    with pytest.raises(USER_ERRORS, match=re.escape(message)):
        check(config_of(["--config=configs/digits.py:smoke", override]))


def test_bad_input_leaves_no_run_folder(tmp_path):
    result = run(tmp_path / "run", "--config.zoo.steps=-5")
    assert result.returncode == 1
    assert result.stderr.startswith("error: config.zoo: steps is -5")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_explicit_classes_need_no_resnet(tmp_path):
    extra = ("--config.classes.choose=4,1", "--config.classifiers.counter.train.num_steps=2")
    result = run(tmp_path, *extra, module="experiments.classes")
    assert result.returncode == 0, result.stderr[-2000:]
    chosen = json.loads((tmp_path / "classes.json").read_text())
    assert (chosen["classes"], chosen["indices"]) == (["4", "1"], [4, 1])
    assert chosen["distances"] is None and not (tmp_path / "classifiers" / "chooser").exists()


def test_without_a_counter_the_chooser_counts(tmp_path):
    config = digits("smoke")
    del config.classifiers.counter
    run = RunFolder(tmp_path)
    classes.run_stage(config, run)
    chosen = read_json(run.classes)
    assert set(chosen["classifier_accuracy"]) == {"chooser"}
    images = load_dataset("digits").heldout_images[:4]
    chooser = classifier_from(
        CLASSIFIERS["resnet"](10, **config.classifiers.chooser.args),
        load_tree(run.classifiers / "chooser"),
    )
    counter = classes.load_counter(config, run)
    logits = predict(chooser, images)[:, chosen["indices"]]
    np.testing.assert_allclose(predict(counter, images), logits, rtol=1e-4, atol=1e-5)
    # what is trained is not trained again
    run.classes.unlink()
    config.classifiers.chooser.train.num_steps = 10**9
    classes.run_stage(config, run)
    assert read_json(run.classes)["distances"] == chosen["distances"]


def test_classes_never_seen_need_a_counter_of_their_own():
    config = unseen("smoke")
    check(config)
    config.classifiers = {"chooser": config.classifiers.counter}
    with pytest.raises(ValueError, match="counter that has not seen them"):
        check(config)


def test_unknown_objective_and_variant_list_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown variant.*known: full, shared"):
        digits("fulll")
    for variant in ("", *VARIANTS, "ae,few", "shared,smoke"):
        assert digits(variant).name.startswith("digits")
    # one says how many members, the other of which kind
    orders = mnist("shared,ae"), mnist("ae,shared")
    assert orders[0].mixtures == orders[1].mixtures == mnist("shared").mixtures
    with pytest.raises(KeyError, match="known: cosine, distance, mse, n_pair, triplet"):
        weighted_sum({"npair": 1.0})


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10", "unseen"])
def test_every_variant_of_a_config_holds_together(name, monkeypatch):
    module = importlib.import_module(f"configs.{name}")

    def blank(dataset, **_):
        names = PHOTOGRAPHED.split(",") if dataset == "cifar10" else "0123456789"
        shape = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "cifar10": (32, 32, 3)}[dataset]
        images, labels = np.zeros((20, *shape), np.uint8), np.arange(20) % 10
        return Dataset(dataset, tuple(names), images, labels, images, labels)

    monkeypatch.setattr(setup, "load_dataset", blank)
    for variant in ("", *module.VARIANTS):
        check(config := module.get_config(variant))
    config.mixtures.num_triplets = config.mixtures.num
    with pytest.raises(ValueError, match=r"config.mixtures: .* triplets need"):
        check(config)


def test_the_analysis_notebook_runs_on_the_finished_run(finished, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    from nbclient import NotebookClient

    monkeypatch.setenv("GENVEC_RUN", str(finished[0]))
    notebook = nbformat.read(ROOT / "experiments" / "analysis.ipynb", as_version=4)
    client = NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(ROOT / "experiments")}}
    )
    client.execute()
