"""The table of deviations says what a run changes of its paper's experiment, and what the paper leaves open."""

import pytest

import btjax
from btjax.base.options import options
from btjax.reports.deviations import deviation_section
from btjax.reports.page import render
from btjax.systems.config import config_groups
from btjax.systems.deviations import NOT_SAID, deviations, deviations_of, paper_config
from btjax.systems.encoder_classifier import encoder_classifier_config
from btjax.systems.system import find_system, system_names
from btjax.systems.unet import autoencoder_config
from tests.reports.parser import Page

WITH_PAPER = [name for name in system_names() if find_system(name).paper is not None]


def changed(rows):
    return {row.name: (row.paper, row.here, row.basis) for row in rows if row.differs}


def test_the_papers_three_experiments_and_the_encoder_classifier_are_recorded():
    assert {"cnn", "vgg16", "unet", "encoder_classifier"} <= set(WITH_PAPER)


@pytest.mark.parametrize("name", WITH_PAPER)
def test_the_papers_own_preset_differs_in_nothing(name):
    paper = paper_config(name)
    rows = deviations_of(paper)
    assert rows and not changed(rows)
    assert {row.basis for row in rows} <= {"stated", "inferred"}


@pytest.mark.parametrize("name", WITH_PAPER)
def test_what_a_paper_states_or_lets_infer_are_options_of_its_system(name):
    about, kinds = find_system(name).paper, config_groups(name)
    known = {f"{group}.{option}" for group, kind in kinds.items() for option in options(kind)}
    assert set(about.stated + about.inferred) <= known
    assert not set(about.stated) & set(about.inferred)


def test_every_changed_option_is_a_row_that_differs_with_both_values():
    found = changed(deviations_of(btjax.preset("cnn_cpu")))
    assert found["size in pixels"] == ("512", "128", "stated")
    assert found["colour"] == ("viridis", "grey", "stated")
    assert found["input scale"] == ("unit", "standard", NOT_SAID)
    assert found["filters"] == ("64, 256, 512, 1024, 1024, 1024", "16, 32, 64, 128, 256, 256", "inferred")
    assert found["dropout"] == ("0.1", "0.3", "stated")
    assert found["augmentation"] == ("none", "flip, rotation 15, shift 0.05, zoom 0.1", NOT_SAID)
    assert found["schedule"] == ("constant", "cosine", NOT_SAID)
    assert found["epochs"] == ("20", "24", "stated")
    assert found["checkpoint chosen by"] == ("validation loss", "validation accuracy", NOT_SAID)
    assert "optimizer" not in found and "batch size" not in found


@pytest.mark.parametrize(
    ("option", "value", "name"),
    [
        ("data.protocol", "family", "protocol"),
        ("training.class_weights", "balanced", "class weights"),
        ("training.layer_rates", ("*=1",), "learning rate by layer"),
        ("extra.head", "svm", "head"),
        ("data.head_mask", True, "head mask"),
    ],
)
def test_one_change_is_one_row(option, value, name):
    assert list(changed(deviations_of(btjax.preset("vgg16_paper").replace(option, value)))) == [name]


@pytest.mark.parametrize("option", ["data.fold", "training.checkpoint_every", "data.split_seed"])
def test_where_and_how_a_run_is_made_is_no_deviation(option):
    assert not changed(deviations_of(btjax.preset("vgg16_paper").replace(option, 3).replace("seed", 5)))


def test_the_data_and_the_rows_stand_first_where_they_are_known():
    found = {"data": "MATLAB files", "rows": "2144 / 307 / 613"}
    rows = deviations_of(btjax.preset("cnn_paper"), found)
    assert [row.here for row in rows[:2]] == ["MATLAB files", "2144 / 307 / 613"]
    assert "Kaggle" in rows[0].paper and rows[0].differs and rows[1].differs


def test_the_encoder_classifier_is_compared_with_the_papers_classifier():
    config = btjax.preset("unet_cpu")
    found = changed(deviations_of(encoder_classifier_config(config)))
    assert found["levels"] == ("9", "7", "stated")
    assert "epochs" not in found
    assert changed(deviations_of(autoencoder_config(config)))["filters of the first layer"] == ("64", "32", "stated")


def test_runs_of_another_system_are_refused():
    about = find_system("cnn").paper
    with pytest.raises(ValueError, match="cannot be compared"):
        deviations(btjax.preset("cnn_paper"), btjax.preset("vgg16_paper"), about)


def test_the_section_counts_what_differs_and_emphasises_it():
    rows = deviations_of(btjax.preset("cnn_cpu"))
    text = render("x", [deviation_section(rows)])
    count = sum(row.differs for row in rows)
    assert f"in {count} of {len(rows)} points" in text
    assert text.count('class="strong"') == count
    assert ["Size in pixels", "512", "128", "stated"] in Page(text).rows
    assert deviation_section([]).empty
