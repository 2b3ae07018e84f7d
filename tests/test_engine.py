"""The zoo stage as processes: several at once, signals, a full disk, damage, cells."""

import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import genvec
from genvec import store, trees

ROOT = Path(__file__).parent.parent
CONFIG = (
    "--config=configs/digits.py:smoke",
    "--config.classes.choose=1,4,5",
    "--config.classifiers.counter.train.num_steps=2",
    "--config.zoo.width=4",
    "--config.zoo.segment_size=8",
    "--config.zoo.family.args.hidden=(6,)",
)
NUM_MEMBERS, NUM_SEGMENTS = 70, 9  # 64 of the smoke config and 6 of its triplets


def start(module, workdir, *extra, limit_kb=None, **options):
    command = [sys.executable, "-m", f"experiments.{module}", *CONFIG, f"--workdir={workdir}"]
    if limit_kb is not None:
        command = ["bash", "-c", f'ulimit -f {limit_kb}; exec "$@"', "bash", *command]
    if not any("cpu_devices" in argument for argument in extra):
        extra = (*extra, "--cpu_devices=2")  # whatever the machine has: bits depend on it
    return subprocess.Popen(
        [*command, *extra],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def finish(process, timeout=200):
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        process.kill()
        process.wait()
    return process.returncode, output


def train(workdir, *extra, **options):
    return finish(start("zoo", workdir, *extra, **options))


def new_run(tmp_path, classes, *extra):
    """A run folder in which only the zoo is missing."""
    workdir = tmp_path / "run"
    shutil.copytree(classes, workdir)
    config = json.loads((workdir / "config.json").read_text())
    for name, value in (arg.removeprefix("--config.").split("=") for arg in extra):
        *parents, last = name.split(".")
        node = config
        for parent in parents:
            node = node[parent]
        node[last] = value
    store.write_json(workdir / "config.json", config)
    return workdir


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("classes") / "run"
    code, output = finish(start("classes", workdir))
    assert code == 0, output[-2000:]
    return workdir


@pytest.fixture(scope="module")
def whole(classes, tmp_path_factory):
    """The zoo of an undisturbed run."""
    workdir = new_run(tmp_path_factory.mktemp("whole"), classes)
    code, output = train(workdir, "--profile")
    assert code == 0, output[-2000:]
    assert list(workdir.glob("profile/**/perfetto_trace.json.gz"))
    assert "GFLOP/s" in output and "median loss" in output and f"{NUM_MEMBERS}/" in output
    return workdir


def wait_for(condition, process, seconds=200):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def segments(workdir):
    return sorted((workdir / "zoo" / "vae" / "segments").glob("*.json"))


def same_members(one, other):
    one, other = genvec.load_zoo(one / "zoo"), genvec.load_zoo(other / "zoo")
    return one.manifest["segments"] == other.manifest["segments"]  # SHA-256 of every leaf


def test_sigterm_ends_with_how_to_go_on_and_loses_no_segment(whole, classes, tmp_path):
    workdir = new_run(tmp_path, classes)
    process = start("zoo", workdir)
    wait_for(lambda: len(segments(workdir)) >= 2, process)
    process.send_signal(signal.SIGTERM)
    code, output = finish(process, timeout=30)
    assert code == 143, output[-2000:]
    assert f"stopped; the same command goes on where it was, in {workdir}" in output
    assert 2 <= len(segments(workdir)) < NUM_SEGMENTS
    before = {path: path.stat().st_mtime_ns for path in segments(workdir)}
    assert train(workdir)[0] == 0
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    assert same_members(whole, workdir)


def test_a_second_run_on_one_workdir_is_refused(classes, tmp_path):
    workdir = new_run(tmp_path, classes)
    process = start("zoo", workdir)
    wait_for(lambda: len(segments(workdir)) >= 1, process)
    process.send_signal(signal.SIGSTOP)  # alive, and in no hurry to end
    code, output = train(workdir)
    assert code == 1 and "is in use by process" in output and f"{process.pid}" in output
    process.send_signal(signal.SIGKILL)  # the lock does not survive its owner
    process.wait(timeout=30)
    process.communicate()
    assert train(workdir)[0] == 0


def test_damaged_segments_are_named_and_trained_again(whole, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    cell = workdir / "zoo" / "vae"
    data = max((cell / "segments" / "00003").rglob("*"), key=lambda p: p.stat().st_size)
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(bytes(content))
    with pytest.raises(store.StoreError, match="00003"):
        genvec.load_zoo(workdir / "zoo")
    code, output = train(workdir)
    assert code == 0 and "vae: segment 3 is made again" in output, output[-2000:]
    assert output.count("is made again") == 1
    assert same_members(whole, workdir)


def test_a_full_disk_ends_in_one_message_and_the_run_goes_on(whole, classes, tmp_path):
    """A limit on the size of files stands for the disk: what is written fails all the same."""
    workdir = new_run(tmp_path, classes)
    quiet = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    code, output = train(workdir, limit_kb=4, env=quiet)
    assert code == 1, output[-3000:]
    assert "cannot be written" in output and "the same command goes on" in output
    assert "Traceback" not in output
    assert train(workdir)[0] == 0
    assert same_members(whole, workdir)


def two_processes(workdir, *extra):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    flags = (f"--coordinator={address}", "--num_processes=2", "--cpu_devices=2", "--patience=10")
    return [start("zoo", workdir, *flags, f"--process_id={i}", *extra) for i in range(2)]


def test_two_processes_of_two_devices_train_one_zoo(whole, classes, tmp_path):
    workdir = new_run(tmp_path, classes)
    processes = two_processes(workdir)
    results = [finish(process) for process in processes]
    assert [code for code, _ in results] == [0, 0], "\n".join(out[-2000:] for _, out in results)
    zoo = genvec.load_zoo(workdir / "zoo")
    assert zoo.manifest["num_processes"] == 2 and zoo.manifest["num_devices"] == 4
    assert same_members(whole, workdir)  # bits are equal at equal width
    assert "38/38" in results[0][1] and "32/32" in results[1][1]  # each did its share


def test_stopped_and_vanished_processes_lose_nothing(whole, classes, tmp_path):
    workdir = new_run(tmp_path, classes)
    both = two_processes(workdir)
    wait_for(lambda: len(segments(workdir)) >= 2, both[0])
    for process in both:
        process.send_signal(signal.SIGTERM)
    results = [finish(process, timeout=60) for process in both]
    assert [code for code, _ in results] == [143, 143], "\n".join(out[-999:] for _, out in results)
    first, second = two_processes(workdir)
    wait_for(lambda: len(segments(workdir)) >= 4, second)
    second.send_signal(signal.SIGKILL)
    second.communicate(timeout=30)
    code, _ = finish(first, timeout=120)
    assert code != 0  # it does not wait for ever for what nobody trains
    assert len(segments(workdir)) < NUM_SEGMENTS
    assert train(workdir)[0] == 0
    assert same_members(whole, workdir)


def test_two_tasks_of_a_submitted_job_train_one_zoo(whole, classes, tmp_path):
    """Through submitit's executor for this machine, which stands for Slurm's."""
    pytest.importorskip("submitit")
    workdir = new_run(tmp_path, classes)
    zoo_flags = ["--", *CONFIG, f"--workdir={workdir}", "--cpu_devices=1"]
    job_flags = ["--cluster=local", "--tasks_per_node=2", f"--logs={tmp_path}/logs", "--wait"]
    command = [sys.executable, "-m", "experiments.slurm", *job_flags, *zoo_flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "logs in" in done.stdout
    unsharded, sharded = genvec.load_zoo(workdir / "zoo"), genvec.load_zoo(whole / "zoo")
    assert (unsharded.manifest["num_processes"], unsharded.manifest["num_devices"]) == (2, 2)
    one, other = (trees.flatten_names(zoo.params) for zoo in (unsharded, sharded))
    for name in one:  # one device compiles to other roundings than two: the stated tolerance
        np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=1e-6)
    kernel = one["decoder/dense_1/kernel"]  # the negative control: members do differ
    assert np.abs(kernel[1:] - kernel[:-1]).max() > 1e-2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--num_processes=2",), "--num_processes needs --coordinator"),
        (("--process_id=1",), "--process_id is 1; allowed: 0..0"),
    ],
)
def test_impossible_processes_are_refused(tmp_path, flags, message):
    code, output = train(tmp_path, *flags)
    assert code == 1 and message in output


