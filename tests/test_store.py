import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

import genvec
from genvec import store
from genvec.store import StoreError

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine"),
]


@pytest.fixture(autouse=True)
def nothing_left_for_later_tests():
    """Where a load fails Orbax leaves coroutines behind; they are collected here."""
    yield
    gc.collect()


class Trained(NamedTuple):
    params: dict
    state: dict
    metrics: dict


def segment(rows, seed=0):
    rng = np.random.default_rng(seed + rows.start)
    num = rows.stop - rows.start
    return Trained(
        {"decoder": {"dense_0": {"kernel": rng.normal(size=(num, 3, 2)).astype(np.float32)}}},
        {},
        {
            "finite": np.arange(rows.start, rows.stop) != 4,
            "loss_curve": rng.normal(size=(num, 5)).astype(np.float32),
        },
    )


def members(num=10):
    split = ["train"] * 5 + ["val"] * 2 + ["test"] * 2 + ["sum"]
    return pd.DataFrame({"member": range(num), "split": split, "mixture_a": np.linspace(0, 1, num)})


def fill(cell, seed=0):
    """Trains what is missing, and completes the cell."""
    rows = store.segment_rows(store.read_manifest(cell))
    for number in store.missing_segments(cell):
        store.write_segment(cell, number, segment(rows[number], seed))
    store.complete_cell(cell)


def write_cell(cell, family="vae", seed=0):
    store.create_cell(cell, {"family": family, "segment_size": 4}, members())
    fill(cell, seed)
    return cell


@pytest.fixture
def zoo(tmp_path):
    """One cell, read as a zoo of its own."""
    return write_cell(tmp_path / "zoo")


@pytest.fixture
def zoo_of_two(tmp_path):
    path = tmp_path / "two"
    store.create_zoo(path, ["vae", "wide"])
    for seed, cell in enumerate(store.cell_paths(path).values()):
        write_cell(cell, seed=seed)
    return path


def kernel(zoo):
    return zoo.params["decoder"]["dense_0"]["kernel"]


def test_round_trip(zoo):
    read = genvec.load_zoo(zoo)
    expected = np.concatenate([kernel(segment(slice(a, b))) for a, b in ((0, 4), (4, 8), (8, 10))])
    np.testing.assert_array_equal(kernel(read), expected)
    assert list(read.members["member"]) == list(range(10))
    assert read.members["loss_curve"][9].shape == (5,)
    assert read.manifest["shapes"] == {"decoder/dense_0/kernel": [3, 2]}
    assert read.manifest["segments"][0]["params/decoder/dense_0/kernel"]["sha256"]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"split": "val"}, [5, 6]),
        ({"split": ("train", "test")}, [0, 1, 2, 3, 4, 7, 8]),
        ({"members": [8, 2]}, [8, 2]),
        ({"split": "train", "members": [1, 5]}, [1]),
        ({"finite_only": True}, [0, 1, 2, 3, 5, 6, 7, 8, 9]),
    ],
)
def test_selection_keeps_params_and_rows_together(zoo, selection, expected):
    read, whole = genvec.load_zoo(zoo, **selection), genvec.load_zoo(zoo)
    assert list(read.members["member"]) == expected
    np.testing.assert_array_equal(kernel(read), kernel(whole)[expected])


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"split": "tset"}, "tset.*known: train, val, test, sum"),
        ({"members": [10]}, r"\[10\] are not in 0..9"),
        ({"split": "val", "members": [0]}, "no member"),
    ],
)
def test_impossible_selections_are_refused(zoo, selection, message):
    with pytest.raises(ValueError, match=message):
        genvec.load_zoo(zoo, **selection)


