"""What links cross, truth to measure them against, and the scores of groups."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics.cluster import pair_confusion_matrix

from btjax.base.errors import InputError
from btjax.data.phantom import make_phantom
from btjax.links.links import Links
from btjax.links.similarity import FEATURES
from btjax.studies.link_measure import fit_rule, known_halves
from btjax.studies.link_truth import CHANGES, changed_copies, consecutive, group_scores, halves
from btjax.studies.links import against_classes, links_report


@pytest.fixture(scope="module")
def slices():
    heads = make_phantom(2, 3, 32)
    return dataclasses.replace(heads, ids=np.array([str(row + 1) for row in range(len(heads))]))


def some_links(rows, *pairs) -> Links:
    kinds = np.array([kind for *_, kind in pairs])
    groups = np.arange(rows, dtype=np.int32)
    for one, other, _ in pairs:
        groups[groups == groups[other]] = groups[one]
    numbers = np.unique(groups, return_inverse=True)[1].astype(np.int32)
    scores = np.linspace(1, 0.9, len(pairs)).astype(np.float32)
    return Links(np.array([pair[:2] for pair in pairs], np.int32), scores, kinds, numbers)


def test_a_report_counts_what_links_cross(slices):
    rows = len(slices)
    sides = np.where(np.arange(rows) < 6, "train", "test")
    labels = np.zeros(rows, np.int32)
    labels[1] = 1
    known = dataclasses.replace(slices, sides=sides, labels=labels)
    report = links_report(known, some_links(rows, (0, 1, "copy"), (2, 7, "near"), (2, 3, "neighbour")), "slices")
    assert [(row.kind, row.pairs, row.crossing_sides, row.two_classes) for row in report.kinds] == [
        ("copy", 1, 0, 1),
        ("near", 1, 1, 0),
        ("neighbour", 1, 0, 0),
    ]
    assert (report.crossing_groups, report.crossing_slices) == (1, 3)
    assert report.copied_slices_in_two_classes == 2
    assert (report.linked_slices, report.largest) == (5, 3)


def test_slices_of_another_set_are_counted_by_class_with_their_best_partner(slices):
    labels = np.zeros(len(slices), np.int32)
    first = dataclasses.replace(slices, labels=labels)
    second = dataclasses.replace(slices, labels=np.where(np.arange(len(slices)) == 4, 1, 0).astype(np.int32))
    links = some_links(len(slices), (0, 3, "near"), (0, 4, "near"), (1, 4, "copy"), (2, 5, "neighbour"))
    row = against_classes(first, second, links)[0]
    assert (row.duplicated, row.linked, row.same_class) == (2, 3, 1)


def test_group_scores_agree_with_counting_all_pairs():
    rng = np.random.default_rng(0)
    groups, families = rng.integers(0, 6, 60), rng.integers(0, 4, 60).astype(str)
    found = group_scores(groups, families)
    matrix = pair_confusion_matrix(families, groups)
    assert found.pair_precision == pytest.approx(matrix[1, 1] / (matrix[1, 1] + matrix[0, 1]))
    assert found.pair_recall == pytest.approx(matrix[1, 1] / (matrix[1, 1] + matrix[1, 0]))
    assert found.mixed == 6 and found.undivided == 0 and found.largest == np.bincount(groups).max()


def test_groups_that_are_the_families_are_perfect():
    found = group_scores(np.array([0, 0, 1, 2]), np.array(["a", "a", "b", "c"]))
    assert (found.pair_precision, found.pair_recall, found.homogeneity, found.completeness) == (1, 1, 1, 1)
    assert (found.mixed, found.undivided) == (0, 3)


def test_neighbours_are_consecutive_slices_of_one_patient_and_plane(slices):
    pairs = consecutive(slices)
    assert len(pairs)
    numbers = slices.ids.astype(int)
    for one, other in pairs.tolist():
        assert abs(numbers[one] - numbers[other]) == 1
        assert slices.patients[one] == slices.patients[other] and slices.planes[one] == slices.planes[other]


def test_halves_share_no_family_and_cover_all():
    families = np.repeat(np.arange(9).astype(str), 3)
    one, other = halves(families)
    assert not set(families[one]) & set(families[other])
    assert sorted([*one, *other]) == list(range(27))


def test_unknown_patients_are_one_line(slices):
    with pytest.raises(InputError, match="expected slices with patient ids"):
        known_halves(dataclasses.replace(slices, patients=None))


def test_changed_copies_are_drawn_from_the_seed_and_differ_from_their_slices(slices):
    copies, changes = changed_copies(slices, seed=1)
    again, _ = changed_copies(slices, seed=1)
    np.testing.assert_array_equal(copies.images, again.images)
    assert set(changes) == set(CHANGES)
    assert (copies.images != slices.images).any(axis=(1, 2)).all()


def test_a_rule_is_fitted_that_tells_consecutive_slices_from_others():
    heads = make_phantom(8, 4, 32)
    known = dataclasses.replace(heads, ids=np.array([str(row + 1) for row in range(len(heads))]))
    true = set(map(tuple, consecutive(known).tolist()))
    pairs = np.stack(np.triu_indices(len(known), 1), axis=1)
    rng = np.random.default_rng(0)
    features = rng.normal(0, 0.1, (len(pairs), len(FEATURES))).astype(np.float32)
    features[:, 0] += [tuple(pair) in true for pair in pairs.tolist()]
    found = fit_rule(known, pairs, features)
    assert found["held out"]["recall"] > 0.95
    assert int(np.argmax(np.abs(found["COEFFICIENTS"]))) == 0