def test_a_zoo_of_several_cells_comes_back_by_cell(classes, tmp_path):
    """Two architectures of one family and another family, in one zoo."""
    script = tmp_path / "cells.py"
    script.write_text(
        "from configs.digits import get_config as digits\n"
        "def get_config():\n"
        "    config = digits('smoke')\n"
        "    config.name = 'cells'\n"
        "    config.mixtures.update({'num': 16, 'num_triplets': 2})\n"
        "    vae = {'name': 'vae', 'args': {'hidden': (5,), 'latent': 3}}\n"
        "    conv = {'name': 'vae', 'args': {'network': 'conv', 'hidden': (4, 4), 'latent': 2}}\n"
        "    ae = {'name': 'ae', 'args': {'hidden': (6,)}}\n"
        "    rate = {'learning_rate': 1e-2}\n"
        "    config.zoo.cells = {\n"
        "        'narrow': {'family': vae},\n"
        "        'conv': {'family': conv, 'width': 2, 'plan': 'stepped', 'steps': 6},\n"
        "        'ae': {'family': ae, 'hparams': rate, 'plan': 'auto'},\n"
        "    }\n"
        "    return config\n"
    )
    workdir = tmp_path / "run"
    workdir.mkdir()
    shutil.copy(classes / "classes.json", workdir)
    config = runpy.run_path(str(script))["get_config"]()
    config.classes.choose = "1,4,5"
    store.write_json(workdir / "config.json", config.to_dict())
    run = [f"--config={script}", f"--workdir={workdir}", "--config.classes.choose=1,4,5"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "experiments.zoo", *run, "--cpu_devices=2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "ae: runs as scan × 4 (too short to tune)" in done.stdout  # 9 members a device
    cells = genvec.load_cells(workdir / "zoo")
    assert list(cells) == ["ae", "conv", "narrow"]  # a config sorts its keys
    assert [zoo.manifest["plan"] for zoo in cells.values()] == ["scan", "stepped", "scan"]
    assert cells["conv"].params["encoder"]["conv_0"]["kernel"].shape == (18, 3, 3, 1, 4)
    assert cells["narrow"].params["decoder"]["dense_0"]["kernel"].shape == (18, 3, 5)
    mixtures = [zoo.members["mixture_4"].to_numpy() for zoo in cells.values()]
    np.testing.assert_array_equal(mixtures[0], mixtures[1])  # member i has one mixture in all
    with pytest.raises(ValueError, match="holds the cells ae, conv, narrow; name one"):
        genvec.load_zoo(workdir / "zoo")
    assert genvec.load_zoo(workdir / "zoo", cell="ae").manifest["family"] == "ae"
    command[2] = "experiments.encoders"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "cells ae, conv, narrow; say which one the encoders read" in done.stderr
