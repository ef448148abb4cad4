"""What a person sees and does in a real browser: the gallery of a prediction, and the page that is served."""

import gc
import pathlib
import tempfile

import jax
import numpy as np
import pytest
from PIL import Image

import btjax
from btjax.commands.predict import PredictOptions, predict_into
from btjax.commands.serve import serving
from btjax.data.phantom import make_phantom
from tests.prediction.browser import browser, opened

SIZE = 32
HOSTILE = ("<script>alert(1)<script>.png", '"><img src=x onerror=alert(1)>.png')

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def run(chromium, tmp_path_factory):
    config = btjax.preset("cnn_demo").replace("data.phantom_patients", 12).replace("data.image_size", SIZE)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return btjax.train(config.replace("training.epochs", 2), tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Heads, noise that gets no answer, and names that would run where they were not escaped."""
    folder = tmp_path_factory.mktemp("pictures")
    for row, image in enumerate(make_phantom(2, 2, SIZE, seed=5).images):
        Image.fromarray(image).save(folder / f"{row:02d}.png")
    for name in HOSTILE:
        Image.fromarray(make_phantom(1, 1, SIZE, seed=9).images[0]).save(folder / name)
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    (folder / ("broken " + HOSTILE[1])).write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def gallery(run, pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("gallery") / "out"
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        predict_into(run, pictures, out, explain=["grad_cam", "gradient"])
    return (out / "predictions.html").as_uri()


@pytest.fixture(scope="module")
def address(run):
    pytest.importorskip("gradio", reason="needs gradio, of the extra `serve`")
    with serving(run, explain=["grad_cam", "gradient"]) as address:
        yield address
    gc.collect()  # what a server leaves to the collector is not to be found in another test


def move_slider(page, value):
    page.locator("#strength").evaluate(
        "(one, value) => { one.value = value; one.dispatchEvent(new Event('input', {bubbles: true})); }", str(value)
    )


def opacity(page, method="grad_cam"):
    return float(page.locator(f"img.map[data-map={method}]").first.evaluate("one => getComputedStyle(one).opacity"))


def test_the_slider_moves_the_strength_of_all_maps_and_the_list_changes_them(chromium, gallery):
    with opened(chromium, gallery) as page:
        for value in (100, 0, 35):
            move_slider(page, value)
            assert opacity(page) == pytest.approx(value / 100)
        page.locator("#strength").focus()
        page.keyboard.press("End")
        assert opacity(page) == 1
        page.select_option("#shown", "gradient")
        shown = page.locator("img.map").evaluate_all(
            "all => all.filter(one => !one.hidden).map(one => one.dataset.map)"
        )
        assert set(shown) == {"gradient"} and len(shown) == page.locator("article").count()


def test_the_cards_are_in_the_order_of_doubt_and_names_open_no_dialog(chromium, gallery):
    with opened(chromium, gallery) as page:
        page.wait_for_timeout(300)
        titles = page.locator("article h3").all_inner_texts()
        assert set(HOSTILE) <= set(titles)
        assert page.locator("td, th").filter(has_text="broken").count()
        verdicts = page.locator("article .verdict").all_inner_texts()
        answered = [verdict != "not answered" for verdict in verdicts]
        assert titles.index("noise.png") <= verdicts.count("not answered") and answered == sorted(answered)
        largest = [
            max(float(share) for share in article.locator(".share").all_inner_texts())
            for article, sure in zip(page.locator("article").all(), answered, strict=True)
            if sure
        ]
        assert largest == sorted(largest) and len(largest) > 1


def drop(page, path):
    """Gives a file to the page and waits for what it says."""
    before = page.inner_html("#answer")
    page.set_input_files("#upload input[type=file]", path)
    page.wait_for_function(
        "before => { const one = document.querySelector('#answer');"
        " return one.innerHTML !== before && one.querySelector('.answer, .remarks'); }",
        arg=before,
    )
    page.wait_for_selector("#upload input[type=file]", state="attached")
    return page.inner_text("#answer")


def test_a_dropped_slice_is_answered_with_bars_set_and_map(chromium, address, run, pictures):
    (expected,) = btjax.predict(run, pictures / "00.png", PredictOptions(abstain=False))
    with opened(chromium, address) as page:
        page.get_by_text("Research use only. Not a medical device.").wait_for()
        said = drop(page, pictures / "00.png")
        assert expected.predicted in said.lower() and "classes that fit:" in said
        widths = page.locator("#answer .fill").evaluate_all("all => all.map(one => parseFloat(one.style.width))")
        assert widths == pytest.approx([100 * one for one in expected.probabilities.values()], abs=0.1)
        move_slider(page, 20)
        assert opacity(page) == pytest.approx(0.2)
        page.select_option("#shown", "gradient")
        assert page.locator("#answer img.map:visible").count() == 1
        assert "not answered" in drop(page, pictures / "noise.png").lower()


def test_faults_are_one_line_names_are_text_and_no_upload_stays(chromium, address, pictures, tmp_path):
    with opened(chromium, address) as page:
        for name in HOSTILE:
            drop(page, pictures / name)
        said = drop(page, pictures / ("broken " + HOSTILE[1]))
        assert "No answer." in said and "Traceback" not in said and page.locator("#answer .note").count() == 1
        large = tmp_path / "large.dcm"
        with open(large, "wb") as file:
            file.truncate(65 << 20)
        page.set_input_files("#upload input[type=file]", large)
        page.get_by_text("exceed the maximum allowed size", exact=False).first.wait_for()
        assert not page.locator(".footer a, footer a").count()
    folders = pathlib.Path(tempfile.gettempdir()).glob("btjax_served_*")
    assert not [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.stat().st_size]


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(chromium, address, gallery, pictures, width):
    with opened(chromium, address, width) as page:
        drop(page, pictures / "01.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    with opened(chromium, gallery, width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
