"""The page of collections: what it says of a run folder that the test makes up."""

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from genvec import store
from genvec.collections.bounds import BOUNDS
from genvec.registry import UnknownNameError
from genvec.report import collections_figures as figures
from genvec.report import collections_table, write_collections
from genvec.report import collections_tables as tables

CLASSES = ("Käfer", "<b>", "Old_Church")
AGGREGATIONS = ("mean", "medoid", "attention")
SHARES = {"triplet": (0.8742, 0.75, 0.5), "n_pair": (0.8125, 0.9375, 0.625)}  # R@1
MEANS = "‖μ₁ − μ₂‖"


def entry(share: float, spread: bool, ways: int = 20) -> dict[str, float]:
    values = {"retrieval_r1": share, "retrieval_mrr": share + 0.0625}
    values |= {f"one_shot_{ways}way": share / 2, "alphabet_purity": 0.25}
    values |= {"within_character": 0.5, "within_alphabet": 1.0, "between_alphabets": 1.5}
    return values | ({f"{key}_std": 0.0125 for key in values} if spread else {})


def fake_metrics(spread: bool = True, ways: int = 20) -> dict:
    return {
        "objectives": {
            f"{objective}/{aggregation}": entry(share, spread, ways)
            for objective, shares in SHARES.items()
            for aggregation, share in zip(AGGREGATIONS, shares, strict=True)
        },
        "controls": {"pixels": entry(0.25, False, ways), "pca": entry(0.375, False, ways)},
        "bounds": {name: {"median_ratio": 1.236, "violations": 0} for name in BOUNDS},
        "shown": {"objective": "triplet", "aggregation": "mean"},
        "dataset": "strokes",
        "network": "conv",
        "num_groups": {"train": 1234, "test": 15},
        "num_seeds": 3 if spread else 1,
        "environment": {"processor": "an abacus"},
        "timings_s": {"triplet": 12.5},
    }


def fake_arrays(groups: int = 5, size: int = 8, channels: int = 1) -> dict[str, np.ndarray]:
    """Three classes whose groups lie close together, far from those of others."""
    rng = np.random.default_rng(0)
    group_class = np.repeat(np.arange(3), groups)
    num = len(group_class)
    return {
        "vectors": 10 * np.eye(3, 6)[group_class] + rng.normal(size=(num, 6)),
        "group_class": group_class,
        "group_names": np.array([f"{CLASSES[k]} {i:02d}" for i, k in enumerate(group_class)]),
        "class_names": np.array(CLASSES),
        "drawings": rng.integers(0, 256, (num, 4, size, size, channels), np.uint8),
    }


def fake_pairs(num: int = 30) -> pd.DataFrame:
    """Every true distance is from 1 to 2; the k-th bound is that times or over 2^k."""
    rng = np.random.default_rng(1)
    columns = {name: rng.integers(0, 15, num) for name in "xyz"}
    columns |= {"largest_negative": rng.uniform(5, 6, num)}
    true = {entry.true: rng.uniform(1, 2, num) for entry in BOUNDS.values()}
    for k, (name, bound) in enumerate(BOUNDS.items()):
        columns[f"true_{name}"] = true[bound.true]
        columns[f"bound_{name}"] = true[bound.true] * 2.0 ** (k if bound.upper else -k)
    return pd.DataFrame(columns)


def fake_run(path, metrics=None, arrays=None) -> store.RunFolder:
    run = store.RunFolder(path)
    store.write_json(run.metrics, metrics or fake_metrics())
    store.write_arrays(run.path / "groups.npz", arrays or fake_arrays())
    store.write_table(run.path / "bounds.parquet", fake_pairs())
    return run


def rendered(*args) -> str:
    run = fake_run(*args)
    assert write_collections(run) == run.report
    return run.report.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    return rendered(tmp_path_factory.mktemp("run"))


def markup(page: str) -> str:
    """The page without its scripts."""
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def section(page: str, name: str) -> str:
    return re.search(f'<section id="{name}">.*?</section>', page, re.DOTALL)[0]


