"""Other people's images: predicted, not answered or not read, in files and on a page."""

import csv
import dataclasses
import json
import os
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

import btjax
from btjax.base.errors import InputError
from btjax.base.folders import held
from btjax.commands.predict import PredictOptions, predict_into
from btjax.data.phantom import make_phantom
from btjax.evaluation.calibration import fit_temperature
from btjax.evaluation.conformal import conformal_p_values
from btjax.evaluation.labelled import Labelled
from btjax.prediction.files import JOURNAL as JOURNAL_NAME
from btjax.prediction.files import Journal
from tests.experiments.commands import run as run_command
from tests.readers.test_hostile import png

SIZE = 32
ALWAYS = PredictOptions(abstain=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on phantoms of one data set, of two seeds."""
    folder = tmp_path_factory.mktemp("runs")
    config = btjax.preset("cnn_demo").replace("data.phantom_patients", 12).replace("data.image_size", SIZE)
    config = config.replace("training.epochs", 2).replace("data.split_seed", 0)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return [btjax.train(config.replace("seed", seed), folder / f"run{seed}") for seed in (0, 1)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """PNGs of phantoms in two class folders, among them files that cannot be read and names that are no names."""
    folder = tmp_path_factory.mktemp("pictures")
    heads = make_phantom(2, 2, SIZE, seed=5)
    for row, image in enumerate(heads.images):
        place = folder / heads.classes[heads.labels[row]]
        place.mkdir(exist_ok=True)
        Image.fromarray(image).save(place / f"{row:02d}.png")
    loose = folder / "glioma"
    Image.fromarray(heads.images[0]).save(loose / "<img src=x onerror=alert(1)>.png")
    Image.fromarray(heads.images[0]).save(loose / "=HYPERLINK(1).png")
    (loose / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    Image.fromarray(np.full((1, 1), 9, np.uint8)).save(loose / "dot.png")
    return folder


def answers_by_file(answers):
    return {answer.file: answer for answer in answers}


def test_probabilities_are_the_runs_own_under_its_temperature_and_sets_under_its_validation(runs):
    heads, run = make_phantom(2, 2, SIZE, seed=7), runs[0]
    found = btjax.predict(run, heads.images, ALWAYS)
    logits, known = run.logits(heads.images), run.predictions.side("validation")
    scaled = np.exp(logits / fit_temperature(known.logits, known.labels))
    expected = scaled / scaled.sum(axis=1, keepdims=True)
    np.testing.assert_allclose([[*one.probabilities.values()] for one in found], expected, atol=1e-5)
    p_values = conformal_p_values(Labelled(known.logits, known.labels, known.patients), logits)
    for answer, row in zip(found, p_values, strict=True):
        assert set(answer.fitting) == {name for name, p in zip(run.classes, row, strict=True) if p > 0.05}
        assert answer.predicted == answer.likeliest[0]


def test_several_runs_predict_the_mean_of_their_probabilities(runs):
    images = make_phantom(1, 2, SIZE, seed=7).images
    alone = [[[*one.probabilities.values()] for one in btjax.predict(run, images, ALWAYS)] for run in runs]
    together = [[*one.probabilities.values()] for one in btjax.predict([run.folder for run in runs], images, ALWAYS)]
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=1e-6)


def test_noise_is_not_answered_and_heads_like_the_trainings_are(runs):
    heads = make_phantom(12, 6, SIZE, seed=0).images
    noise = np.random.default_rng(0).integers(0, 256, (20, SIZE, SIZE)).astype(np.uint8)
    assert not any(answer.answered for answer in btjax.predict(runs[0], noise))
    known = btjax.predict(runs[0], heads)
    assert np.mean([answer.answered for answer in known]) > 0.9
    strange = btjax.predict(runs[0], noise)[0]
    assert strange.predicted == "" and "unlike the slices" in strange.reason and strange.doubt > 1
    assert (runs[0].folder / "typical.npz").exists()


def test_a_run_whose_data_set_is_gone_says_what_to_do(runs, tmp_path):
    copy = shutil.copytree(runs[0].folder, tmp_path / "copy", ignore=shutil.ignore_patterns("typical.npz"))
    config = json.loads((copy / "config.json").read_text())
    config["data"]["data_dir"] = str(tmp_path / "gone")
    config.pop("sha256", None)  # changed by hand, as whoever moves a data set may
    (copy / "config.json").write_text(json.dumps(config))
    images = make_phantom(1, 1, SIZE).images
    with pytest.raises(InputError, match="--own_dir, or answer always by --noabstain"):
        btjax.predict(copy, images)
    assert len(btjax.predict(copy, images, ALWAYS)) == 3
    assert len(btjax.predict(copy, images, PredictOptions(own_dir="phantom"))) == 3


def test_a_run_without_predictions_is_uncalibrated_and_says_so(runs, tmp_path):
    copy = shutil.copytree(runs[0].folder, tmp_path / "copy", ignore=shutil.ignore_patterns("predictions.npz"))
    images = make_phantom(1, 1, SIZE).images
    found = btjax.predict(copy, images, ALWAYS)
    assert found[0].fitting is None
    np.testing.assert_allclose([*found[0].probabilities.values()], runs[0].probabilities(images)[0], atol=1e-5)
    predict_into(copy, images, tmp_path / "out", ALWAYS)
    assert "Uncalibrated." in (tmp_path / "out" / "predictions.html").read_text()


def test_an_unreadable_file_is_a_line_and_the_others_go_on(runs, pictures):
    found = answers_by_file(btjax.predict(runs[0], pictures, ALWAYS))
    assert len(found) == 16
    unread = {name: one.reason for name, one in found.items() if one.probabilities is None}
    assert set(unread) == {"glioma/broken.png", "glioma/dot.png"}
    assert all("\n" not in reason and str(pictures) not in reason for reason in unread.values())
    assert "blank" in unread["glioma/dot.png"]
    assert all(one.label == name.partition("/")[0] for name, one in found.items())


def test_a_picture_of_too_many_pixels_is_a_line(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("BTJAX_LIMIT_IMAGE_SIDE", "100")
    Image.fromarray(np.zeros((20, 200), np.uint8)).save(tmp_path / "wide.png")
    (answer,) = btjax.predict(runs[0], tmp_path / "wide.png", ALWAYS)
    assert not answer.answered and "at most 100" in answer.reason


def test_pictures_of_one_pixel_and_of_30000_a_side_are_lines_and_the_others_go_on(runs, tmp_path):
    Image.fromarray(np.full((1, 1), 9, np.uint8)).save(tmp_path / "dot.png")
    (tmp_path / "huge.png").write_bytes(png(30000, 30000))
    Image.fromarray(make_phantom(1, 1, SIZE).images[0]).save(tmp_path / "whole.png")
    found = answers_by_file(btjax.predict(runs[0], tmp_path, ALWAYS))
    assert found["whole.png"].answered and "is blank" in found["dot.png"].reason
    huge = "huge.png: found 900000000 pixels, expected at most 4096 a side"
    assert found["huge.png"].reason.startswith(huge) and "\n" not in found["huge.png"].reason


def test_files_a_folder_and_a_pattern_mean_the_same_slices(runs, pictures):
    chosen = sorted((pictures / "meningioma").iterdir())
    by_path = btjax.predict(runs[0], chosen, ALWAYS)
    by_folder = btjax.predict(runs[0], pictures / "meningioma", ALWAYS)
    by_pattern = btjax.predict(runs[0], str(pictures / "mening*" / "*.png"), ALWAYS)
    assert [one.probabilities for one in by_path] == [one.probabilities for one in by_folder]
    assert [one.probabilities for one in by_path] == [one.probabilities for one in by_pattern]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("missing", "no such file or folder"),
        ("empty", "empty folder"),
        ("*.nothing", "no file matches"),
        ("notes", "nothing to predict on"),
    ],
)
def test_a_path_without_slices_is_refused(runs, tmp_path, given, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("no image")
    with pytest.raises(InputError, match=said):
        btjax.predict(runs[0], str(tmp_path / given), ALWAYS)


def test_runs_of_other_classes_are_no_ensemble(runs, tmp_path):
    copy = shutil.copytree(runs[0].folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config.pop("sha256", None)
    (copy / "config.json").write_text(json.dumps(config | {"classes": ["a", "b", "c"]}))
    with pytest.raises(InputError, match="its classes are a, b, c, expected those of"):
        btjax.predict([runs[0].folder, copy], make_phantom(1, 1, SIZE).images, ALWAYS)


def test_the_folder_holds_tables_a_page_and_overlays_that_agree(runs, pictures, tmp_path):
    out = tmp_path / "out"
    found = predict_into(runs[0], pictures, out, explain=["grad_cam", "gradient"])
    assert found.counts.slices == 14 and found.counts.unreadable == 2
    kept = json.loads((out / "predictions.json").read_text())
    with open(out / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(kept["slices"]) == 16
    for row, one in zip(rows, kept["slices"], strict=True):
        assert (row["answered"] == "yes") == one["answered"]
        assert row["file"].lstrip("'") == one["file"].lstrip("'")
        if one["probabilities"]:
            assert float(row["p_glioma"]) == pytest.approx(one["probabilities"]["glioma"], abs=1e-6)
    assert len(list((out / "overlays").glob("*_grad_cam.png"))) == 14
    page = (out / "predictions.html").read_text()
    assert page.count('class="stack"') == 14 and 'id="strength"' in page and 'value="gradient"' in page
    assert "http://" not in page and "https://" not in page


def test_names_can_neither_run_on_the_page_nor_in_a_spreadsheet(runs, pictures, tmp_path):
    predict_into(runs[0], pictures / "glioma", tmp_path / "out", ALWAYS)
    page = (tmp_path / "out" / "predictions.html").read_text()
    assert "<img src=x" not in page and "&lt;img src=x" in page
    with open(tmp_path / "out" / "predictions.csv", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert "'=HYPERLINK(1).png" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_slices_are_counted_where_the_page_shows_none(runs, pictures, tmp_path):
    found = [
        predict_into(runs[0], pictures, tmp_path / str(count), ALWAYS, gallery=count).counts for count in (0, 1, 200)
    ]
    assert found[0] == found[1] == found[2] and found[0].slices == 14
    assert json.loads((tmp_path / "0" / "predictions.json").read_text())["counts"]["slices"] == 14


def test_what_is_interrupted_goes_on_to_the_same_tables(runs, pictures, tmp_path):
    predict_into(runs[0], pictures, tmp_path / "whole", ALWAYS)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    lines = (tmp_path / "whole" / JOURNAL_NAME).read_bytes().splitlines(keepends=True)
    (tmp_path / "cut" / JOURNAL_NAME).write_bytes(b"".join(lines[:6]) + lines[6][:20])
    with pytest.raises(InputError, match="add --resume"):
        predict_into(runs[0], pictures, tmp_path / "cut", ALWAYS)
    predict_into(runs[0], pictures, tmp_path / "cut", ALWAYS, resume=True)
    for name in ("predictions.csv", "predictions.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    with pytest.raises(InputError, match="made with other runs"):
        predict_into(runs[1], pictures, tmp_path / "cut", ALWAYS, resume=True)


def test_answers_are_not_taken_for_other_images_of_the_same_names(runs, pictures, tmp_path):
    predict_into(runs[0], pictures, tmp_path / "out", ALWAYS)
    shutil.copytree(pictures, tmp_path / "others")
    with pytest.raises(InputError, match="made with other images; expected the same, or another folder"):
        predict_into(runs[0], tmp_path / "others", tmp_path / "out", ALWAYS, resume=True)
    arrays = make_phantom(1, 1, SIZE).images
    predict_into(runs[0], arrays, tmp_path / "arrays", ALWAYS)
    predict_into(runs[0], arrays.copy(), tmp_path / "arrays", ALWAYS, resume=True)
    with pytest.raises(InputError, match="made with other images"):
        predict_into(runs[0], arrays[::-1], tmp_path / "arrays", ALWAYS, resume=True)
    some = dataclasses.replace(ALWAYS, slices=(1, 2))
    with pytest.raises(InputError, match="made with other slices"):
        predict_into(runs[0], arrays, tmp_path / "arrays", some, resume=True)


def test_a_folder_that_another_process_writes_into_is_left_alone(runs, pictures, tmp_path):
    with held(tmp_path / "out"), pytest.raises(InputError, match="held by process"):
        predict_into(runs[0], pictures, tmp_path / "out", ALWAYS)
    assert not (tmp_path / "out").exists()


def test_what_fails_in_predicting_is_not_said_of_the_journal(tmp_path):
    def failing():
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        yield

    journal = Journal(tmp_path / "out", {})
    journal.begin(resume=False)
    with pytest.raises(RuntimeError, match=r"^RESOURCE_EXHAUSTED"):
        list(journal.write(failing()))


def test_a_line_of_the_journal_that_is_no_answer_is_named(runs, pictures, tmp_path):
    predict_into(runs[0], pictures, tmp_path / "out", ALWAYS)
    path = tmp_path / "out" / JOURNAL_NAME
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], lines[2].replace('"sha256"', '"sha25w"'), *lines[3:]]))
    with pytest.raises(InputError, match=r"answers\.jsonl: damaged"):
        predict_into(runs[0], pictures, tmp_path / "out", ALWAYS, resume=True)
    with pytest.raises(InputError, match=r"answers\.jsonl, line 3: damaged"):
        list(Journal(tmp_path / "out", {}).read())


def test_an_answer_that_was_changed_in_the_journal_is_named_and_not_written_into_the_tables(runs, pictures, tmp_path):
    folder = tmp_path / "changed"
    predict_into(runs[0], pictures, folder, ALWAYS)
    before = (folder / "predictions.csv").read_bytes()
    rows = [json.loads(line) for line in (folder / JOURNAL_NAME).read_text().splitlines()]

    def go_on():
        (folder / JOURNAL_NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))
        predict_into(runs[0], pictures, folder, ALWAYS, resume=True)

    predicted, rows[1]["predicted"] = rows[1]["predicted"], "another"
    with pytest.raises(InputError, match=r"answers\.jsonl, line 2: damaged, or changed by hand"):
        go_on()
    assert (folder / "predictions.csv").read_bytes() == before
    rows[1]["predicted"] = predicted
    for row in rows:  # those of earlier versions have no checksums
        del row["sha256"]
    go_on()
    assert (folder / "predictions.csv").read_bytes() == before


def test_the_command_prints_what_came_out_and_a_mistake_is_one_line(runs, pictures, tmp_path):
    flags = [f"--checkpoint={runs[0].folder}", f"--images={pictures}"]
    done = run_command(os.environ, "predict", *flags, f"--workdir={tmp_path / 'out'}", "--gallery=3")
    assert done.returncode == 0, done.stderr
    assert "of 14 slices" in done.stdout and "not read: 2" in done.stdout
    for wrong in (["--slices=4"], ["--slices=9:4"], ["--explain=expected_gradients"], ["--explain=magic"]):
        done = run_command(os.environ, "predict", *flags, f"--workdir={tmp_path / 'wrong'}", *wrong)
        assert done.returncode == 2 and done.stderr.strip().count("\n") == 0, done.stderr
