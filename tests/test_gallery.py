"""The gallery: its page, from arrays that the test makes, and the pieces of its stage."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy.spatial import cKDTree, geometric_slerp
from scipy.stats import norm

from experiments import gallery as stage
from experiments import latents
from experiments.setup import Cell
from genvec import store
from genvec.classes import Classifier
from genvec.families import FAMILIES
from genvec.report import gallery, write_gallery
from genvec.zoo import Trained

NAMES = ("1", "<4>", "Käfer")
SECTIONS = (
    *("families", "samples", "manifold", "interpolation", "arithmetic", "field", "adversarial"),
)
FAMILIES_TABLE = {
    "vae": {
        "fid": 12.345,
        "angle_deg_mean": 1.5,
        "sampling512_angle_deg_mean": 2.5,
        "sampling512_calibrated_angle_deg_mean": 2.25,
        "num_members": {"train": 2550},
    },
    "wgan": {
        "fid": None,
        "angle_deg_mean": 3.5,
        "sampling512_angle_deg_mean": 2.5,
        "sampling512_calibrated_angle_deg_mean": 4.0,
    },
    "inr": {"angle_deg_mean": 40.0},
}


def fake_arrays(size: int = 8, channels: int = 1) -> dict[str, np.ndarray]:
    """What `experiments.gallery` writes, of two cells and three classes."""
    rng = np.random.default_rng(0)

    def images(*shape):
        return rng.integers(0, 256, (*shape, size, size, channels), np.uint8)

    angle = np.linspace(0, 6, 50)
    grid = np.stack(np.meshgrid(*[np.linspace(0.1, 0.9, 5)] * 2), axis=-1).reshape(-1, 2)
    arrays = {
        "classes": np.array(NAMES),
        "samples/cells": np.array(["vae", "one_image"]),
        "samples/families": np.array(["vae", "inr"]),
        "samples/member": np.array([3, 8]),
        "samples/mixture": np.array([[0.9, 0.1, 0.0], [0.3, 0.3, 0.4]]),
        "samples/real": images(2, 4),
        "samples/images": images(2, 2, 4),
        "samples/finite": np.array([[True, True], [True, False]]),
        "manifold/images": images(5, 5),
        "manifold/codes": rng.normal(size=(12, 2)),
        "manifold/labels": np.arange(12) % 3,
        "manifold/scans": images(12),
        "interpolation/classes": np.array([[0, 1], [0, 2], [1, 2]]),
        "interpolation/ends": images(3, 2),
        "interpolation/images": images(3, 2, 9),
        "interpolation/norms": rng.uniform(1, 2, (3, 2, 9)),
        "arithmetic/moved": images(3, 4, 6),
        "arithmetic/hits": np.full((3, 3), 0.875),
        "arithmetic/sums": images(3, 4),
        "field/points": 0.5 + 0.3 * np.stack([np.cos(angle), np.sin(angle)], axis=1),
        "field/grid": grid,
        "field/score": rng.normal(size=grid.shape),
        "field/noise": np.array(0.05),
        "field/walks": rng.uniform(size=(4, 6, 2)),
    }
    for name in ("minimax", "wgan_gp"):
        arrays |= {
            f"modes/{name}/steps": np.array([0, 10, 40]),
            f"modes/{name}/coverage": rng.uniform(size=(3, 8)),
            f"modes/{name}/images": images(3, 4),
            f"modes/{name}/num_classified": np.array(77),
            **{
                f"curves/{name}/{p}": np.sort(rng.normal(size=(3, 32)), axis=0)
                for p in ("critic", "generator")
            },
        }
    return arrays


def rendered(path, arrays=None, metrics=None) -> str:
    run = store.RunFolder(path)
    if arrays is not None:
        store.write_arrays(run.gallery, arrays)
    if metrics is not None:
        store.write_json(run.metrics, metrics)
    assert write_gallery(run) == run.gallery_page
    return run.gallery_page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    metrics = {"dataset": "digits", "classes": list(NAMES), "families": FAMILIES_TABLE}
    return rendered(tmp_path_factory.mktemp("run"), fake_arrays(), metrics)


def markup(page: str) -> str:
    """The page without its scripts."""
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_page_loads_nothing(page):
    loads = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", markup(page))
    assert loads and all(address.startswith("data:") for address in loads)
    assert not re.search(r"https?:|url\(|@import", markup(page))
    assert "default-src 'none'" in page


def test_page_shows_every_section(page):
    assert re.findall(r'<section id="(\w+)"', page) == list(SECTIONS)
    assert not re.search(r" yet\.| have been kept\.|No adversarial", markup(page))
    for text in ("12.35", "88 %", "σ = 0.05", "77 images", "diverged", "one_image", "#8"):
        assert text in markup(page)
    assert "<4>" not in markup(page) and "− &lt;4&gt; + Käfer" in markup(page)
    # the real row and the cells', of which one member diverged
    assert len(re.findall(r'alt="(?:real images|samples of \w+)"', page)) == 2 + 4 - 1
    for figure in ('"steps"', "training, %", "multi_line"):
        assert figure in page.replace("MultiLine", "multi_line")


def test_color_images_of_another_size(tmp_path):
    assert "data:image/png" in markup(rendered(tmp_path, fake_arrays(size=16, channels=3)))


def test_what_is_missing_leaves_a_sentence(tmp_path):
    html = markup(rendered(tmp_path))
    assert re.findall(r'<section id="(\w+)"', html) == list(SECTIONS)
    for start in (
        *("The families have not been measured", "No samples have been drawn", "No VAE with two"),
        *("No codes have been interpolated", "No codes have been added", "No denoising"),
        *("No adversarial members", "No loss curves"),
    ):
        assert start in html


@pytest.mark.parametrize("name", [section for section in SECTIONS if section != "families"])
def test_one_missing_picture(tmp_path, name):
    gone = ("modes", "curves") if name == "adversarial" else (name,)
    arrays = {k: v for k, v in fake_arrays().items() if not k.startswith(gone)}
    html = markup(rendered(tmp_path, arrays))
    section = re.search(rf'<section id="{name}">.*?</section>', html, re.DOTALL)
    assert section and re.search(r"<p class=.how.>(No |The ).*", section[0])
    assert "<img" not in section[0] and html.count("<img") > 10


def test_families_of_the_table():
    table = gallery.families({"families": FAMILIES_TABLE})
    assert table is not None
    assert [row.ahead for row in table.rows] == [True, False, False]
    headings = [heading.text for heading in table.headings]
    vae, wgan, inr = (dict(zip(headings, row.values, strict=True)) for row in table.rows)
    assert (vae["FID"], vae["trained on"], wgan["FID"]) == ("12.35", "2,550", "–")
    assert set(inr.values()) == {"–", "40.00"}
    assert headings[table.encoder] == "encoder\xa0°"
    assert gallery.families({}) is None


def test_every_column_is_explained():
    assert set(gallery.COLUMNS) == set(gallery.EXPLANATIONS)


@pytest.mark.parametrize("gap", [0, 2])
def test_sheet_by_hand(gap):
    images = np.random.default_rng(0).integers(0, 255, (2, 3, 4, 5, 1), np.uint8)
    whole = gallery.sheet(images, gap)
    assert whole.shape == (2 * 4 + gap, 3 * 5 + 2 * gap, 1)
    for r in range(2):
        for s in range(3):
            top, left = r * (4 + gap), s * (5 + gap)
            np.testing.assert_array_equal(whole[top : top + 4, left : left + 5], images[r, s])
    assert (whole == 255).sum() == whole.size - images.size


def test_slerp_against_scipy():
    first, last = np.random.default_rng(0).normal(size=(2, 5))
    units = [z / np.linalg.norm(z) for z in (first, last)]
    expected = geometric_slerp(*units, np.linspace(0, 1, 7))
    np.testing.assert_allclose(latents.slerp(*units, 7), expected, atol=1e-12)
    way = latents.slerp(first, last, 7)
    np.testing.assert_allclose(way[[0, -1]], [first, last], atol=1e-12)
    np.testing.assert_allclose(latents.slerp(first, 3 * first, 3)[1], 2 * first)
    with pytest.raises(ValueError, match="opposite"):
        latents.slerp(first, -2 * first, 3)


def test_lerp_cuts_the_corner():
    way = latents.lerp(np.array([2.0, 0]), np.array([0, 2.0]), 3)
    np.testing.assert_allclose(way, [[2, 0], [1, 1], [0, 2]])


def test_quantile_grid_cells_are_equally_likely():
    grid = latents.quantile_grid(5)
    draws = np.random.default_rng(0).normal(size=(200_000, 2))
    nearest = np.abs(norm.cdf(draws)[:, None] - norm.cdf(grid.reshape(-1, 2))).max(-1).argmin(1)
    np.testing.assert_allclose(np.bincount(nearest) / len(draws), 1 / 25, rtol=0.05)
    assert grid[0, 0, 0] < 0 < grid[0, 0, 1]  # upper left: small z₁, large z₂
    np.testing.assert_allclose(grid[2, 2], 0, atol=1e-12)


def test_spread_out_members():
    mixtures = np.array(
        [[0.8, 0.1, 0.1], [0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.2, 0.7, 0.1], [0.4, 0.3, 0.3]]
    )
    # the third class is nearest to the most balanced member: of those left over, the next one is
    np.testing.assert_array_equal(stage.spread_out(mixtures), [1, 2, 4, 3])
    np.testing.assert_array_equal(stage.spread_out(mixtures[:2]), [1, 0])


def test_spiral_lies_in_the_square_at_equal_distances():
    points = latents.spiral(400)
    assert points.min() > 0.05 and points.max() < 0.95
    apart = np.linalg.norm(np.diff(points, axis=0), axis=1)[20:]
    assert apart.max() / apart.min() < 1.2


@pytest.fixture(scope="module")
def additive():
    """Codes that are images: a sum of codes is the sum of their images."""
    means = [np.full(4, value) for value in (0.2, 0.5, 0.8)]
    style = np.array([[0.1, 0, 0, 0], [0, 0.05, 0, 0], [0, 0, -0.05, 0]])
    codes = [mean + style for mean in means]
    scans = [latents.to_bytes(z.reshape(-1, 2, 2, 1)) for z in codes]
    middle = [np.array([0, 1])] * 3
    return latents.Coded(scans, codes, means, middle, lambda z: jnp.reshape(z, (-1, 2, 2, 1)))


def test_arithmetic_of_codes_that_add(additive):
    levels = jnp.array([0.2, 0.5, 0.8])
    nearest = Classifier({}, lambda _, x: -jnp.abs(jnp.mean(x, axis=(1, 2, 3))[:, None] - levels))
    made = latents.arithmetic(additive, nearest)
    np.testing.assert_array_equal(made["hits"], np.ones((3, 3)))
    for a in range(3):  # a class moved onto itself, and onto another, is that class
        for b in range(3):
            off = made["moved"][a, 1 + b].astype(int) - additive.scans[b]
            assert np.abs(off).max() <= 1
    first = additive.codes[0][0] - additive.codes[0][1] + additive.codes[1][0]
    np.testing.assert_array_equal(made["sums"][0, 3].ravel(), latents.to_bytes(first))
    np.testing.assert_array_equal(made["sums"][2, 2], additive.scans[0][0])
    shifted = nearest._replace(apply=lambda v, x: nearest.apply(v, jnp.clip(x + 0.3, 0, 0.8)))
    assert latents.arithmetic(additive, shifted)["hits"].mean() < 0.5  # a negative control


def test_interpolation_ends_where_it_says(additive):
    made = latents.interpolation(additive)
    np.testing.assert_array_equal(made["classes"], [[0, 1], [0, 2], [1, 2]])
    np.testing.assert_array_equal(made["images"][:, 0, [0, -1]], made["ends"])
    np.testing.assert_array_equal(made["images"][:, 1, [0, -1]], made["ends"])
    middle = latents.to_bytes((additive.codes[0][0] + additive.codes[2][0]) / 2)
    np.testing.assert_array_equal(made["images"][1, 0, latents.STEPS // 2].ravel(), middle)


def test_to_bytes_of_odd_numbers():
    np.testing.assert_array_equal(
        latents.to_bytes(np.array([0, 0.5, 1, 2, -1, np.nan])), [0, 128, 255, 255, 0, 0]
    )


def test_the_field_leads_to_the_data():
    made = latents.field(jax.random.key(0), steps=300)
    data = cKDTree(made["points"])
    first, last = (data.query(made["walks"][:, i])[0] for i in (0, -1))
    assert np.median(last) < 0.4 * np.median(first)
    assert np.isfinite(made["score"]).all() and made["score"].shape == made["grid"].shape


def test_manifold_of_an_untrained_member(data, monkeypatch):
    def untrained(key, family, data, **training):
        return Trained(*family.init(key), {})

    monkeypatch.setattr(latents, "train_one", untrained)
    made = latents.manifold(jax.random.key(0), data, steps=2, batch_size=4)
    assert made["images"].shape == (15, 15, 4, 4, 1) and made["images"].dtype == np.uint8
    assert made["codes"].shape == (len(data.heldout_images), 2)
    np.testing.assert_array_equal(made["scans"], data.heldout_images)


def test_follow_modes_of_a_short_training(data):
    family = FAMILIES["pca"]((4, 4, 1), latent=2)  # any family will do, and this one compiles fast
    own = {"plan": "scan", "precision": "float32", "init": "independent", "hparams": {}}
    cell = Cell(family, ConfigDict({"steps": 4, "batch_size": 4, **own}))
    settings = ConfigDict({"num_members": 2, "segments": 2, "num_classified": 16, "num_samples": 3})
    always = Classifier({}, lambda _, x: jnp.tile(jnp.array([0.0, 1.0, 0.0]), (len(x), 1)))
    made = stage.follow_modes(settings, cell, data, always, jax.random.key(0))
    np.testing.assert_array_equal(made["steps"], [0, 1, 4])
    assert made["images"].shape == (3, 3, 4, 4, 1)
    np.testing.assert_allclose(made["coverage"], np.full((3, 2), 1 / 3))  # one of three classes