def cells(page: str) -> dict[str, list[tuple[str, str, bool]]]:
    """Rows of the heat table: name → text, background and mark of its cells."""
    rows = {}
    for row in re.findall(r"<tr><th>(.*?)</tr>", section(markup(page), "scores")):
        name, rest = row.split("</th>", 1)
        found = re.findall(r'<td.*?class="(.*?)" style="background:(.*?)">(.*?)</td>', rest)
        rows[name.replace("<wbr>", "")] = [
            (text.replace("<br><small>", " ").replace("</small>", ""), color, "pair" in kind)
            for kind, color, text in found
        ]
    return {name: found for name, found in rows.items() if found}


def test_page_loads_nothing(page):
    loads = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", markup(page))
    assert loads and all(address.startswith("data:") for address in loads)
    assert not re.search(r"https?:|url\(|@import", markup(page))
    assert "default-src 'none'" in page


def test_page_shows_every_section(page):
    html = markup(page)
    names = ["scores", "map-section", "bounds-section", "bounds-table", "details"]
    assert re.findall(r'<section id="([\w-]+)"', html) == names
    for text in ("<b>triplet</b> and mean", "1,234 to learn from, 15 of other", "an abacus"):
        assert text in html
    assert all(f"<td>{name}</td>" in html and f'"{name}"' in page for name in BOUNDS)
    assert "<b> " not in html and "&lt;b&gt; 05" in html
    tiles = re.findall(r'<div class="tile"><b>(.*?)</b><span>(.*?)</span>', html)
    assert tiles == [
        ("93.8 %", "R@1 on groups never seen · n_pair/medoid"),
        ("46.9 %", "20-way one-shot accuracy · n_pair"),
        ("37.5 %", "R@1 of the best control · pca"),
    ]


def test_scores_of_every_cell(page):
    found = cells(page)
    assert list(found) == ["n_pair", "triplet", "pca", "pixels"]  # the best first
    # one-shot is half of R@1 here; of one objective's objects the largest is taken
    texts = {"triplet": "87.4 75.0 50.0 43.7", "n_pair": "81.2 93.8 62.5 46.9"}
    for objective, text in texts.items():
        assert [t for t, *_ in found[objective]] == [f"{number} ± 1.2" for number in text.split()]
    assert [t for t, *_ in found["pca"]] == ["37.5", "18.8"]
    assert [mark for *_, mark in found["n_pair"]] == [False, True, True, True]
    assert [mark for *_, mark in found["triplet"]] == [True, False, False, False]
    shade = {text.split(" ±")[0]: int(color[1:3], 16) for text, color, _ in found["n_pair"][:3]}
    assert shade["93.8"] < shade["81.2"] < shade["62.5"] < int(found["pixels"][0][1][1:3], 16)


def test_another_metric_makes_another_page(tmp_path, page):
    """A negative control: the mark, the tile and the number follow the metric."""
    metrics = fake_metrics()
    metrics["objectives"]["triplet/medoid"]["retrieval_r1"] = 0.99
    other = rendered(tmp_path, metrics)
    assert cells(other)["triplet"][1] == ("99.0 ± 1.2", "#1f5f99", True)
    assert not cells(other)["n_pair"][1][2] and cells(page)["n_pair"][1][2]
    assert "<b>99.0 %</b>" in other and "<b>99.0 %</b>" not in page


def test_one_seed_and_other_ways(tmp_path):
    metrics = fake_metrics(spread=False, ways=5)
    metrics["objectives"] = dict(reversed(metrics["objectives"].items()))
    del metrics["objectives"]["triplet/medoid"], metrics["environment"]
    metrics["objectives"]["n_pair/mean"]["retrieval_r1"] = None  # it was not finite
    metrics["bounds"]["medoid_gap"] = {"median_ratio": None, "violations": 7}
    html = rendered(tmp_path, metrics)
    assert "±" not in markup(html) and "seeds" not in section(html, "scores")
    assert "5-way one-shot accuracy · n_pair" in html and "each of 5 groups" in html
    assert [text for text, *_ in cells(html)["n_pair"]] == ["62.5", "93.8", "–", "46.9"]
    assert [text for text, *_ in cells(html)["triplet"]] == ["50.0", "–", "87.4", "43.7"]
    assert "20-way" not in html and '<td class="number broken">7</td>' in html


