"""Odd images, odd data sets, odd caches: a right result or one clear word, and nothing hangs."""

import io
import os
import re
import stat
import struct
import warnings
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from experiments.search import _query
from genvec import cached, data, prepared
from genvec.classes import Classifier, accuracy, class_embeddings, predict
from genvec.collections.data import (
    COLLECTIONS,
    Collections,
    check_collections,
    load_collections,
    members_of,
)
from genvec.decoding import printable
from genvec.families import FAMILIES
from genvec.images import read_images
from genvec.mixtures import draw_rows, group_by_class, heldout_weights
from genvec.types import Dataset
from genvec.validity import check_classes, check_dataset
from genvec.zoo import Task, member_inputs, train_member

RAMP = np.arange(24, dtype=np.uint8).reshape(4, 6) * 11  # [4, 6], from 0 to 253
GREY, COLOUR = (4, 6, 1), (4, 6, 3)


def one(folder, shape=GREY):
    """The only image of a folder, as lists for `==`; grey without its axis."""
    images = read_images(folder, shape).images
    assert len(images) == 1 and images.dtype == np.uint8
    return images[0, ..., 0] if shape[2] == 1 else images[0]


# --- image files -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm", "big_endian.tif"])
def test_16_bits_are_scaled(tmp_path, name):
    values = RAMP.astype(np.uint16) * 257
    if name == "a.pgm":
        content = b"P5 6 4 65535\n" + values.astype(">u2").tobytes()
        (tmp_path / name).write_bytes(content)
    elif name == "big_endian.tif":
        (tmp_path / name).write_bytes(tiff(values.astype(">u2"), 16, b"MM"))
    else:
        Image.fromarray(values).save(tmp_path / name)
    np.testing.assert_array_equal(one(tmp_path), RAMP)
    assert ("16-bit grey, scaled to 8 bits: " + name) in read_images(tmp_path, GREY).told()


def tiff(values, bits, order=b"II", photometric=1, sample_format=1) -> bytes:
    """A plain TIFF of one strip, written from its specification (version 6, section 8)."""
    sign = "<" if order == b"II" else ">"
    tags = {256: 6, 257: 4, 258: bits, 259: 1, 262: photometric, 277: 1, 278: 4, 339: sample_format}
    content = values if isinstance(values, bytes) else values.tobytes()
    start = 8 + 2 + 12 * (len(tags) + 2) + 4
    tags |= {273: start, 279: len(content)}
    entries = b"".join(
        struct.pack(sign + "HHI", tag, 4, 1) + struct.pack(sign + "I", tags[tag])
        for tag in sorted(tags)
    )
    head = order + struct.pack(sign + "HI", 42, 8) + struct.pack(sign + "H", len(tags))
    return head + entries + struct.pack(sign + "I", 0) + content


def test_12_bits_are_scaled_by_their_own_white(tmp_path):
    values = np.linspace(0, 4095, 24).round().astype(int)
    packed = b"".join(
        bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255])
        for a, b in zip(values[::2], values[1::2], strict=True)
    )
    (tmp_path / "a.tif").write_bytes(tiff(packed, 12))
    np.testing.assert_array_equal(one(tmp_path).ravel(), np.rint(values * 255 / 4095))


@pytest.mark.parametrize("name", ["wide", "float"])
def test_white_is_zero(tmp_path, name):
    if name == "wide":
        content = tiff(65535 - RAMP.astype("<u2") * 257, 16, photometric=0)
    else:
        content = tiff(1 - RAMP.astype("<f4") / 255, 32, photometric=0, sample_format=3)
    (tmp_path / "a.tif").write_bytes(content)
    np.testing.assert_array_equal(one(tmp_path), RAMP)


