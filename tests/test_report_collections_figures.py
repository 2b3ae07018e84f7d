"""The pictures of collections: places and colours of groups, bounds against distances."""

import base64
import io

import numpy as np
from PIL import Image
from sklearn.decomposition import PCA
from test_report_collections import MEANS, fake_arrays, fake_pairs

from genvec.report import collections_figures as figures
from genvec.report.palette import CLASS_COLORS


def test_large_color_drawings(monkeypatch):
    monkeypatch.setattr(figures, "MAX_STRIP_BYTES", 2 * 15 * 16 * 16 * 3)  # two of each group
    strip = figures.group_strips(fake_arrays(size=16, channels=3)["drawings"])[0]
    image = Image.open(io.BytesIO(base64.b64decode(strip.split(",")[1])))
    assert image.size == (2 * 17 - 1, 16) and image.mode == "RGB"


def test_places_of_few_groups_are_principal_components():
    vectors = fake_arrays(groups=3)["vectors"]
    places, note = figures.place_groups(vectors)
    expected = PCA(2).fit_transform(vectors)
    np.testing.assert_allclose(np.abs(places), np.abs(expected), atol=1e-8)
    assert "PCA" in note
    assert figures.place_groups(vectors[:, :1])[0].shape == (9, 2)


def test_places_of_many_groups_keep_neighbours():
    arrays = fake_arrays(groups=8)
    places, note = figures.place_groups(arrays["vectors"])
    again, _ = figures.place_groups(arrays["vectors"])
    np.testing.assert_array_equal(places, again)
    apart = np.linalg.norm(places[:, None] - places, axis=-1) + 1e9 * np.eye(24)

    def purity(group_class):
        return np.mean(group_class == group_class[apart.argmin(axis=1)])

    assert "t-SNE" in note and purity(arrays["group_class"]) == 1
    assert purity(np.random.default_rng(0).permutation(arrays["group_class"])) < 0.7


def test_oklab_of_known_colors():
    """Values of Ottosson's table, and of red as CSS Color 4 has it."""
    expected = [[1, 0, 0], [0, 0, 0], [0.628, 0.225, 0.126]]
    np.testing.assert_allclose(
        figures.oklab(["#ffffff", "#000000", "#ff0000"]), expected, atol=1e-3
    )


def test_many_classes_have_colors_of_their_own():
    for num in (1, 3, 10, 20, 30):
        colors = figures.distinct_colors(num)
        assert len(colors) == num and colors[:10] == CLASS_COLORS[:num]
        places = figures.oklab(colors)
        apart = np.linalg.norm(places[:, None] - places, axis=-1) + 9 * np.eye(num)
        assert apart.min() > (0.1 if num <= 20 else 0.07)
        assert places[:, 0].max() < 0.8  # seen on white


def drawn(pairs, upper=None):
    upper = upper or {"theorem": True, "largest_gap": False}
    return figures.draw_bounds(pairs, upper, MEANS, [str(i) for i in range(15)], height=300)


def test_bounds_stand_against_what_they_bound():
    pairs = fake_pairs(num=1300)
    panel = drawn(pairs)
    data = panel.figure.select_one({"name": "theorem"}).data
    assert len(data["true"]) == figures.MAX_PAIRS and "500 of 1,300 pairs" in panel.note
    np.testing.assert_allclose(data["true"], data["bound"])  # 2⁰ times
    last = pairs.iloc[-1]
    assert data["true"][-1] == last["true_theorem"]
    assert data["pair"][-1] == f"{last['x']:.0f} – {last['y']:.0f}"
    legend = [item.label.value for item in panel.figure.legend[0].items]
    assert legend == ["theorem", "largest_gap"] and panel.figure.legend[0].click_policy == "hide"
    line = panel.figure.renderers[0].data_source.data
    assert list(line["x"]) == list(line["y"]) == [data["true"].min(), data["true"].max()]


def test_axes_are_logarithmic_over_more_than_a_decade():
    pairs = fake_pairs()
    assert "Linear" in type(drawn(pairs, {"theorem": True}).figure.y_scale).__name__
    pairs.loc[:3, "bound_largest_gap"] = 0.0
    panel = drawn(pairs)  # down to a 32nd of the distance
    assert "Log" in type(panel.figure.y_scale).__name__
    assert panel.note == "30 of 30 pairs, logarithmic; 4 points at or near 0 left out"
    assert len(panel.figure.select_one({"name": "largest_gap"}).data["true"]) == 26
    assert len(panel.figure.select_one({"name": "theorem"}).data["true"]) == 30


def test_round_numbers_cover_the_axis():
    assert figures.round_numbers(2.5, 7) == [1, 1.5, 2, 3, 4, 5, 6, 8]
    np.testing.assert_allclose(figures.round_numbers(0.5, 20), [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50])


def test_small_distances_stay_below_huge_bounds():
    """What is far smaller than a bound but not than other distances has a place."""
    pairs = fake_pairs()
    pairs["bound_theorem"] *= 1e6
    assert "left out" not in drawn(pairs).note
    pairs.loc[0, ["true_theorem", "true_largest_gap"]] = 1e-4
    assert "2 points at or near 0 left out" in drawn(pairs).note


def test_bounds_that_say_nothing():
    pairs = fake_pairs()
    pairs["bound_largest_gap"] = 0.0
    panel = drawn(pairs, {"largest_gap": False})
    assert panel.note == "30 of 30 pairs" and "Linear" in type(panel.figure.y_scale).__name__