def test_hover_shows_the_drawings_in_dark_ink(page):
    arrays = fake_arrays()
    source = figures.draw_groups(arrays).figure.select_one({"name": "groups"}).data
    assert list(source["name"]) == list(arrays["group_names"])
    assert list(source["class"]) == [CLASSES[k] for k in arrays["group_class"]]
    for strip, drawings in zip(source["strip"], arrays["drawings"], strict=True):
        assert strip in page
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(strip.split(",")[1]))))
        assert pixels.shape == (8, 4 * 9 - 1)
        np.testing.assert_array_equal(pixels[:, 9:17], 255 - drawings[1, ..., 0])


def test_bounds_are_said_to_be_what_they_are():
    assert list(tables.BOUND_TEXTS) == list(BOUNDS)
    for name, said in tables.BOUND_TEXTS.items():
        assert said.of == BOUNDS[name].true.__doc__.rstrip(".") and said.upper == BOUNDS[name].upper
        stated = " ".join(BOUNDS[name].bound.__doc__.split())
        assert said.formula.split("(")[0] in stated or name == "mean_distance"
    with pytest.raises(UnknownNameError, match="unknown bound 'guess'"):
        tables.bound_rows({"guess": {"median_ratio": 1.0, "violations": 0}})


def test_table_of_bounds_and_examples(page):
    html = section(markup(page), "bounds-table")
    rows = re.findall(r"<tr[^>]*><td>(\w+)</td>.*?<td>(upper|lower)</td>.*?>([\d.]+)</td>", html)
    assert {(n, "upper" if b.upper else "lower", "1.24") for n, b in BOUNDS.items()} == {*rows}
    assert "median over 30 pairs" in html

    pairs, names = fake_pairs(), fake_arrays()["group_names"]
    made = tables.examples(pairs, fake_arrays(), tables.bound_rows(fake_metrics()["bounds"]))
    upper = [n for n, b in BOUNDS.items() if b.upper and tables.BOUND_TEXTS[n].of == MEANS]
    assert made.headings[2:] == upper and len(upper) == 5
    ordered = pairs.sort_values("true_theorem").iloc[[0, 7, 14, 22, 29]]
    columns = ["true_theorem", "largest_negative", *(f"bound_{name}" for name in upper)]
    for example, (_, pair) in zip(made.rows, ordered.iterrows(), strict=True):
        assert [name for name, _ in example.groups] == [names[int(pair[g])] for g in "xyz"]
        numbers = [float(number) for number in example.numbers]
        np.testing.assert_allclose(numbers, pair[columns].astype(float), rtol=1e-3)
        assert all(image in page for _, image in example.groups)


def test_table_text():
    metrics = fake_metrics()
    metrics["bounds"] = {"theorem": {"median_ratio": 6.789, "violations": 0}}
    metrics["bounds"]["medoid_nearest"] = {"median_ratio": None, "violations": 1500}
    metrics["controls"]["pixels"]["between_alphabets"] = 0.0  # a constant
    expected = """
|               |      R@1 % |           MRR | 20-way one-shot % | within / between |
| ------------- | ---------: | ------------: | ----------------: | ---------------: |
| triplet/mean  | 87.4 ± 1.2 | 0.937 ± 0.013 |        43.7 ± 1.2 |            0.333 |
| n_pair/medoid | 93.8 ± 1.2 | 1.000 ± 0.013 |        46.9 ± 1.2 |            0.333 |
| pixels        |       25.0 |         0.312 |              12.5 |                – |
| pca           |       37.5 |         0.438 |              18.8 |            0.333 |

theorem: ‖μ₁ − μ₂‖ ≤ 2 max{m, max d(a, n)}; median ratio 6.79, 0 violations
medoid_nearest: ‖c₁ − c₂‖ ≤ m + min over n of d(c₁, n); median ratio –, 1,500 violations
"""
    assert collections_table(metrics) == expected.strip("\n")


@pytest.mark.parametrize("name", ["metrics.json", "groups.npz", "bounds.parquet"])
def test_a_missing_file_is_an_error(tmp_path, name):
    run = fake_run(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(store.StoreError, match=f"{name} does not exist"):
        write_collections(run)
    (tmp_path / name).write_bytes(b"{")
    with pytest.raises(store.DamageError, match=f"{name} is damaged"):
        write_collections(run)
