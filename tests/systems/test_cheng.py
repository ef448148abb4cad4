"""Cheng's two systems as runs: trained, tested, restored, and refused."""

import dataclasses

import numpy as np
import pytest

import btjax
from btjax.base.errors import InputError
from btjax.commands.card import model_card
from btjax.commands.ladder import run_ladder
from btjax.commands.regions import run_regions
from btjax.commands.retrieval import run_retrieval
from btjax.data.phantom import make_phantom
from btjax.runs.run import Run
from btjax.studies.data import split_of
from btjax.systems.system import Place

OPTIONS = {
    "data.data_dir": "phantom",
    "data.phantom_patients": 6,
    "data.phantom_slices": 3,
    "data.image_size": 48,
    "data.protocol": "family",
    "data.folds": 3,
    "data.refit": False,
    "model.radius": 2,
    "model.sampled_patches": 2000,
}


def small(name, **changes):
    config = btjax.preset(name)
    for option, value in {**OPTIONS, **{key.replace("__", "."): value for key, value in changes.items()}}.items():
        config = config.replace(option, value)
    return config


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return btjax.train(small("cheng2015", model__words=20), tmp_path_factory.mktemp("c") / "run", cache_dir="")


@pytest.mark.parametrize("texture", ["histogram", "glcm", "bow"])
def test_the_texture_of_regions_tells_the_classes_of_synthetic_heads(texture, tmp_path):
    run = btjax.train(small("cheng2015", model__texture=texture, model__words=20), tmp_path / "run")
    assert run.report.test.accuracy > 0.5
    assert run.report.training.head == "svm"


def test_a_run_gives_the_same_predictions_when_it_is_evaluated_again(classifier):
    before = classifier.predictions
    report = btjax.evaluate(Run(classifier.folder))
    np.testing.assert_array_equal(Run(classifier.folder).predictions.logits, before.logits)
    assert report.training.seconds == classifier.report.training.seconds


def test_the_page_says_that_outlines_are_given(classifier):
    assert "the true outline of the tumour is given" in " ".join(classifier.report.data.notes)
    page = (classifier.folder / "report.html").read_text()
    assert "The true outline of the tumour is given, also of slices that are tested" in page
    assert "outline given" in page


def test_the_fit_sees_the_training_rows_alone(tmp_path):
    config = small("cheng2015", model__words=20)
    slices = make_phantom(6, 3, 48, 0)
    split = split_of(slices, config)
    changed = slices.images.copy()
    changed[split.test] = 0
    other = dataclasses.replace(slices, images=changed)
    one, two = (config.model.fit(each, split, 0, Place(tmp_path)) for each in (slices, other))
    for name in ("words", "train"):
        np.testing.assert_array_equal(one.content[name], two.content[name])


def test_a_system_without_a_network_has_no_options_of_training():
    with pytest.raises(InputError, match="no such option"):
        btjax.preset("cheng2015").replace("training.epochs", 3)


def test_a_finished_run_is_not_fitted_over(classifier):
    with pytest.raises(InputError, match="holds a run already"):
        btjax.train(classifier.config, classifier.folder)


def test_its_network_is_not_there_to_restore(classifier):
    with pytest.raises(InputError, match="cheng2015 has no network"):
        btjax.restore(classifier.folder)


def test_a_ladder_takes_it(tmp_path):
    report = run_ladder(
        small("cheng2015", model__texture="histogram", data__refit=True), tmp_path / "ladder", ["family"], [0]
    )
    assert [len(rung.cells) for rung in report.rungs] == [3]


def test_it_is_audited_and_compared_like_any_run(classifier, tmp_path):
    audited = btjax.audit_runs([classifier], tmp_path / "audit")
    assert audited.rows == len(classifier.predictions.side("test"))
    other = btjax.train(small("cheng2015", model__texture="histogram"), tmp_path / "other")
    compared = btjax.compare_runs([classifier.folder, other.folder], tmp_path / "compare")
    assert compared.entries[0].cost.parameters is None
    assert "not known" in (tmp_path / "compare" / "compare.html").read_text()


def test_pictures_alone_are_not_enough_to_classify(classifier):
    with pytest.raises(InputError, match="cheng2015 has no network"):
        classifier.logits(np.zeros((1, 48, 48), np.uint8))


def test_slices_without_masks_are_refused_in_one_line(tmp_path, monkeypatch):
    from btjax.data import dataset

    made = dataset.make_phantom
    monkeypatch.setattr(dataset, "make_phantom", lambda *args: dataclasses.replace(made(*args), masks=None))
    with pytest.raises(InputError, match=r"^--data_dir: its slices have no tumour masks.*--outlines"):
        btjax.train(small("cheng2015"), tmp_path / "run")


def test_fewer_patches_than_words_are_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match="--words=300: the training regions have 100 different patches"):
        btjax.train(small("cheng2015", model__sampled_patches=100), tmp_path / "run")


def test_a_run_says_how_its_setting_was_chosen(classifier, tmp_path):
    assert classifier.report.checkpoint.criterion == "cross-validation within the training rows"
    config = small("cheng2015", model__texture="histogram", model__classifier="knn", model__neighbours=3)
    assert btjax.train(config, tmp_path / "run").report.checkpoint.criterion == "as given, nothing was chosen"


