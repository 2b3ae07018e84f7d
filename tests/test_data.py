"""Data sets: against other readers, tiny TFDS folders in the true format, and the real sets."""

import os
import shlex
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from genvec import data, prepared
from genvec.data import DATASETS, class_indices, load_dataset, load_tfds
from genvec.prepared import DatasetNotPrepared

tfds = pytest.importorskip("tensorflow_datasets")

NAMES = ("ant", "bee", "cow")


def picture(split: str, index: int) -> np.ndarray:
    """4×5 gray image that no other (split, index) has."""
    noise = np.random.default_rng([len(split), index])
    return noise.integers(0, 256, (4, 5), dtype=np.uint8)


class TinySet(tfds.core.GeneratorBasedBuilder):
    """20 + 6 images; the train split has none of class 1."""

    VERSION = tfds.core.Version("1.2.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(4, 5, 3)),
                    "label": tfds.features.ClassLabel(names=NAMES),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples("train"), "test": self._generate_examples("test")}

    def _generate_examples(self, split):
        for i in range(20 if split == "train" else 6):
            image = Image.fromarray(picture(split, i)).convert("RGB")
            yield i, {"image": image, "label": 2 * (i % 2) if split == "train" else i % 3}


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    TinySet(data_dir=root, file_format="array_record").download_and_prepare()
    return root


@pytest.fixture(autouse=True)
def cache_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("GENVEC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def rows(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def assert_same(a, b):
    assert (a.name, a.class_names) == (b.name, b.class_names)
    for left, right in zip(a[2:], b[2:], strict=True):
        np.testing.assert_array_equal(left, right)
        assert left.dtype == right.dtype


def test_digits_are_scikit_learns():
    d = load_dataset("digits")
    assert d.images.shape == (1438, 8, 8, 1) and d.heldout_images.shape == (359, 8, 8, 1)
    assert d.images.dtype == np.uint8 and d.labels.dtype == np.int32
    bunch: Any = load_digits()
    table = {
        bytes(int(16 * v) - int(v > 8) for v in image.ravel()): label  # 255/16 is 16 - 1/16
        for image, label in zip(bunch.images, bunch.target, strict=True)
    }
    for images, labels in ((d.images, d.labels), (d.heldout_images, d.heldout_labels)):
        assert all(table[x.tobytes()] == y for x, y in zip(images, labels, strict=True))
    # every class gives the same share, and what is held out is nowhere in the train part
    np.testing.assert_allclose(
        np.bincount(d.heldout_labels) / np.bincount(bunch.target), 0.2, atol=0.005
    )
    assert not rows(d.images) & rows(d.heldout_images)
    assert_same(d, load_dataset("digits"))


def test_tfds_set_is_what_was_written(tiny_dir):
    d = load_tfds("tiny_set", data_dir=tiny_dir)
    assert d.name == "tiny_set" and d.class_names == NAMES
    assert d.images.shape == (20, 4, 5, 3) and d.heldout_images.shape == (6, 4, 5, 3)
    for split, images, labels in (
        ("train", d.images, d.labels),
        ("test", d.heldout_images, d.heldout_labels),
    ):
        truth = {picture(split, i).tobytes(): i for i in range(len(images))}
        found = [truth[image[..., 2].tobytes()] for image in images]  # TFDS shuffles
        assert sorted(found) == list(range(len(images)))
        assert [2 * (i % 2) if split == "train" else i % 3 for i in found] == labels.tolist()


def test_held_out_from_train(tiny_dir):
    d = load_tfds("tiny_set", data_dir=tiny_dir, heldout_split=None, gray_copies=True)
    assert d.class_names == ("ant", "cow"), "train has no bee"
    assert d.images.shape == (16, 4, 5, 1) and d.heldout_images.shape == (4, 4, 5, 1)
    assert np.bincount(d.heldout_labels).tolist() == [2, 2]
    assert not rows(d.images) & rows(d.heldout_images)
    truth = {picture("train", i).tobytes(): i % 2 for i in range(20)}
    for images, labels in ((d.images, d.labels), (d.heldout_images, d.heldout_labels)):
        assert [truth[image.tobytes()] for image in images] == labels.tolist()


def test_progress_counts_every_image_once(tiny_dir, monkeypatch):
    monkeypatch.setattr(prepared, "CHUNK", 8)
    calls = []
    load_tfds("tiny_set", data_dir=tiny_dir, progress=lambda *args: calls.append(args))
    assert calls == [(8, 26), (16, 26), (20, 26), (26, 26)]


def test_cache_spares_the_reader(tiny_dir, cache_dir, monkeypatch):
    first = load_tfds("tiny_set", data_dir=tiny_dir)
    (file,) = cache_dir.iterdir()

    def fail(*_, **__):
        raise ValueError("the TFDS reader was called")

    monkeypatch.setattr(tfds, "builder_from_directory", fail)
    assert_same(first, load_tfds("tiny_set", data_dir=tiny_dir))
    with pytest.raises(ValueError, match="reader was called"):  # other options, other file
        load_tfds("tiny_set", data_dir=tiny_dir, gray_copies=True)
    file.unlink()
    with pytest.raises(ValueError, match="reader was called"):
        load_tfds("tiny_set", data_dir=tiny_dir)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_damaged_cache_is_rebuilt(tiny_dir, cache_dir, damage):
    first = load_tfds("tiny_set", data_dir=tiny_dir)
    (file,) = cache_dir.iterdir()
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(first.images.tobytes()) + 100] ^= 1  # one bit of one pixel
    broken = {"cut": whole[:-200], "flip": bytes(flipped), "empty": b"", "text": b"no zip"}
    file.write_bytes(broken[damage])
    with pytest.warns(match="cannot be used and its data set is decoded anew"):
        again = load_tfds("tiny_set", data_dir=tiny_dir)
    assert_same(first, again)
    assert_same(first, load_tfds("tiny_set", data_dir=tiny_dir))
    assert [path.name for path in cache_dir.iterdir()] == [file.name]
    with np.load(file) as arrays:
        np.testing.assert_array_equal(arrays["images"], first.images)