def test_floats_of_the_unit_interval_are_scaled(tmp_path):
    Image.fromarray(RAMP.astype(np.float32) / 255).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(one(tmp_path), RAMP)
    np.testing.assert_array_equal(one(tmp_path, COLOUR), np.repeat(RAMP[..., None], 3, axis=-1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (RAMP.astype(np.float32), r"a\.tif: floats from 0 to 253; allowed: 0 to 1"),
        (RAMP.astype(np.float32) / 255 - 0.5, r"floats from -0\.5 to"),
        (np.where(RAMP == 0, np.nan, 0.5).astype(np.float32), "floats from nan to nan"),
        (RAMP.astype(np.float32) / 1e5, "all but black"),
        (RAMP.astype(np.int32), r"32 bits, or with a sign, from 0 to 253.*save it with 8 or 16"),
        (RAMP.astype(np.uint16), r"grey from 0 to 253 of 65535: it would be all but black"),
    ],
)
def test_values_without_a_known_white_are_refused(tmp_path, values, message):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=message):
        read_images(tmp_path, GREY)


def test_black_stays_black(tmp_path):
    Image.fromarray(np.zeros((4, 6), np.uint16)).save(tmp_path / "a.png")
    assert one(tmp_path).max() == 0


def over_white(alpha):
    """RAMP with this alpha, by hand."""
    return np.rint((RAMP.astype(float) * alpha + 255.0 * (255 - alpha)) / 255)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "16 bits"])
def test_transparency_is_laid_over_white(tmp_path, mode):
    alpha = np.tile(np.array([0, 0, 128, 128, 255, 255], np.uint8), (4, 1))
    if mode == "16 bits":
        deep = np.stack([RAMP * 257.0, alpha * 257.0], -1).astype(">u2")
        (tmp_path / "a.png").write_bytes(png(deep, bits=16, colour=4))
    else:
        image = Image.fromarray(RAMP).convert(mode)
        image.putalpha(Image.fromarray(alpha))
        image.save(tmp_path / "a.png")
    np.testing.assert_allclose(one(tmp_path), over_white(alpha), atol=1)
    assert "transparency laid over white: a.png" in read_images(tmp_path, GREY).told()