def one_line(error):
    message = str(error.value)
    assert "\n" not in message and "segments/00001" in message
    return message


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [flip, lambda content: content[: len(content) // 2]])
def test_damage_is_noticed_and_never_read_as_other_numbers(zoo, damage):
    """A flipped byte, or half a file, in each file of a segment in turn."""
    whole, noticed = kernel(genvec.load_zoo(zoo)), 0
    files = [
        path
        for path in (zoo / "segments" / "00001").rglob("*")
        if path.is_file() and path.stat().st_size
    ]
    for path in files:
        content = path.read_bytes()
        path.write_bytes(damage(content))
        try:
            np.testing.assert_array_equal(kernel(genvec.load_zoo(zoo)), whole)
        except StoreError as error:
            assert "\n" not in str(error) and "segments/00001" in str(error)
            noticed += 1
        assert len(genvec.load_zoo(zoo, members=[0]).members) == 1  # other segments are still good
        path.write_bytes(content)
    assert noticed >= 2


def test_a_missing_segment_is_named(zoo):
    import shutil

    shutil.rmtree(zoo / "segments" / "00001")
    with pytest.raises(StoreError) as error:
        genvec.load_zoo(zoo)
    one_line(error)


def test_other_bytes_of_the_right_size_are_noticed(zoo):
    """Storage that is whole but holds other numbers: only the SHA-256 can tell."""
    rows = slice(4, 8)
    store.write_segment(zoo, 1, segment(rows, seed=99))
    with pytest.raises(
        StoreError, match=r"damaged: (params|metrics)/.*; run its experiment again.* train the dam"
    ):
        genvec.load_zoo(zoo)


@pytest.mark.parametrize("name", ["manifest.json", "members.parquet"])
@pytest.mark.parametrize("damage", [flip, lambda content: content[: len(content) // 2]])
def test_damage_to_manifest_or_members_is_named_in_one_line(zoo, name, damage):
    path = zoo / name
    content = path.read_bytes()
    if name == "manifest.json" and damage is flip:  # in the middle stands a hash, or its name
        content = content.replace(b'"sha256": "', b'"sha256": "0', 1)
    path.write_bytes(damage(content))
    with pytest.raises(StoreError) as error:
        genvec.load_zoo(zoo)
    assert "\n" not in str(error.value) and str(zoo) in str(error.value)


def test_an_unfinished_zoo_says_how_far_it_is(tmp_path):
    store.create_cell(tmp_path, {"segment_size": 4}, members())
    store.write_segment(tmp_path, 0, segment(slice(0, 4)))
    assert store.missing_segments(tmp_path) == [1, 2]
    with pytest.raises(StoreError, match="1 of 3 segments are there"):
        genvec.load_zoo(tmp_path)
    with pytest.raises(StoreError, match="unfinished"):
        store.complete_cell(tmp_path)


def as_version_1(zoo):
    """Rewrites a cell's manifest as the first version had it."""
    manifest = json.loads((zoo / "manifest.json").read_text()) | {"format_version": 1}
    del manifest["sha256"], manifest["members_sha256"]
    (zoo / "manifest.json").write_text(json.dumps(manifest))


def test_cells_are_read_by_name(zoo_of_two):
    manifest = json.loads((zoo_of_two / "manifest.json").read_text())
    assert manifest == {"format_version": 2, "cells": ["vae", "wide"]}
    zoos = genvec.load_cells(zoo_of_two, split="train")
    assert list(zoos) == ["vae", "wide"]
    for seed, (name, read) in enumerate(zoos.items()):
        expected = kernel(segment(slice(0, 4), seed))
        np.testing.assert_array_equal(kernel(read)[:4], expected)
        np.testing.assert_array_equal(
            kernel(genvec.load_zoo(zoo_of_two, "train", cell=name)), kernel(read)
        )
        np.testing.assert_array_equal(
            kernel(genvec.load_zoo(zoo_of_two / name, "train")), kernel(read)
        )
    assert np.any(kernel(zoos["vae"]) != kernel(zoos["wide"]))


def test_which_cell_must_be_told_where_there_are_several(zoo_of_two, zoo):
    with pytest.raises(ValueError, match="holds the cells vae, wide; name one: cell=…"):
        genvec.load_zoo(zoo_of_two)
    with pytest.raises(ValueError, match="no cell 'vea'; known: vae, wide"):
        genvec.load_zoo(zoo_of_two, cell="vea")
    with pytest.raises(StoreError, match="a zoo of the cells vae, wide, not a cell"):
        store.read_manifest(zoo_of_two)
    assert len(genvec.load_zoo(zoo).members) == 10  # one cell needs no name


def test_a_zoo_of_one_cell_needs_no_name(tmp_path):
    store.create_zoo(tmp_path, ["vae"])
    write_cell(tmp_path / "vae")
    assert len(genvec.load_zoo(tmp_path).members) == 10


def test_a_zoo_of_version_1_is_one_cell_named_after_its_family(zoo):
    whole = kernel(genvec.load_zoo(zoo))
    as_version_1(zoo)
    assert store.cell_paths(zoo) == {"vae": zoo}
    store.create_zoo(zoo, ["vae"])  # as the same experiment does
    np.testing.assert_array_equal(kernel(genvec.load_zoo(zoo)), whole)
    np.testing.assert_array_equal(kernel(genvec.load_cells(zoo)["vae"]), whole)
    with pytest.raises(ValueError, match="no cell 'wide'; known: vae"):
        genvec.load_zoo(zoo, cell="wide")
    (zoo / "segments" / "00001.json").write_text("{")
    assert list(store.verify_cell(zoo)) == []  # the manifest has the same record
    (zoo / "segments" / "00001.json").unlink()
    store.verify_cell(zoo, repair=True)
    assert store.read_manifest(zoo)["format_version"] == 1
    np.testing.assert_array_equal(kernel(genvec.load_zoo(zoo)), whole)


def test_a_zoo_keeps_its_cells(tmp_path):
    store.create_zoo(tmp_path, ["vae", "wide"])
    store.create_zoo(tmp_path, ["vae", "wide"])
    with pytest.raises(StoreError, match="has the cells vae, wide, not vae, gan"):
        store.create_zoo(tmp_path, ["vae", "gan"])
    (tmp_path / "manifest.json").write_text('{"format_version": 2, "cells": [')
    with pytest.raises(StoreError, match=r"manifest.json is damaged"):
        store.cell_paths(tmp_path)
    store.create_zoo(tmp_path, ["vae", "wide"])  # mends the list
    assert store.cell_paths(tmp_path) == {"vae": tmp_path / "vae", "wide": tmp_path / "wide"}
    for names in (["a/b"], [".."], [""], ["vae", "vae"]):
        with pytest.raises(ValueError, match="names are letters"):
            store.create_zoo(tmp_path / "new", names)


def test_any_flipped_bit_of_a_manifest_is_noticed(tmp_path):
    store.create_cell(tmp_path, {"family": "vae", "segment_size": 4}, members())
    path, manifest = tmp_path / "manifest.json", store.read_manifest(tmp_path)
    content = path.read_bytes()
    for place in range(len(content)):
        flipped = bytes([content[place] ^ 1])
        path.write_bytes(content[:place] + flipped + content[place + 1 :])
        with pytest.raises(StoreError):
            store.read_manifest(tmp_path)
    path.write_bytes(content)
    assert store.read_manifest(tmp_path) == manifest


def test_no_zoo_and_a_newer_zoo_are_refused(tmp_path, zoo):
    with pytest.raises(StoreError, match="holds no zoo"):
        genvec.load_zoo(tmp_path)
    manifest = json.loads((zoo / "manifest.json").read_text())
    (zoo / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(StoreError, match=r"format version 99.*up to 2"):
        genvec.load_zoo(zoo)


def test_kill_while_segments_are_written_loses_no_committed_one(tmp_path):
    """SIGKILL in the middle of saving: what has a record is whole, the rest counts as missing."""
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        sys.path[:0] = [sys.argv[2]]
        import numpy as np
        from genvec import store
        from test_store import segment
        for number in range(1000):
            rows = slice(4 * number, 4 * number + 4)
            store.write_segment(Path(sys.argv[1]), number, segment(rows))
            print(number, flush=True)
        """
    )
    here = os.path.dirname(__file__)
    store.create_cell(tmp_path, {"segment_size": 4}, members())
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), here], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == 3:
            process.send_signal(signal.SIGKILL)
            break
    process.wait(timeout=60)
    process.stdout.close()
    (tmp_path / "segments" / "00999").mkdir()  # none of this cell's
    assert not store.verify_cell(tmp_path, repair=True)
    names = {path.name for path in (tmp_path / "segments").iterdir()} - {"00999"}
    committed = {name.removesuffix(".json") for name in names if name.endswith(".json")}
    assert {"00000", "00001", "00002", "00003"} <= committed
    assert names >= {f".{name}.sha256" for name in committed} | committed
    assert not [name for name in names if name.endswith(".tmp")]
    missing = store.missing_segments(tmp_path)
    assert not {0, 1, 2} & set(missing)
    for number in missing:
        store.write_segment(tmp_path, number, segment(slice(4 * number, min(4 * number + 4, 10))))
    store.write_segment(tmp_path, 2, segment(slice(8, 10)))  # the last one is shorter here
    store.complete_cell(tmp_path)
    read = genvec.load_zoo(tmp_path)
    np.testing.assert_array_equal(kernel(read)[4:8], kernel(segment(slice(4, 8))))


def test_json_is_strict_and_replaced_whole(tmp_path):
    path = tmp_path / "a" / "x.json"
    value = {"nan": float("nan"), "int": np.int64(3), "array": np.array([1.5, np.inf]), "t": (1, 2)}
    store.write_json(path, value)
    assert store.read_json(path) == {"nan": None, "int": 3, "array": [1.5, None], "t": [1, 2]}
    with pytest.raises(TypeError):
        store.write_json(path, {"bad": object()})
    assert store.read_json(path)["int"] == 3  # the old file is still there
    assert sorted(p.name for p in path.parent.iterdir()) == [".x.json.sha256", "x.json"]


def test_arrays_and_lines_round_trip(tmp_path):
    store.write_arrays(tmp_path / "x.npz", {"images": np.arange(6, dtype=np.uint8).reshape(2, 3)})
    assert store.read_arrays(tmp_path / "x.npz")["images"].dtype == np.uint8
    store.write_jsonl(tmp_path / "log.jsonl", [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None}])
    assert list(store.read_jsonl(tmp_path / "log.jsonl")["step"]) == [1, 2]
    with pytest.raises(StoreError, match="does not exist"):
        store.read_json(tmp_path / "none.json")


def test_a_run_of_another_config_is_refused_with_the_difference(tmp_path):
    run = store.RunFolder(tmp_path)
    config = {"seed": 0, "zoo": {"init": "shared", "hidden": (32,)}}
    store.claim_run(run, config)
    store.claim_run(run, config)  # the same again goes on
    with pytest.raises(StoreError, match=r'zoo.init: "shared" in the folder, "independent" now'):
        store.claim_run(run, config | {"zoo": {"init": "independent", "hidden": (32,)}})
    with pytest.raises(StoreError, match="alpha: absent in the folder, 1 now"):
        store.claim_run(run, config | {"alpha": 1})


def test_a_tree_with_an_empty_dict_is_refused_when_it_is_saved(tmp_path):
    with pytest.raises(ValueError, match="is empty; leave it out"):
        store.save_tree(tmp_path / "tree", {"params": {"a": np.ones(2)}, "state": {"inner": {}}})
    assert not (tmp_path / "tree").exists()
