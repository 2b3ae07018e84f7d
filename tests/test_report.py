"""The report: its text table, and the page as a reader's browser shows it."""

import base64
import io
import re
import shutil

import numpy as np
import pytest
from fake_run import write_fake_run
from PIL import Image

from genvec import store
from genvec.report import contents, maps, results_table, samples, write_report

ODD_NAMES = ("Käfer & Co", '<b onclick="x()">', "$$E=mc^2$$ @member")
METRICS = {
    "dataset": "digits",
    "classes": ["0", "2"],
    "init": "shared",
    "num_members": {"train": 1000, "val": 100, "test": 200},
    "controls": {
        "constant": {"angle_deg_mean": 33.6, "mixture_mae": 0.28, "n_leaked": 3.6},
        "samples": {"angle_deg_mean": 2.5, "mixture_mae": 0.0213, "n_leaked": float("nan")},
    },
    "encoders": {
        "a/b/c": {"angle_deg_mean": 2.25, "angle_deg_std": 0.125, "mixture_mae": 0.02},
        "d/e/f": {"angle_deg_mean": 1.5, "mixture_mae": 0.02, "n_leaked": 12345.0},
    },
    "best_encoder": "a/b/c",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> store.RunFolder:
    run = write_fake_run(tmp_path_factory.mktemp("run") / "digits", num_members=120)
    write_report(run)
    return run


@pytest.fixture(scope="module")
def page(run) -> str:
    return run.report.read_text(encoding="utf-8")


def markup(page: str) -> str:
    """The page without its scripts."""
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_results_table_text():
    expected = """
digits · classes 0, 2 · shared init · 1,300 members (1,000 train, 100 val, 200 test)
                           angle  mixture  leaked
                          mean °   MAE pp  labels
  ───────────────────────────────────────────────
  d/e/f     encoder         1.50     2.00  12,345
* a/b/c     encoder  2.25 ± 0.12     2.00       –
  samples   control         2.50     2.13       –
  constant  control        33.60    28.00       4
* best encoder, chosen on validation
"""
    assert results_table(METRICS) == expected.strip("\n")


def test_results_table_without_encoders_stars_the_best_control():
    text = results_table({"controls": METRICS["controls"]})
    assert re.search(r"^\* samples", text, re.MULTILINE) and text.endswith("* best control")
    assert results_table({}) == "no results yet"


def test_what_runs_the_member_is_marked(page):
    values = {**METRICS["controls"]["samples"], "runs_member": True}
    text = results_table(
        {"controls": {"constant": METRICS["controls"]["constant"], "samples": values}}
    )
    assert "* samples ▸" in text and "constant ▸" not in text
    assert text.endswith("▸ runs the member, where the others see its weights alone")
    assert "samples_512/raw ▸" in page and "moments/ridge ▸" not in page


def test_page_loads_nothing(page):
    """In markup and styles; Bokeh's own code names addresses that it does not open."""
    loads = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", markup(page))
    assert loads and all(address.startswith("data:") for address in loads)
    assert not re.search(r"https?:|url\(|@import", markup(page))
    assert "default-src 'none'" in page  # and the browser refuses what would slip through


def test_page_shows_every_section(page, run):
    for text in ("graph/graph/n_pair", "3.00 ± 0.03", "samples_512/raw", "33.60", "1 of 132"):
        assert text in page
    distances = store.read_json(run.classes)["distances"]
    assert f">{distances[0][2]:.1f}<" in page
    for figure in ("triplets", " % of members", "best control (test)", "embedded share, %"):
        assert figure in page
    assert " yet." not in markup(page)


def test_hover_data_is_what_the_run_holds(page, run):
    read = contents.read_contents(run)
    prediction = contents.predict(read)
    assert prediction is not None and prediction.encoder == "graph/graph/n_pair"
    table = store.read_table(run.encoder(prediction.encoder) / "embeddings.parquet")
    table = table.query("split == 'test'").reset_index(drop=True)
    assert list(prediction.member) == list(table["member"])
    source = maps.draw_map(read, prediction, 24).figure.select_one({"name": "members"}).data

    row = 5
    member = int(table.loc[row, "member"])
    embedding = table.loc[row, ["embedding_0", "embedding_1", "embedding_2"]].to_numpy(float)
    proportions = embedding / embedding.sum()
    true = read.members.loc[member, ["mixture_0", "mixture_2", "mixture_4"]].to_numpy(float)
    cosine = embedding @ true / np.linalg.norm(embedding) / np.linalg.norm(true)
    assert source["member"][row] == str(member)
    assert float(source["angle"][row]) == pytest.approx(np.rad2deg(np.arccos(cosine)), abs=0.006)
    assert float(source["predicted1"][row]) == pytest.approx(100 * proportions[1], abs=0.051)
    assert float(source["true2"][row]) == pytest.approx(100 * true[2], abs=0.051)
    assert source["y"][row] == pytest.approx(proportions[2] * 3**0.5 / 2)  # its height: class 4
    assert source["strip"][row] in page


@pytest.mark.parametrize("channels", [1, 3])
def test_strip_round_trip(channels):
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 5, channels), np.uint8)
    for vertical in (False, True):
        head, data = samples.strip(images, vertical=vertical).split(",")
        assert head == "data:image/png;base64"
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        pixels = pixels.reshape(*pixels.shape[:2], channels)
        assert pixels.shape[:2] == ((4 * 7 - 1, 5) if vertical else (6, 4 * 6 - 1))
        third = pixels[14:20] if vertical else pixels[:, 12:17]
        np.testing.assert_array_equal(third, images[2])


