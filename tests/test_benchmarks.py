"""The benchmark counts FLOPs as XLA does, trains one architecture everywhere, reports it all."""

import xml.etree.ElementTree as ET
from math import prod

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from benchmarks import plain_vae, summary
from benchmarks.cases import CASES, forward_flops, num_params, train_flops
from benchmarks.chart import speed_chart
from benchmarks.measure import Timings, take_turns
from benchmarks.workers import WorkerError, repeated

KEYS = {
    "seconds_per_step_member",
    "gflops",
    "peak_fraction",
    "vs_naive",
    "vs_torch_loop",
    "vs_torch_best",
}


def xla_flops(fn, *args):
    return jax.jit(fn).lower(*args).cost_analysis()["flops"]


def inputs_of(case):
    params = plain_vae.init(jax.random.key(0), case)
    return params, jnp.zeros((case.batch, *case.image_shape)), jnp.zeros((case.batch, case.latent))


def conv_forward(x, z):
    """The layers of conv_vae alone; padding is made explicit, since XLA skips it in its count."""

    def conv(x, channels, stride):
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        kernel = jnp.zeros((3, 3, x.shape[-1], channels))
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel, (stride,) * 2, "VALID", dimension_numbers=numbers
        )

    for channels in (16, 32, 64):
        x = conv(x, channels, 2)
    code = x.reshape(len(x), -1) @ jnp.zeros((1024, 32))
    h = (z @ jnp.zeros((16, 1024))).reshape(-1, 4, 4, 64)
    for channels in (32, 16, 3):
        h = conv(jnp.repeat(jnp.repeat(h, 2, axis=1), 2, axis=2), channels, 1)
    return code, h


@pytest.mark.parametrize("name", ["dense_tiny", "dense_medium"])
def test_dense_flops_are_those_xla_counts(name):
    case = CASES[name]
    params, x, noise = inputs_of(case)
    forward = xla_flops(plain_vae.model_of(case).apply, params, x, noise)
    assert forward_flops(case) == pytest.approx(forward, rel=0.05)


def test_conv_flops_are_those_xla_counts():
    case = CASES["conv_vae"]
    _, x, noise = inputs_of(case)
    assert forward_flops(case) == pytest.approx(xla_flops(conv_forward, x, noise), rel=0.05)


def test_a_step_leaves_out_the_gradient_of_the_images():
    case = CASES["dense_medium"]
    step = xla_flops(jax.grad(lambda *args: plain_vae.loss_fn(*args, case=case)), *inputs_of(case))
    assert train_flops(case) == pytest.approx(step, rel=0.05)
    assert 3 * forward_flops(case) != pytest.approx(step, rel=0.05)


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_plain_vae_has_the_parameters_of_the_flop_table(name):
    case = CASES[name]
    params, x, noise = inputs_of(case)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == num_params(case)
    logits, mean, log_var = jax.eval_shape(plain_vae.model_of(case).apply, params, x, noise)
    assert logits.shape == x.shape
    assert mean.shape == log_var.shape == noise.shape


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_torch_peer_has_them_as_well(name):
    pytest.importorskip("torch")
    from benchmarks import torch_worker

    case = CASES[name]
    model = torch_worker.NETWORKS[case.network](case)
    assert sum(prod(p.shape) for p in model.parameters()) == num_params(case)


def test_the_plain_vae_learns():
    case = CASES["dense_tiny"]
    images = jnp.full((10, *case.image_shape), 255, jnp.uint8)
    _, losses = plain_vae.train(jax.random.key(0), images, case=case, steps=60)
    assert losses[-1] < 0.5 * losses[0]


def fake_timings():
    seconds = {
        "engine": [1.0, 2.0, 1.0],
        "naive": [10.0, 10.0, 40.0],
        "torch_loop_1": [5.0, 5.0, 5.0],
        "torch_loop_all": [4.0, 6.0, 6.0],
        "torch_vmap_1": [3.0, 3.0, 3.0],
    }
    info = {"engine": {"plan": "scan", "width": 8}}
    return Timings(seconds, info, {"single": "out of memory"}, {"jax": [90.0, 100.0]})


def fake_report():
    case = CASES["dense_medium"]
    machine = {"cpu": "a <CPU>", "cores": 2, "jax": "1", "torch": None, "date": "2026-01-01"}
    return {case.name: summary.summarise(case, fake_timings(), 100.0), "machine": machine}


def test_ratios_are_of_medians_with_the_range_of_the_rounds():
    entry = fake_report()["dense_medium"]
    assert set(entry) >= KEYS
    assert entry["vs_naive"] == 10.0
    assert entry["spread"]["vs_naive"] == [5.0, 40.0]
    assert (entry["vs_torch_loop"], entry["rivals"]["vs_torch_loop"]) == (5.0, "torch_loop_1")
    assert (entry["vs_torch_best"], entry["rivals"]["vs_torch_best"]) == (3.0, "torch_vmap_1")
    assert entry["vs_single"] is None
    assert entry["peak_fraction"] == pytest.approx(entry["gflops"] / 100.0)
    assert (entry["plan"], entry["width"]) == ("scan", 8)


def test_without_peers_or_engine_the_keys_are_there_and_empty():
    case = CASES["dense_tiny"]
    lost = Timings({"naive": [1.0]}, {}, {"engine": "no such family"}, {})
    entry = summary.summarise(case, lost, None)
    assert {key: entry[key] for key in KEYS} == dict.fromkeys(KEYS)
    assert "missing: engine: no such family" in summary.table({case.name: entry})


def test_the_table_holds_targets_beside_numbers():
    lines = summary.table(fake_report()).splitlines()
    row = next(line for line in lines if "PyTorch loop" in line)
    assert "5×" in row and "≥ 2×" in row and "reached" in row
    assert any("share of matmul peak" in line and "missed" in line for line in lines)


def test_the_chart_is_well_formed():
    text = speed_chart(fake_report())
    labels = [element.text for element in ET.fromstring(text).iter() if element.text]
    assert "10×" in labels and "best of PyTorch" in labels


class FakeWorker:
    def __init__(self, *answers):
        self.answers, self.asked, self.info = list(answers), 0, {}

    def begin(self):
        pass

    def prepare(self):
        return self.info

    def ask(self):
        self.asked += 1

    def answer(self):
        if not self.answers:
            raise WorkerError("killed")
        return {"seconds": self.answers.pop(0)}


def test_a_worker_that_ends_takes_only_its_variant_along():
    first, second = FakeWorker(2.0, 2.0, 4.0, 4.0), FakeWorker(2.0, 4.0)
    workers = {"torch_loop_1": [first], "torch_processes": [first, second]}
    result = take_turns(workers | {"naive": [FakeWorker(1.0)]}, 2, lambda text: None)
    assert result.seconds == {"torch_loop_1": [2.0, 4.0], "torch_processes": [1.0, 2.0]}
    assert result.missing == {"naive": "killed"}


def test_a_turn_is_always_the_same_work():
    calls = []
    turn = repeated(lambda: calls.append(None), 3, 0.0)
    before = len(calls)
    turn()
    once = len(calls) - before
    turn()
    assert len(calls) - before == 2 * once