def test_missing_set_names_folder_origin_and_command(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "from_env"))
    with pytest.raises(FileNotFoundError, match=r"from_env .from the variable TFDS_DATA_DIR"):
        load_dataset("mnist")
    with pytest.raises(DatasetNotPrepared, match=r"here .from the argument data_dir") as error:
        load_dataset("mnist", data_dir=tmp_path / "here")
    command = str(error.value).splitlines()[-1].split("&&")[1]
    *_, code = shlex.split(command)
    calls = []
    monkeypatch.setattr(tfds, "builder", lambda *a, **k: calls.append((a, k)) or TinySet)
    monkeypatch.setattr(TinySet, "download_and_prepare", lambda: calls.append("prepared"))
    exec(code)  # the command is Python that does what it says
    folder = str(tmp_path / "here")
    assert calls == [
        (("mnist",), {"data_dir": folder, "file_format": "array_record"}),
        "prepared",
    ]
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DatasetNotPrepared, match=r"tensorflow_datasets .from the default of TFDS"):
        load_dataset("cifar10")


def test_other_file_format_is_refused(tmp_path):
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text('{"fileFormat": "tfrecord"}')
    with pytest.raises(DatasetNotPrepared, match="prepared as tfrecord; genvec reads array_record"):
        load_dataset("mnist", data_dir=tmp_path)


def test_highest_version_is_read(tmp_path):
    for version in ("9.0.0", "10.0.0", "10.0.0.incompleteXYZ"):
        (tmp_path / "mnist" / version).mkdir(parents=True)
        info = tmp_path / "mnist" / version / "dataset_info.json"
        info.write_text('{"fileFormat": "array_record"}')
    assert prepared.prepared_folder("mnist", tmp_path).name == "10.0.0"


def test_colours_are_not_gray_copies(tmp_path):
    class Source(list):
        feature = type("Feature", (), {"shape": (2, 2, 3), "np_dtype": np.uint8})
        dataset_info = type("Info", (), {"features": {"image": feature}, "data_dir": "here"})

        def __getitems__(self, indices):
            return [self[i] for i in indices]

    image = np.zeros((2, 2, 3), np.uint8)
    source = Source([{"image": image, "label": 0}])
    assert prepared.read_images(source, "label", True, None, 0, 1)[0].shape == (1, 2, 2, 1)
    image[1, 1, 2] = 1
    with pytest.raises(ValueError, match=r"records 0\.\.0 hold an image with colours"):
        prepared.read_images(source, "label", True, None, 0, 1)


def test_class_indices():
    d = data.Dataset("pets", NAMES, *[np.zeros(0)] * 4)
    assert class_indices(d, ["cow", 0, 1]) == (2, 0, 1)
    with pytest.raises(KeyError, match="unknown class of pets 'cat'; known: ant, bee, cow"):
        class_indices(d, ["cat"])
    for wrong in (3, -1):
        with pytest.raises(KeyError, match=rf"index {wrong} of pets; known: 0 \(ant\), 1 \(bee\)"):
            class_indices(d, [wrong])
    with pytest.raises(ValueError, match="'cow' is given twice"):
        class_indices(d, ["cow", 2])


def test_unknown_name_lists_the_known():
    with pytest.raises(KeyError, match=r"unknown dataset 'minst'; known: .*digits.*mnist"):
        load_dataset("minst")


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"digits"}))
def test_real_set(name, monkeypatch):
    if not os.environ.get("TFDS_DATA_DIR"):
        pytest.skip("TFDS_DATA_DIR is not set: no real TFDS sets to read")
    try:
        folder = prepared.prepared_folder(name, None)
    except DatasetNotPrepared:
        pytest.skip(f"{name} is not prepared in TFDS_DATA_DIR")
    read_images = data.read_images
    monkeypatch.setattr(data, "read_images", lambda source, *args: read_images(Head(source), *args))
    d = load_dataset(name)
    label = "alphabet" if name == "omniglot" else "label"
    builder = tfds.builder_from_directory(folder)
    names = builder.info.features[label].names
    truth = {
        record["image"][..., : d.images.shape[-1]].tobytes(): names[record[label]]
        for record in map(builder.as_data_source("train").__getitem__, range(Head.size))
    }
    assert all(
        truth[x.tobytes()] == d.class_names[y] for x, y in zip(d.images, d.labels, strict=True)
    )
    assert len(d.class_names) == (len(set(truth.values())) if name == "omniglot" else 10)
    assert len(d.images) > 300 and len(d.heldout_images) > 50


class Head:
    """The first records of a data source."""

    size = 400

    def __init__(self, source):
        self.dataset_info, self.__getitems__ = source.dataset_info, source.__getitems__

    def __len__(self):
        return self.size