def test_edge_sheets_take_the_nearest_members(run):
    read = contents.read_contents(run)
    sheets = samples.edge_sheets(read)
    assert [(s.first, s.second) for s in sheets] == [("0", "2"), ("0", "4"), ("2", "4")]
    members = np.array(list(read.samples))
    pure = members[read.mixtures(members)[:, 1].argmax()]  # the member nearest to a corner
    assert sheets[0].columns[-1].member == sheets[2].columns[0].member == pure
    for sheet in sheets:
        numbers = [column.member for column in sheet.columns]
        assert len(numbers) == len(set(numbers)) and set(numbers) <= set(members)


def test_composition_angle_by_hand(tmp_path):
    """Pure 0 plus pure 2 is (½, ½, 0): 0° from it; with a stranger (½, 0, ½): 60° from it."""
    run = write_fake_run(tmp_path / "digits", num_members=40, num_triplets=2, num_samples=1)
    members = store.read_table(run.zoo / "vae" / "members.parquet")
    path = run.encoder("graph/graph/n_pair") / "embeddings.parquet"
    table = store.read_table(path)  # a row a member, in order
    for triplet, second in enumerate(([0, 1, 0], [0, 0, 1])):
        parts = np.array([[1, 0, 0], second])
        rows = np.flatnonzero(members["triplet"] == triplet)  # the union last
        embeddings = [*parts, parts.sum(axis=0) / 2**0.5]
        table.loc[rows, ["embedding_0", "embedding_1", "embedding_2"]] = np.array(embeddings)
    store.write_table(path, table)
    prediction = contents.predict(contents.read_contents(run))
    assert prediction is not None
    np.testing.assert_allclose(prediction.composed_deg, 0, atol=1e-6)
    np.testing.assert_allclose(prediction.random_deg, 60)


@pytest.mark.parametrize(
    "names, channels, size", [(("a", "b"), 1, 8), (ODD_NAMES, 3, 16), (tuple("abcdefghij"), 1, 8)]
)
def test_any_classes_and_images(tmp_path, names, channels, size):
    run = write_fake_run(
        tmp_path / "r", class_names=names, channels=channels, size=size, num_members=60
    )
    html = write_report(run).read_text(encoding="utf-8")
    if names == ODD_NAMES:
        assert "<b onclick" not in html and "&lt;b onclick=&#34;x()&#34;&gt;" in markup(html)
        assert "Käfer &amp; Co" in markup(html)
    assert markup(html).count('class="sheet"') == (1 if len(names) == 2 else 3)


def test_only_a_zoo(tmp_path):
    """Every other stage is still to run: each section says so, and nothing fails."""
    full = write_fake_run(tmp_path / "full", num_members=40)
    run = store.RunFolder(tmp_path / "bare")
    shutil.copytree(full.zoo, run.zoo)
    html = write_report(run).read_text(encoding="utf-8")
    for sentence in (
        "Nothing has been evaluated yet",
        "No encoder has embedded the test members yet",
        "No samples have been drawn yet",
        "so there are no distances",
        " % of members",
    ):
        assert sentence in html


@pytest.mark.parametrize("missing", ["classes.json", "metrics.json", "samples.npz", "config.json"])
def test_one_missing_file(tmp_path, missing):
    run = write_fake_run(tmp_path / "r", num_members=40)
    (run.path / missing).unlink()
    html = write_report(run).read_text(encoding="utf-8")
    assert "graph/graph/n_pair" in html and "embedded share, %" in html


def test_no_zoo_is_an_error(tmp_path):
    with pytest.raises(store.StoreError, match="holds no zoo"):
        write_report(store.RunFolder(tmp_path))