def png(values, bits, colour, chunks=()) -> bytes:
    """A PNG of 4 × 6, written from its specification."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    rows = b"".join(b"\0" + row.tobytes() for row in values)
    head = struct.pack(">IIBBBBB", 6, 4, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("depth", ["grey", "deep_grey", "deep_colour", "palette", "gif"])
def test_a_transparent_value_is_white(tmp_path, depth):
    clear = RAMP == 99
    if depth == "grey":
        key = [(b"tRNS", struct.pack(">H", 99))]
        content = png(RAMP, 8, 0, key)
    elif depth == "deep_grey":
        key = [(b"tRNS", struct.pack(">H", 99 * 257))]
        content = png(RAMP.astype(">u2") * 257, 16, 0, key)
    elif depth == "deep_colour":
        key = [(b"tRNS", struct.pack(">HHH", *[99 * 257] * 3))]
        content = png(np.repeat(RAMP.astype(">u2")[..., None] * 257, 3, -1), 16, 2, key)
    else:
        image, file = Image.fromarray(RAMP).convert("P"), io.BytesIO()
        image.save(file, "PNG" if depth == "palette" else "GIF", transparency=99)
        content = file.getvalue()
    (tmp_path / "a").write_bytes(content)
    np.testing.assert_array_equal(one(tmp_path), np.where(clear, 255, RAMP))


@pytest.mark.parametrize(
    "name", ["a.png", "p.png", "a.webp", "lossy.webp", "a.gif", "a.jpg", "1.png"]
)
def test_grey_stored_as_something_else_is_grey(tmp_path, name):
    image = Image.fromarray(RAMP).convert("P" if name == "p.png" else "RGB")
    expected, atol = RAMP, 0
    if name == "1.png":
        image, expected = Image.fromarray(RAMP > 99), np.where(RAMP > 99, 255, 0)
    options = {"lossless": True} if name == "a.webp" else {}
    if name in ("lossy.webp", "a.jpg"):
        options, atol = {"quality": 95}, 12
    image.save(tmp_path / name, **options)
    np.testing.assert_allclose(one(tmp_path).astype(int), expected, atol=atol)


def test_colours_are_refused_for_the_true_reason(tmp_path):
    Image.new("RGB", (6, 4), (10, 90, 10)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: coloured, .* differ by up to 80 of 255"):
        read_images(tmp_path, GREY)
    assert one(tmp_path, COLOUR)[0, 0].tolist() == [10, 90, 10]


def test_grey_is_valid_colour(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    np.testing.assert_array_equal(one(tmp_path, COLOUR), np.repeat(RAMP[..., None], 3, axis=-1))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
@pytest.mark.parametrize(("orientation", "turn"), [(3, 2), (6, -1), (8, 1)])
def test_exif_orientation_is_applied(tmp_path, name, orientation, turn):
    pixels = np.where(RAMP > 99, 255, 0).astype(np.uint8).repeat(8, 0).repeat(8, 1)  # JPEG's blocks
    exif = Image.Exif()
    exif[274] = orientation
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(pixels, -turn)))
    stored.save(tmp_path / name, exif=exif, **({"lossless": True} if name == "a.webp" else {}))
    np.testing.assert_allclose(one(tmp_path, (32, 48, 1)).astype(int), pixels, atol=3)
    assert f"turned by its EXIF orientation: {name}" in read_images(tmp_path, (32, 48, 1)).told()


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.png", "a.webp"])
def test_the_first_frame_is_read_and_said(tmp_path, name):
    frames = [Image.new("RGB", (6, 4), (value,) * 3) for value in (40, 90, 200)]
    options = {"lossless": True} if name == "a.webp" else {}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    assert (one(tmp_path) == 40).all()
    assert f"the first of 3 frames: {name}" in read_images(tmp_path, GREY).told()


def bomb(path):
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    whole = png(RAMP, 8, 0)
    chunk = b"IHDR" + head
    path.write_bytes(whole[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + whole[33:])


def odd_text(path):
    info = PngImagePlugin.PngInfo()
    info.add_text("key", "x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    Image.fromarray(RAMP).save(path, pnginfo=info)


def cut(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6)).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-30])


def postscript(path):
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EndComments\nshowpage\n")


ODD = {
    "bomb": (bomb, "decompression bomb"),
    "text": (odd_text, "it cannot be decoded: Decompressed data too large"),
    "cut": (cut, "it cannot be decoded"),
    "pipe": (lambda path: os.mkfifo(path), "a pipe, not a file"),
    "socket": (lambda path: os.mknod(path, 0o600 | stat.S_IFSOCK), "a socket, not a file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "a device, not a file"),
    "link": (lambda path: path.symlink_to("nowhere"), "a link to nothing"),
    "loop": (lambda path: path.symlink_to(path), "it cannot be read: .*symbolic links"),
    "empty": (lambda path: path.touch(), "an empty file"),
    "folder": (lambda path: path.mkdir(), "a folder, not a file"),
    "eps": (postscript, "no whole image of a known format"),
    "archive": (lambda path: path.write_bytes(b"PK\3\4" + bytes(99)), "no whole image"),
}


@pytest.mark.parametrize("kind", sorted(ODD))
def test_what_is_no_image_is_skipped_with_its_reason(tmp_path, kind):
    make, reason = ODD[kind]
    Image.fromarray(RAMP).save(tmp_path / "good.png")
    make(tmp_path / "a.png")
    found = read_images(tmp_path, GREY)
    assert len(found.images) == 1
    ((name, why),) = found.skipped
    assert name == "a.png"
    assert re.search(reason, why)


def test_a_file_that_may_not_be_read_is_skipped(tmp_path, monkeypatch):
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    Image.fromarray(RAMP).save(tmp_path / "b.png")
    real = os.open

    def refuse(path, *args, **kwargs):
        if str(path).endswith("a.png"):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    found = read_images(tmp_path, GREY)
    assert found.skipped == (("a.png", "it cannot be read: Permission denied"),)


def test_names_that_are_no_text_can_be_printed(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "good.png")
    for name in (b"\xff\xfe.png", b"line\nfeed", "é".encode()):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(b"x")
    told = read_images(tmp_path, GREY).told()
    assert [line.split(":")[0] for line in told] == [
        "skipped line\\nfeed",
        "skipped é",
        "skipped \\udcff\\udcfe.png",
    ]
    "\n".join(told).encode()  # as print does
    assert printable("a b/ü.png") == "a b/ü.png"


# --- data sets ---------------------------------------------------------------------------------


def put(labels, value):
    changed = labels.copy()
    changed[1] = value
    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: {"labels": put(d.labels, 3)}, r"train part: label 3 at image 1.*0\.\.2"),
        (lambda d: {"labels": put(d.labels, -1)}, "train part: label -1 at image 1"),
        (lambda d: {"heldout_labels": put(d.heldout_labels, -1)}, "held-out part: label -1"),
        (lambda d: {"labels": d.labels[:-1]}, "each of the 60 images"),
        (lambda d: {"labels": d.labels.astype(float)}, "labels are float64"),
        (lambda d: {"images": d.images[..., 0]}, r"images of rows have shape \(60, 4, 4\)"),
        (lambda d: {"images": d.images / 255}, "images of rows are float64, from 0"),
        (lambda d: {"heldout_images": d.heldout_images / 255}, "held-out images .* float64"),
        (lambda d: {"heldout_images": d.heldout_images[:, :3]}, r"held-out ones \(3, 4, 1\)"),
        (lambda d: {"images": d.images[:0], "labels": d.labels[:0]}, "no image to train on"),
        (lambda d: {"class_names": ("a", "b", "a")}, "give each class its own name"),
    ],
)
def test_data_sets_are_checked(dataset, change, message, monkeypatch):
    odd = dataset._replace(**change(dataset))
    with pytest.raises(ValueError, match=message):
        group_by_class(odd, (0, 1))
    monkeypatch.setitem(data.DATASETS, "odd", lambda **_: odd)
    with pytest.raises(ValueError, match=message):
        data.load_dataset("odd")


def without(dataset, label, part):
    if part == "train":
        kept = dataset.labels != label
        return dataset._replace(images=dataset.images[kept], labels=dataset.labels[kept])
    kept = dataset.heldout_labels != label
    images, labels = dataset.heldout_images[kept], dataset.heldout_labels[kept]
    return dataset._replace(heldout_images=images, heldout_labels=labels)


def test_a_class_without_train_images_is_refused_by_name(dataset):
    odd = without(dataset, 1, "train")
    with pytest.raises(ValueError, match="rows has no train image of class b"):
        group_by_class(odd, (0, 1, 2))
    assert group_by_class(odd, (0, 2)).counts.tolist() == [30, 10], "nobody asked for b"
    for classes in ((0, 3), (-1,)):
        with pytest.raises(KeyError, match="unknown class index"):
            group_by_class(dataset, classes)


@pytest.mark.parametrize("mixture", [(0.5, 0.2, 0.3), (0.0, 1.0, 0.0)])
def test_a_class_without_heldout_images_leaves_the_metrics_to_the_others(dataset, mixture):
    with pytest.warns(match="rows has no held-out image of class b: metrics"):
        grouped = group_by_class(without(dataset, 1, "heldout"), (0, 1, 2))
    family = FAMILIES["ae"]((4, 4, 1), hidden=(6,), latent=2)
    inputs = member_inputs(
        jax.random.key(0), np.array([mixture]), family, init="independent", hparams={}
    )
    inputs = jax.tree.map(lambda leaf: leaf[0], inputs)
    metrics = train_member(inputs, grouped, Task(family, 2, 8)).metrics
    names = [name for name in metrics if name != "finite" and "_loss" not in name]
    finite = [bool(np.isfinite(metrics[name])) for name in names]
    assert names and finite == len(names) * [mixture[1] < 1], "of b alone nothing is measured"


def test_weights_of_heldout_images():
    rng = np.random.default_rng(0)
    for _ in range(20):  # as before, to the bit, where every class has images
        labels = np.concatenate([np.arange(5), rng.integers(0, 5, 40)])
        mixture = rng.dirichlet(np.ones(5)).astype(np.float32)
        onehot = jax.nn.one_hot(labels, 5)
        before = onehot @ (jnp.asarray(mixture) / jnp.sum(onehot, axis=0))
        np.testing.assert_array_equal(heldout_weights(jnp.asarray(mixture), labels), before)
    weights = heldout_weights(jnp.array([0.5, 0.2, 0.3]), np.array([0, 2, 2, 0, 0]))
    np.testing.assert_allclose(weights, np.array([5, 4.5, 4.5, 5, 5]) / 24, rtol=1e-6)


def test_no_heldout_image_at_all_is_refused(dataset):
    odd = dataset._replace(heldout_images=dataset.heldout_images[:0])
    odd = odd._replace(heldout_labels=dataset.heldout_labels[:0])
    with pytest.raises(ValueError, match="no held-out image of class a, b"):
        check_classes(check_dataset(odd), (0, 1))
    with pytest.raises(ValueError, match="no images"):
        accuracy(np.zeros((0, 3)), np.zeros(0, int))
    with pytest.raises(ValueError, match="no images"):
        predict(Classifier({}, lambda variables, x: x), odd.heldout_images)
    with pytest.raises(ValueError, match="label -1"):
        class_embeddings(np.zeros((2, 3)), np.array([0, -1]), 2)


@pytest.mark.parametrize(("num", "heldout"), [(1, 0), (2, 1), (3, 1), (10, 2)])
def test_small_classes_hold_out_an_image_where_they_can(num, heldout):
    labels = np.repeat([0, 2], (num, 10))
    images = np.zeros((len(labels), 2, 2, 1), np.uint8)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = data._hold_out("pets", ("ant", "bee", "cow"), images, labels)
    assert np.bincount(found.heldout_labels, minlength=2).tolist() == [heldout, 2]
    assert np.bincount(found.labels).tolist() == [num - heldout, 8]
    assert [str(w.message) for w in told] == (
        ["pets has one image of class ant: it is trained on, not held out"] if num == 1 else []
    )
    with pytest.raises(ValueError, match="pets: label -1 at image 1"):
        data._hold_out("pets", ("ant", "bee", "cow"), images, put(labels, -1))


# --- draws -------------------------------------------------------------------------------------


def draw_as_before(key, mixture, starts, counts, num):
    """The formula of the kept results."""
    class_u, row_u = jax.random.uniform(key, (2, num))
    label = jnp.sum(class_u[:, None] >= jnp.cumsum(mixture)[:-1], axis=1)
    offset = jnp.minimum((row_u * counts[label]).astype(jnp.int32), counts[label] - 1)
    return starts[label] + offset, label


@pytest.mark.parametrize("num_classes", [1, 2, 3, 10, 26])
def test_draws_of_mixtures_without_zeros_are_as_before(num_classes):
    rng = np.random.default_rng(num_classes)
    counts = jnp.asarray(rng.integers(1, 7000, num_classes), jnp.int32)
    starts = jnp.cumsum(counts) - counts
    mixtures = rng.dirichlet(np.full(num_classes, 0.3), 200).astype(np.float32) + 1e-30
    keys = jax.random.split(jax.random.key(0), 200)
    now, before = (
        jax.jit(jax.vmap(lambda key, d, fn=fn: fn(key, d, starts, counts, 128)))(keys, mixtures)
        for fn in (draw_rows, draw_as_before)
    )
    jax.tree.map(np.testing.assert_array_equal, now, before)


@pytest.mark.parametrize("num_classes", [10, 26])
def test_a_class_of_weight_zero_is_never_drawn(num_classes, monkeypatch):
    """Also where the uniform number lies in the gap that rounding leaves."""
    rng = np.random.default_rng(num_classes)
    counts = jnp.ones(num_classes, jnp.int32)
    starts = jnp.arange(num_classes)
    below_one = 1 - np.arange(1, 40) * 2.0**-24
    for _ in range(60):
        weight = rng.dirichlet(np.ones(num_classes)) * (rng.random(num_classes) < 0.5)
        weight[rng.integers(num_classes)] += 0.1
        mixture = jnp.asarray(weight / weight.sum(), jnp.float32)
        sums = np.asarray(jnp.cumsum(mixture))
        near = np.concatenate([np.nextafter(sums, 0), sums, np.nextafter(sums, 1), below_one, [0]])
        u = jnp.asarray(np.clip(near, 0, 1 - 2.0**-24), jnp.float32)
        monkeypatch.setattr(jax.random, "uniform", lambda key, shape, u=u: jnp.stack([u, u]))
        rows, label = draw_rows(jax.random.key(0), mixture, starts, counts, len(u))
        assert (np.asarray(mixture)[np.asarray(label)] > 0).all()
        np.testing.assert_array_equal(rows, label)


# --- caches ------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, dataset):
    path = tmp_path / "cache" / "rows.npz"
    cached.write_cache(path, dataset)
    return path


def test_a_shard_of_equal_size_is_seen_and_a_copy_is_not(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x-train.array_record-00000-of-00001").write_bytes(b"0" * 100)
        (tmp_path / folder / "dataset_info.json").write_text("{}")
    first = cached.fingerprint(tmp_path / "a", [1])
    assert (
        first == cached.fingerprint(tmp_path / "b", [1]) != cached.fingerprint(tmp_path / "b", [2])
    )
    shard = next((tmp_path / "b").glob("*record*"))
    status = shard.stat()
    shard.write_bytes(b"0" * 99 + b"1")
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert first != cached.fingerprint(tmp_path / "b", [1])


def test_a_damaged_cache_where_nothing_can_be_written_is_told(cache, dataset, monkeypatch):
    cache.write_bytes(cache.read_bytes()[:-99])
    size = cache.stat().st_size

    def refuse(*_, **__):
        raise PermissionError(30, "Read-only file system")

    for name in ("replace", "unlink", "remove"):
        monkeypatch.setattr(os, name, refuse)
    with pytest.warns(match=r"rows\.npz cannot be used"):
        assert cached.read_cache(cache) is None
    with pytest.warns(match=r"cannot be written \(Read-only file system\): rows will be decoded"):
        cached.write_cache(cache, dataset)
    assert cache.stat().st_size == size


@pytest.mark.parametrize("damage", ["header", "labels", "unreadable"])
def test_a_cache_that_cannot_be_used_is_no_error(cache, dataset, damage, monkeypatch):
    if damage == "header":  # a shape that no memory holds
        whole = cache.read_bytes()
        cache.write_bytes(whole.replace(b"(60, 4, 4, 1)", b"(6" + b"0" * 8 + b",1)"))
    elif damage == "labels":
        np.savez(cache, **dataset._replace(labels=put(dataset.labels, 9))._asdict())
    else:
        monkeypatch.setattr(np, "load", lambda *_, **__: os.stat("/proc/self/nothing"))
    with pytest.warns(match="cannot be used and its data set is decoded anew"):
        assert cached.read_cache(cache) is None


def test_two_writers_never_share_a_temporary_file(cache, dataset, monkeypatch):
    seen = []
    real = os.replace
    monkeypatch.setattr(os, "getpid", lambda: 7)  # on two machines
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append(a), real(a, b)))
    for _ in range(2):
        cached.write_cache(cache, dataset)
    assert len(set(seen)) == 2
    assert [path.name for path in cache.parent.iterdir()] == ["rows.npz"]


# --- prepared sets and collections -------------------------------------------------------------


class FakeSet:
    """A TFDS builder of one split."""

    data_path = "tiny"

    def __init__(self, records, names=("ant", "bee"), dtype=np.uint8, shape=(2, 2, 1)):
        label = type("ClassLabel", (), {"names": list(names), "num_classes": 2})
        image = type("Image", (), {"shape": shape, "np_dtype": dtype})
        features = {"image": image, "label": label, "size": object()}
        self.records, self.info = (
            records,
            type("Info", (), {"features": features, "splits": ["train"], "data_dir": "tiny"}),
        )

    def as_data_source(self, split, **_):
        source = type("Source", (list,), {"__getitems__": lambda s, rows: [s[i] for i in rows]})
        source.dataset_info = self.info
        return source(self.records)


def records(*labels):
    return [{"image": np.zeros((2, 2, 1), np.uint8), "label": label} for label in labels]


@pytest.mark.parametrize(
    ("builder", "options", "message"),
    [
        (FakeSet(records(0, -1, 1)), {}, "label -1 at image 1"),
        (FakeSet(records(0, 1)), {"label_feature": "species"}, "no feature 'species'; known: im"),
        (FakeSet(records(0, 1)), {"label_feature": "size"}, "needs one name for each number"),
        (FakeSet(records(0, 1), names=("ant",)), {}, "needs one name for each number"),
        (FakeSet(records(0, 1)), {"heldout_split": "test"}, "no split 'test'; known: train"),
        (
            FakeSet(records(0, 1), dtype=np.uint16),
            {},
            "(?s)images are uint16 of shape .*give uint8",
        ),
        (FakeSet(records(0, 1), shape=(None, None, 3)), {}, "None, None, 3.* of one size"),
    ],
)
def test_odd_prepared_sets_are_named(tmp_path, monkeypatch, builder, options, message):
    monkeypatch.setenv("GENVEC_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "tiny" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text('{"fileFormat": "array_record"}')
    monkeypatch.setattr(data, "open_set", lambda _: builder)
    with pytest.raises(ValueError, match=message):
        data.load_tfds("tiny", data_dir=tmp_path, **{"heldout_split": None, **options})
    assert not (tmp_path / "cache").exists(), "nothing of it is kept"


def test_a_damaged_prepared_set_is_named(tmp_path):
    folder = tmp_path / "tiny" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text('{"fileFormat": ')
    with pytest.raises(ValueError, match=r"dataset_info\.json cannot be read: .*prepare the set"):
        prepared.prepared_folder("tiny", tmp_path)


def test_collections_without_objects_are_refused(monkeypatch):
    images = np.zeros((4, 2, 2, 1), np.uint8)
    good = Collections(
        images, np.array([0, 0, 1, 2]), np.array([0, 0, 1]), ("x", "y", "z"), ("A", "B")
    )
    check_collections(good, "letters")
    for change, message in (
        ({"group": np.array([0, 0, 1, 1])}, "group 'z' has no object"),
        ({"group": np.array([0, 0, 2, 2])}, "group 'y' has no object"),
        ({"group": np.array([0, 0, 1, 3])}, "groups of letters: label 3"),
        ({"group": np.array([0, 0, 1, -1])}, "groups of letters: label -1"),
        ({"group_class": np.array([0, 0, 0])}, "class 'B' has no group"),
        ({"group_class": np.array([0, 0, -1])}, "classes of letters: label -1"),
    ):
        odd = good._replace(**change)
        with pytest.raises(ValueError, match=message):
            check_collections(odd, "letters")
        monkeypatch.setitem(COLLECTIONS, "letters", lambda odd=odd, **_: (good, odd))
        with pytest.raises(ValueError, match=message):
            load_collections("letters")
    with pytest.raises(ValueError, match="group 'z' has no object"):
        members_of(good._replace(group=np.array([0, 0, 1, 1])))


# --- queries -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("rows:heldout:b", "no heldout image of class b"),
        ("rows:heldout:a,b", "no heldout image of class b"),
        ("rows:test", "'test' is no part"),
        ("rows:train:zebra", "unknown class of rows 'zebra'"),
        ("", "the query is empty"),
        ("nowhere", "nowhere is not a folder"),
    ],
)
def test_queries_that_have_no_images(dataset, monkeypatch, query, message):
    from ml_collections import ConfigDict

    odd = without(dataset, 1, "heldout")
    monkeypatch.setattr("experiments.search.load_dataset", lambda *_, **__: odd)
    with pytest.raises((ValueError, KeyError), match=message):
        _query(query, (4, 4, 1), ConfigDict({"data": {"data_dir": ""}}))


def test_a_query_lists_what_it_skips(tmp_path, capsys):
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    (tmp_path / "b.txt").write_text("x")
    assert len(_query(str(tmp_path), GREY, None)) == 1
    assert capsys.readouterr().out.startswith("skipped b.txt: no whole image of a known format")
    with pytest.raises(ValueError, match="if it is an archive, unpack it"):
        _query(str(tmp_path / "b.txt"), GREY, None)
    assert isinstance(check_dataset(Dataset("d", ("a",), *blank(), *blank())), Dataset)


def blank():
    return np.zeros((1, 2, 2, 1), np.uint8), np.zeros(1, int)
