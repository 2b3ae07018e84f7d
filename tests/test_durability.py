"""What a zoo on disk outlasts: damage, kills, full disks, two processes at once."""

import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path

import numpy as np
import pytest
from test_store import (  # noqa: F401  the fixture and the marks serve here as well
    fill,
    flip,
    kernel,
    members,
    nothing_left_for_later_tests,
    pytestmark,
    segment,
    write_cell,
)

import genvec
from genvec import store, trees
from genvec.store import StoreError, cells, damage


@pytest.fixture
def cell(tmp_path):
    return write_cell(tmp_path / "zoo" / "vae")


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def spoil(cell, damage_fn):
    """Damages every file of segment 1 (a few are written by Orbax and never read again)."""
    for path in (cell / "segments" / "00001").rglob("*"):
        if path.is_file():
            path.write_bytes(damage_fn(path.read_bytes()))


def flip_a_byte(cell):
    spoil(cell, lambda content: flip(content) if content else content)


def truncate(cell):
    spoil(cell, lambda content: content[: len(content) // 2])


def lose_the_checkpoint(cell):
    shutil.rmtree(cell / "segments" / "00001")


def lose_the_record(cell):
    (cell / "segments" / "00001.json").unlink()


def flip_the_record(cell):
    path = cell / "segments" / "00001.json"
    path.write_bytes(flip(path.read_bytes()))


def write_other_numbers(cell):
    store.write_segment(cell, 1, segment(slice(4, 8), seed=99))


DAMAGES = [flip_a_byte, truncate, lose_the_checkpoint]
RECORDS = [lose_the_record, flip_the_record]


def test_a_whole_cell_is_left_alone(cell):
    before = contents(cell)
    assert store.verify_cell(cell) == {}
    assert contents(cell) == before
    assert store.read_manifest(cell)["complete"]


@pytest.mark.parametrize("damage_fn", [*DAMAGES, write_other_numbers])
def test_a_damaged_segment_is_moved_away_and_trained_again(cell, damage_fn):
    whole = genvec.load_zoo(cell)
    kept = {n: contents(cell / "segments" / n) for n in ("00000", "00002")}
    damage_fn(cell)
    spoilt, before = contents(cell / "segments" / "00001"), contents(cell)
    reasons = store.verify_cell(cell)
    assert list(reasons) == [1]
    assert "\n" not in reasons[1] and "segments/00001" in reasons[1]
    assert contents(cell) == before  # verifying reads
    assert store.verify_cell(cell, repair=True) == reasons
    assert store.missing_segments(cell) == [1]
    assert not (cell / "segments" / "00001").exists()
    for path in (cell / "damaged").glob("*/segments/00001"):
        assert contents(path) == spoilt
    with pytest.raises(StoreError, match="2 of 3 segments are there"):
        genvec.load_zoo(cell)
    assert store.verify_cell(cell, repair=True) == {}
    fill(cell)
    assert kept == {n: contents(cell / "segments" / n) for n in kept}
    mended = genvec.load_zoo(cell)
    np.testing.assert_array_equal(kernel(mended), kernel(whole))
    assert mended.manifest == whole.manifest


@pytest.mark.parametrize("damage_fn", RECORDS)
def test_a_record_that_the_manifest_repeats_is_written_again(cell, damage_fn):
    before = contents(cell)
    damage_fn(cell)
    assert store.verify_cell(cell, repair=True) == {}
    assert before.items() <= contents(cell).items()


@pytest.mark.parametrize("damage_fn", [flip_a_byte, lose_the_checkpoint, flip_the_record])
def test_an_unfinished_cell_loses_its_damaged_segment_only(tmp_path, damage_fn):
    store.create_cell(tmp_path, {"segment_size": 4}, members())
    for number in (0, 1):
        store.write_segment(tmp_path, number, segment(slice(4 * number, 4 * number + 4)))
    assert store.missing_segments(tmp_path) == [2]
    damage_fn(tmp_path)
    assert list(store.verify_cell(tmp_path, repair=True)) == [1]
    assert store.missing_segments(tmp_path) == [1, 2]


def test_the_stores_own_leftovers_are_cleaned_and_nothing_else(cell):
    segments = cell / "segments"
    for name in ("00007", "00001.orbax-checkpoint-tmp", ".00001.tmp", "my_notes"):
        (segments / name).mkdir(parents=True)
        (segments / name / "part").write_text("x")
    (segments / ".00001.json.tmp").write_text("x")
    (segments / "nowhere").symlink_to("/no/such/folder")
    before = contents(cell)
    for path in (segments / "00002", cell / "members.parquet"):
        store.atomic.hidden_beside(path, ".tmp").write_text("x")
    assert store.verify_cell(cell) == {}
    assert len(contents(cell)) == len(before) + 2
    assert store.verify_cell(cell, repair=True) == {}
    assert contents(cell) == before and (segments / "nowhere").is_symlink()


def test_a_checkpoint_without_a_record_is_moved_away(tmp_path):
    """As if killed between the two."""
    store.create_cell(tmp_path, {"segment_size": 4}, members())
    store.write_segment(tmp_path, 1, segment(slice(4, 8)))
    (tmp_path / "segments" / "00001.json").unlink()
    before = contents(tmp_path / "segments" / "00001")
    assert store.verify_cell(tmp_path, repair=True) == {}
    (moved,) = (tmp_path / "damaged").glob("*/segments/00001")
    assert contents(moved) == before and not (tmp_path / "segments" / "00001").exists()


def test_a_kill_while_a_segment_is_moved_leaves_an_unfinished_cell(cell, monkeypatch):
    """The manifest claims nothing any more before the first file goes."""

    def kill(*paths):
        raise KeyboardInterrupt

    flip_a_byte(cell)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(damage, "set_aside", kill)
        store.verify_cell(cell, repair=True)
    assert not store.read_manifest(cell)["complete"]
    assert list(store.verify_cell(cell, repair=True)) == [1]
    fill(cell)
    assert store.verify_cell(cell) == {}


@pytest.mark.parametrize("name", ["members.parquet", "manifest.json"])
@pytest.mark.parametrize("how", ["flip", "halve", "remove"])
def test_lost_members_are_told_and_written_again_around_the_segments(cell, name, how):
    whole, path = genvec.load_zoo(cell), cell / name
    if (name, how) == ("manifest.json", "remove"):
        path.unlink()
        with pytest.raises(StoreError, match="holds no zoo"):
            store.verify_cell(cell)
        return
    content = path.read_bytes()
    path.write_bytes({"flip": flip(content), "halve": content[: len(content) // 2]}.get(how, b""))
    if how == "remove":
        path.unlink()
    with pytest.raises(StoreError, match=name):
        genvec.load_zoo(cell)
    reasons = store.verify_cell(cell, repair=True)
    assert list(reasons) == [-1] and name in reasons[-1] and "\n" not in reasons[-1]
    store.create_cell(cell, {"family": "vae", "segment_size": 4}, members())
    assert store.missing_segments(cell) == []
    store.complete_cell(cell)
    assert store.verify_cell(cell) == {}
    assert genvec.load_zoo(cell).manifest == whole.manifest


def test_what_only_the_reader_lacks_is_no_damage(cell, monkeypatch):
    """No file may go because a process has too many open, or no permission."""

    def refuse(*args, **kwargs):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    before = contents(cell)
    with monkeypatch.context() as patch, pytest.raises(StoreError, match="Too many open files"):
        patch.setattr(store.checkpoints.ocp, "load", refuse)
        store.verify_cell(cell)
    assert contents(cell) == before
    monkeypatch.setattr(store.checkpoints.ocp, "load", lambda *args: json.loads("{"))
    with pytest.raises(StoreError, match="cannot be read: Expecting property name"):
        store.verify_cell(cell)  # the files are as they were written: Orbax's word is no proof
    assert contents(cell) == before


def test_a_kill_while_a_cell_is_completed_harms_nothing(tmp_path, monkeypatch):
    write_cell(tmp_path / "whole")
    store.create_cell(tmp_path / "killed", {"family": "vae", "segment_size": 4}, members())
    real, calls = cells.write_manifest, []

    def kill_at_the_second(cell, manifest):
        calls.append(manifest["complete"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(cell, manifest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cells, "write_manifest", kill_at_the_second)
        fill(tmp_path / "killed")
    assert calls == [False, True]
    assert store.verify_cell(tmp_path / "killed") == {}
    store.complete_cell(tmp_path / "killed")
    killed, whole = (genvec.load_zoo(tmp_path / name) for name in ("killed", "whole"))
    assert killed.manifest == whole.manifest


def test_a_segment_of_another_length_is_refused(tmp_path):
    store.create_cell(tmp_path, {"segment_size": 4}, members())
    for number in range(3):
        store.write_segment(tmp_path, number, segment(slice(4 * number, 4 * number + 4)))
    with pytest.raises(StoreError, match="segments/00002 holds 4 members, not 2"):
        store.complete_cell(tmp_path)


class Meter:
    """Counts the segments whose parameters are held at once, through what loads them."""

    def __init__(self, load_fn):
        self.load_fn, self.alive, self.most = load_fn, [], 0

    def __call__(self, path, record=None):
        tree = self.load_fn(path, record)
        self.alive.append(weakref.ref(kernel_of(tree)))
        self.most = max(self.most, sum(ref() is not None for ref in self.alive))
        return tree


def kernel_of(tree):
    return tree["params"]["decoder"]["dense_0"]["kernel"]


def test_parameters_of_one_segment_are_held_at_a_time(tmp_path, monkeypatch):
    num = 40
    table = members().sample(num, replace=True, random_state=0).assign(member=range(num))
    store.create_cell(tmp_path, {"segment_size": 4}, table)
    for module, use in ((cells, fill), (damage, store.verify_cell)):
        meter = Meter(store.load_tree)
        with monkeypatch.context() as patch:
            patch.setattr(module, "load_tree", meter)
            use(tmp_path)
        assert len(meter.alive) == 10 and meter.most <= 2  # the last one and its successor
    meter = Meter(store.load_tree)
    held = [meter(tmp_path / "segments" / f"{number:05d}") for number in range(10)]
    assert meter.most == len(held)  # the meter can tell


def test_one_holder_of_a_folder_at_a_time(tmp_path):
    with store.lock_folder(tmp_path / "new"):
        with (
            pytest.raises(
                StoreError, match=f"new is in use by process {os.getpid()} on .* since 20"
            ),
            store.lock_folder(tmp_path / "new"),
        ):
            pass
        with store.lock_folder(tmp_path / "other"):
            pass
    with store.lock_folder(tmp_path / "new"):  # free again, by the same file
        assert (tmp_path / "new" / ".lock").exists()


def test_a_lock_dies_with_its_owner_and_not_before(tmp_path):
    """The owner's own child, which outlives it, has not inherited the lock."""
    script = textwrap.dedent(
        """
        import subprocess, sys, time
        from genvec.store import lock_folder
        with lock_folder(sys.argv[1]):
            child = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL)
            print(child.pid, flush=True)
            time.sleep(60)
        """
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    child = int(owner.stdout.readline())
    try:
        message = f"in use by process {owner.pid} on .*; wait for it or choose another folder"
        with pytest.raises(StoreError, match=message), store.lock_folder(tmp_path):
            pass
        owner.send_signal(signal.SIGKILL)
        owner.wait(timeout=60)
        with store.lock_folder(tmp_path):
            os.kill(child, 0)  # it is still there
    finally:
        owner.kill()
        owner.stdout.close()
        os.kill(child, signal.SIGKILL)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for write_fn in (
        lambda: store.write_json(tmp_path / "file" / "x.json", {}),
        lambda: store.save_tree(tmp_path / "file" / "x", {"a": np.zeros(2)}),
        lambda: store.lock_folder(tmp_path / "file").__enter__(),
    ):
        with pytest.raises(StoreError, match=r"cannot be written: .*; what is committed is kept"):
            write_fn()
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("code", "ending"), [(errno.ENOSPC, "once there is room"), (errno.EIO, "once that is mended")]
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, code, ending):
    def fail(path):
        path.write_text("half")
        raise OSError(code, os.strerror(code))

    path = tmp_path / "x.json"
    store.write_json(path, 1, sums=False)
    with pytest.raises(StoreError) as error:
        store.write_atomically(path, fail)
    assert str(error.value) == (
        f"{path} cannot be written: {os.strerror(code)}; "
        f"what is committed is kept, the same command goes on {ending}"
    )
    assert contents(tmp_path) == {"x.json": b"1\n"}
    with pytest.raises(ZeroDivisionError):  # a mistake stays what it is
        store.write_atomically(path, lambda path: 1 / 0)
    assert contents(tmp_path) == {"x.json": b"1\n"}


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    def fail(path, tree):
        Path(path).mkdir(parents=True)
        raise ValueError("RESOURCE_EXHAUSTED: d: No space left on device [os_error_code='28']\nx")

    store.save_tree(tmp_path / "x", {"a": np.arange(3)})
    before = contents(tmp_path)
    monkeypatch.setattr(store.checkpoints.ocp, "save", fail)
    with pytest.raises(StoreError, match=r"x cannot be written: No space left on device; .* room$"):
        store.save_tree(tmp_path / "x", {"a": np.arange(4)})
    assert contents(tmp_path) == before
    np.testing.assert_array_equal(store.load_tree(tmp_path / "x")["a"], np.arange(3))
    monkeypatch.undo()
    store.save_tree(tmp_path / "x", {"a": np.arange(4)})
    np.testing.assert_array_equal(store.load_tree(tmp_path / "x")["a"], np.arange(4))


NUM = 40  # members in ten segments of some 100 kB each


def big_segment(number):
    rng = np.random.default_rng(number)
    trained = segment(slice(4 * number, 4 * number + 4))
    kernels = rng.normal(size=(8, 4, 800)).astype(np.float32)
    return trained._replace(params={f"dense_{k}": kernel for k, kernel in enumerate(kernels)})


def fill_until_refused(cell):
    """Writes what is missing and completes the cell, or returns the error in which it ends."""
    try:
        for number in store.missing_segments(cell):
            store.write_segment(cell, number, big_segment(number))
        store.complete_cell(cell)
    except StoreError as error:
        return str(error)


def refused_and_mended(cell, shrink_fn, mend_fn):
    """What a process meets on a disk that fills up after two segments, and then has room."""
    table = members().sample(NUM, replace=True, random_state=0).assign(member=range(NUM))
    store.create_cell(cell, {"family": "vae", "segment_size": 4}, table)
    for number in range(2):
        store.write_segment(cell, number, big_segment(number))
    shrink_fn()
    found = {"refused": fill_until_refused(cell)}
    found["left"] = sorted(
        path.name for path in (cell / "segments").iterdir() if path.suffix != ".sha256"
    )
    found["missing"] = store.missing_segments(cell)
    found["damaged"] = store.verify_cell(cell)
    mend_fn()
    found["then"] = fill_until_refused(cell)
    params = genvec.load_zoo(cell).params
    expected = trees.concatenate([big_segment(number).params for number in range(NUM // 4)])
    found["equal"] = all(np.array_equal(params[name], expected[name]) for name in expected)
    print(json.dumps(found))


def limit_size(cell, num_bytes):
    """A disk that takes no longer files, everywhere that a process can have one."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def limit(soft):
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    refused_and_mended(cell, limit(num_bytes), limit(hard))


def fill_disk(cell):
    """A disk of 2 MB with another's file on it, which is then removed."""
    ballast = cell.parent / "ballast"

    def put_ballast():
        free = shutil.disk_usage(cell.parent).free
        ballast.write_bytes(bytes(free - 500_000))

    refused_and_mended(cell, put_ballast, ballast.unlink)


def in_another_process(call):
    script = f"import sys\nsys.path[:0] = [{os.path.dirname(__file__)!r}]\n"
    script += f"from pathlib import Path\nimport test_durability\ntest_durability.{call}\n"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "Error writing" not in done.stderr  # Orbax's own pages of what failed
    return json.loads(done.stdout)


def assert_kept_and_mended(found, reason):
    assert re.search(
        rf"segments/\d+(\.json)? cannot be written: {reason}; what is committed is kept, "
        "the same command goes on once there is room$",
        found["refused"],
    )
    kept = NUM // 4 - len(found["missing"])
    assert 2 <= kept < NUM // 4
    assert found["missing"] == list(range(kept, NUM // 4))
    names = [f"{number:05d}" for number in range(kept)]
    assert found["left"] == sorted([*names, *(f"{name}.json" for name in names)])
    assert found["damaged"] == {} and found["then"] is None and found["equal"]
    return kept


@pytest.mark.parametrize("num_bytes", [100, 10_000])  # not even the record, not the parameters
def test_files_that_may_not_grow_lose_no_committed_segment(tmp_path, num_bytes):
    found = in_another_process(f"limit_size(Path({str(tmp_path / 'vae')!r}), {num_bytes})")
    assert assert_kept_and_mended(found, "File too large") == 2


@pytest.fixture
def small_disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a disk of 2 MB cannot be mounted here; it takes root")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_loses_no_committed_segment(small_disk):
    found = in_another_process(f"fill_disk(Path({str(small_disk / 'vae')!r}))")
    assert assert_kept_and_mended(found, "No space left on device") > 2
