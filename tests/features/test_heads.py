"""Classical heads: they learn, they are kept without pickle, and what is damaged is one line."""

import pickle

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from btjax.base.errors import InputError
from btjax.features.heads import HEADS, WEIGHTED, Head, fit_head, load_head

RANDOM = np.random.default_rng(0)


def separable(classes: int = 3, rows: int = 120):
    labels = np.arange(rows, dtype=np.int32) % classes
    features = RANDOM.standard_normal((rows, 2, classes)) + 4 * np.eye(classes)[labels][:, None]
    return features.astype(np.float32), labels


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_a_head_learns_separable_features_and_chooses_on_validation(name, classes):
    features, labels = separable(classes)
    head = fit_head(name, features, labels, np.arange(60), np.arange(60, 90))
    values = head.logits(features[90:])
    assert values.shape == (30, classes) and values.dtype == np.float32 and np.isfinite(values).all()
    assert accuracy_score(labels[90:], values.argmax(axis=1)) > 0.9
    assert head.setting in HEADS[name][1]


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_is_kept_gives_the_same_logits(name, tmp_path):
    features, labels = separable()
    head = fit_head(name, features, labels, np.arange(60), np.arange(60, 90))
    head.save(tmp_path / "head.skops")
    again = load_head(tmp_path / "head.skops")
    assert (again.name, again.setting) == (head.name, head.setting)
    np.testing.assert_array_equal(again.logits(features), head.logits(features))
    assert [path.name for path in tmp_path.iterdir()] == ["head.skops"]


class Foreign:
    """A type that no head holds."""


@pytest.mark.parametrize("damage", ["absent", "empty", "cut", "pickle", "foreign", "other"])
def test_what_is_no_head_is_one_clear_line(damage, tmp_path):
    path = tmp_path / "head.skops"
    features, labels = separable()
    head = fit_head("knn", features, labels, np.arange(60), np.arange(60, 90))
    head.save(path)
    whole = path.read_bytes()
    if damage == "absent":
        path.unlink()
    elif damage == "foreign":
        Head("knn", 1.0, Foreign()).save(path)
    elif damage == "other":
        Head("forest", 1.0, head.pipeline).save(path)
    else:
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "pickle": pickle.dumps(1)}[damage])
    with pytest.raises(InputError, match=r"head\.skops") as caught:
        load_head(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", WEIGHTED)
def test_balanced_weights_are_scikit_learns_and_help_the_smallest_class(name):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(3, dtype=np.int32), (20, 150, 150))
    features = (random.standard_normal((320, 3)) + 1.2 * np.eye(3)[labels]).astype(np.float32)
    rows = random.permutation(320)
    train, validation = rows[:240], rows[240:]
    plain = fit_head(name, features, labels, train, validation)
    head = fit_head(name, features, labels, train, validation, class_weights="balanced")
    single = HEADS[name][0](head.setting).set_params(class_weight="balanced")
    expected = make_pipeline(StandardScaler(), single).fit(features[train], labels[train])
    values = expected.decision_function(features) if name == "svm" else np.log(expected.predict_proba(features))
    np.testing.assert_allclose(head.logits(features), values, rtol=1e-4, atol=1e-4)
    found, before = ((one.logits(features)[labels == 0].argmax(axis=1) == 0).mean() for one in (head, plain))
    assert found > before


def test_nearest_neighbours_have_no_loss_to_weigh():
    features, labels = separable()
    with pytest.raises(InputError, match="--class_weights=balanced: --head=knn has no loss to weigh, expected none"):
        fit_head("knn", features, labels, np.arange(60), np.arange(60, 90), class_weights="balanced")