def test_an_empty_outline_leaves_no_slice_out(tmp_path):
    slices = make_phantom(6, 3, 48, 0)
    masks = slices.masks.copy()
    masks[::4] = False
    empty = dataclasses.replace(slices, masks=masks)
    config = small("cheng2015", model__texture="glcm")
    kept = config.model.fit(empty, split_of(empty, config), 0, Place(tmp_path))
    logits = config.model.outputs(kept, empty, Place(tmp_path))
    assert logits.shape == (len(slices), 3) and np.isfinite(logits).all()


def test_the_table_goes_on_with_the_cells_that_are_there(tmp_path, monkeypatch):
    config = small("cheng2015", model__words=10, data__refit=True)
    first = run_regions(config, tmp_path / "table", stages=["rings"])
    monkeypatch.setattr("btjax.studies.regions._measure", lambda *_: pytest.fail("a cell was measured again"))
    assert run_regions(config, tmp_path / "table", stages=["rings"]) == first
    assert len(first.cells) == 21 and all(0 <= one.mean <= 1 for one in first.cells)
    page = (tmp_path / "table" / "regions.html").read_text()
    assert "Here are synthetic slices and the protocol family: the published values" in page
    with pytest.raises(InputError, match="holds results of regions with seed=0, now seed=1"):
        run_regions(config.replace("seed", 1), tmp_path / "table", stages=["rings"])


def test_more_neighbours_than_training_slices_are_refused_in_one_line(tmp_path):
    config = small("cheng2015", model__texture="histogram", model__classifier="knn", model__neighbours=45)
    with pytest.raises(InputError, match=r"^--neighbours=45: there are \d+ training slices, expected at most so many"):
        btjax.train(config, tmp_path / "run")


@pytest.fixture(scope="module")
def retrieved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retrieval") / "out"
    config = small("cheng2016", model__gaussians=6, model__patch=5, data__refit=True)
    return config, folder, run_retrieval(config, folder)


def test_similar_synthetic_heads_are_found_and_the_learned_metric_pays(retrieved):
    _, _, report = retrieved
    means = {one.name: one.mean for one in report.compared}
    assert means["fisher"] > means["fisher_plain"] > report.compared[0].scores.chance
    assert all(len(one.folds) == 3 for one in report.compared)
    fisher = report.compared[0]
    assert abs(fisher.by_dimension[1] - fisher.mean) < 1e-12  # two directions are the preset's


def test_under_families_nothing_of_the_query_is_in_the_database(retrieved):
    _, _, report = retrieved
    for one in report.compared:
        assert one.others.average_precision.value == one.scores.average_precision.value


def test_a_retrieval_run_has_a_card(tmp_path):
    run = btjax.train(small("cheng2016", model__gaussians=6, model__patch=5, data__refit=True), tmp_path / "run")
    text = model_card(run).read_text()
    assert "## Limits" in text and "There are no validation rows; test rows chose nothing." in text


def test_under_slices_the_query_s_own_family_is_in_the_database(tmp_path):
    config = small("cheng2016", model__gaussians=6, data__protocol="slice", data__refit=True)
    one = run_retrieval(config, tmp_path / "out", variants=["words_plain"]).compared[0]
    assert one.others.database < one.scores.database
    assert one.others.precision["1"].value < one.scores.precision["1"].value


def test_retrieval_goes_on_with_the_folds_that_are_there(retrieved, monkeypatch):
    config, folder, report = retrieved
    monkeypatch.setattr("btjax.commands.retrieval.region_ranks", lambda *_: pytest.fail("a fold was ranked again"))
    assert run_retrieval(config, folder) == report
    with pytest.raises(InputError, match="holds results of retrieval with seed=0, now seed=5"):
        run_retrieval(config.replace("seed", 5), folder)


def test_the_features_of_a_network_are_compared_too(tmp_path):
    base = btjax.preset("linear_cpu").replace("training.epochs", 1).replace("data.image_size", 32)
    for option in ("data.data_dir", "data.phantom_patients", "data.phantom_slices", "data.protocol", "data.folds"):
        base = base.replace(option, OPTIONS[option])
    base = base.replace("data.folds", 2)
    for fold in range(2):
        btjax.train(base.replace("data.fold", fold), tmp_path / f"fold_{fold}")
    config, networks = small("cheng2016", data__image_size=32, data__folds=2), [f"{tmp_path}/fold_{{fold}}@flatten"]
    report = run_retrieval(config, tmp_path / "out", variants=[], networks=networks)
    assert report.compared[0].scores.queries == 54
    with pytest.raises(InputError, match="'top' is no stage of"):
        run_retrieval(config, tmp_path / "no", variants=[], networks=[f"{tmp_path}/fold_{{fold}}@top"])
    with pytest.raises(InputError, match=r"was trained on \d+ of the 27 queries"):
        run_retrieval(config, tmp_path / "other", variants=[], networks=[f"{tmp_path}/fold_0"])


def test_a_single_fold_is_a_run_with_a_report(tmp_path):
    config = small("cheng2016", model__gaussians=6, model__patch=5)
    run = btjax.train(config, tmp_path / "run")
    report = run.report
    assert report.test.queries == report.counts["test"].slices
    assert 0.3 < report.test.average_precision.value <= 1
    assert btjax.evaluate(run).test == report.test
    assert "mean average precision" in (tmp_path / "run" / "report.html").read_text()
    with pytest.raises(InputError, match="a system that ranks slices, expected a classifier"):
        run_ladder(config, tmp_path / "ladder", ["family"], [0])