def test_diverged_members_are_left_out_of_pictures(tmp_path):
    run = write_fake_run(tmp_path / "r", num_members=40)
    path = run.encoder("graph/graph/n_pair") / "embeddings.parquet"
    table = store.read_table(path)
    test = np.flatnonzero(table["split"] == "test")
    first = test[0]
    table.loc[first, "embedding_1"] = np.nan
    store.write_table(path, table)
    prediction = contents.predict(contents.read_contents(run))
    assert prediction is not None and table.loc[first, "member"] not in prediction.member
    assert len(prediction.member) == len(test) - 1
    assert "NaN" not in markup(write_report(run).read_text("utf-8"))


@pytest.fixture
def browser(tmp_path):
    """Headless Chromium with an empty profile and no work of its own in the background."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no browser: install Debian's chromium and chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking"),
        *("no-first-run", "disable-component-update", "disable-sync", "window-size=1280,1000"),
        f"user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(f"--{option}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


# pixel in the window of a member of the map, after bringing the map into view
FIND_POINT = """
const view = [...Bokeh.index.roots].find((view) => view.model.name === "map");
view.el.scrollIntoView({block: "center", behavior: "instant"});
const {data} = view.model.select_one("members");
const {left, top} = view.el.getBoundingClientRect();
const {x_scale, y_scale} = view.frame;
const i = arguments[0];
return [left + x_scale.compute(data.x[i]), top + y_scale.compute(data.y[i]), data.member[i]];
"""
# tooltips live in open shadow roots, several levels down
FIND_TOOLTIP = """
function* everything(root) {
  for (const element of root.querySelectorAll("*")) {
    yield element;
    if (element.shadowRoot) yield* everything(element.shadowRoot);
  }
}
const tip = [...everything(document)].find((e) => e.className === "member" && e.offsetHeight);
if (!tip) return null;
const image = tip.querySelector("img");
return {text: tip.innerText, width: image.naturalWidth, source: image.src};
"""


@pytest.mark.parametrize("names", [("0", "2", "4"), ODD_NAMES, ("a", "b", "c", "d", "e")])
def test_hover_in_a_browser(tmp_path, browser, names):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    run = write_fake_run(tmp_path / "run", class_names=names, num_members=120)
    browser.get(write_report(run).as_uri())
    wait = WebDriverWait(browser, 20)
    wait.until(lambda b: b.execute_script("return window.Bokeh?.documents?.[0]?.is_idle"))

    def move(x, y):
        actions = ActionChains(browser, duration=20)
        actions.w3c_actions.pointer_action.move_to_location(round(x) + 1, round(y))
        actions.w3c_actions.pointer_action.move_to_location(round(x), round(y))
        actions.perform()

    browser.execute_script(FIND_POINT, 0)  # scrolls; positions are read once it stands still
    for row in (3, 7):
        x, y, member = browser.execute_script(FIND_POINT, row)
        move(x, y)
        tooltip = wait.until(lambda b: b.execute_script(FIND_TOOLTIP))
        shown = re.match(r"member (\d+) · [\d.]+° off", tooltip["text"])
        assert shown and all(name in tooltip["text"] for name in names)
        if shown[1] == member:  # not hidden by a neighbour
            break
    else:
        pytest.fail("two points hovered, neither member shown")
    assert tooltip["width"] == 8 * 9 - 1  # eight samples of eight pixels, decoded
    images = store.read_arrays(run.samples)
    own = images["images"][list(images["member"]).index(int(member))]
    assert tooltip["source"] == samples.strip(own)

    left, top = browser.execute_script(
        "const {left, top} = [...Bokeh.index.roots].find((v) => v.model.name === 'map')"
        ".el.getBoundingClientRect(); return [left, top]"
    )
    move(left + 20, top + 590)  # the plot's lower left holds no point
    wait.until(lambda b: b.execute_script(FIND_TOOLTIP) is None)

    log = browser.get_log("browser")
    assert log, "the console is recorded: Bokeh greets in it"
    assert not [entry for entry in log if entry["level"] in ("SEVERE", "WARNING")]


def test_browser_refuses_the_network(tmp_path, browser, page):
    """Negative control of the silent console: an image from elsewhere is refused and told."""
    path = tmp_path / "page.html"
    path.write_text(page.replace("</main>", '<img src="http://127.0.0.1:9/x.png"></main>'))
    browser.get(path.as_uri())
    log = browser.get_log("browser")
    assert [e for e in log if e["level"] == "SEVERE" and "Content Security Policy" in e["message"]]
