"""The phantom: reproducible, anatomically where it should be, and learnable from the tumours alone."""

import numpy as np
import pytest
import scipy.ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from btjax.base.errors import InputError
from btjax.data.phantom import PLANE_NORMALS, make_patient, make_phantom
from btjax.data.phantom_head import SELLA, brain_distance, ellipsoid_distance
from btjax.readers.slices import CLASSES

PIXEL = 2.55 / 64
"""The largest side of a pixel at 64 pixels, in the head's units."""


@pytest.fixture(scope="module")
def slices():
    return make_phantom()


@pytest.fixture(scope="module")
def patients():
    """14 patients of each class, by class, with the points that their pixels show."""
    drawn = [make_patient(number, slices=6, image_size=64, seed=1) for number in range(42)]
    return {kind: [patient for patient in drawn if patient.tumour.kind == kind] for kind in CLASSES}


def sections(patients):
    """(patient, points, image as float, mask) of every slice."""
    for patient in patients:
        for points, image, mask in zip(patient.points, patient.images, patient.masks, strict=True):
            yield patient, points, image.astype(np.float32), mask


def held_out_accuracy(slices, features):
    """A linear classifier's accuracy on every fourth patient of each class, trained on the others."""
    turns = np.array([(int(patient[1:]) - 1) // len(CLASSES) for patient in slices.patients])
    tested = turns % 4 == 3
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    classifier.fit(features[~tested], slices.labels[~tested])
    return classifier.score(features[tested], slices.labels[tested])


def test_every_field_has_its_shape_and_dtype(slices):
    assert len(slices) == 3 * 40 * 6
    assert slices.images.shape == slices.masks.shape == (720, 64, 64)
    assert slices.images.dtype == np.uint8 and slices.masks.dtype == bool
    assert slices.labels.dtype == slices.sizes.dtype == np.int32
    assert (slices.sizes == 64).all() and slices.folds is None
    assert slices.ids[0] == "1" and slices.ids[-1] == "720"
    assert slices.patients[0] == "P0001" and slices.patients[-1] == "P0120"
    np.testing.assert_array_equal(slices.families, slices.patients)
    assert (slices.images.min((1, 2)) == 0).all() and (slices.images.max((1, 2)) == 255).all()


def test_classes_and_their_planes_are_balanced(slices):
    for plane in PLANE_NORMALS:
        counts = np.bincount(slices.labels[slices.planes == plane], minlength=3)
        assert counts[0] == counts[1] == counts[2] > 60


def test_a_patient_has_six_slices_of_one_class_in_one_to_three_planes(slices):
    planes = set()
    for patient in np.unique(slices.patients):
        rows = slices.patients == patient
        assert rows.sum() == 6 and len(np.unique(slices.labels[rows])) == 1
        planes.add(len(np.unique(slices.planes[rows])))
    assert planes == {1, 2, 3}


def test_the_same_seed_gives_the_same_bits_whatever_numpys_global_state():
    first = make_phantom(2, 3, seed=5)
    np.random.seed(0)
    second, other = make_phantom(2, 3, seed=5), make_phantom(2, 3, seed=6)
    for name, array in first.fields().items():
        np.testing.assert_array_equal(array, second.fields()[name])
    assert (first.images != other.images).any(axis=(1, 2)).all()


def test_more_patients_leave_the_first_ones_as_they_are(slices):
    few = make_phantom(3)
    for name, array in few.fields().items():
        np.testing.assert_array_equal(array, slices.fields()[name][: len(few)])


def test_neighbouring_slices_are_alike_but_no_copies(slices):
    same = (slices.patients[1:] == slices.patients[:-1]) & (slices.planes[1:] == slices.planes[:-1])
    rows = np.flatnonzero(same)
    alike = [np.corrcoef(slices.images[row].ravel(), slices.images[row + 1].ravel())[0, 1] for row in rows]
    apart = [np.corrcoef(slices.images[row].ravel(), slices.images[row - 60].ravel())[0, 1] for row in rows]
    assert min(alike) > 0.4 and np.median(alike) > 0.9 and max(alike) < 0.999
    assert np.median(alike) > np.median(apart) + 0.1
    assert (slices.masks[rows] != slices.masks[rows + 1]).any((1, 2)).mean() > 0.95


def test_the_same_patient_can_be_had_sharper():
    coarse, fine = make_phantom(2, 3, image_size=64), make_phantom(2, 3, image_size=128)
    pooled = fine.masks.reshape(-1, 64, 2, 64, 2).mean((2, 4)) >= 0.5
    overlap = (pooled & coarse.masks).sum() / (pooled | coarse.masks).sum()
    assert overlap > 0.85


@pytest.mark.parametrize("image_size", [32, 64])
def test_no_mask_is_empty_or_touches_the_border(slices, image_size):
    masks = slices.masks if image_size == 64 else make_phantom(4, 4, image_size).masks
    assert masks.any((1, 2)).all()
    assert not masks[:, [0, -1]].any() and not masks[:, :, [0, -1]].any()


@pytest.mark.parametrize("kind", CLASSES)
def test_a_mask_is_one_piece_within_the_head(patients, kind):
    for patient, points, _, mask in sections(patients[kind]):
        assert ellipsoid_distance(points, patient.head.outline).min(0)[mask].max() < -0.05
        sizes = np.bincount(scipy.ndimage.label(mask, np.ones((3, 3)))[0].ravel())[1:]
        assert sizes.max() >= 0.9 * sizes.sum()


def test_a_meningioma_has_a_broad_base_on_the_inner_table_or_the_falx(patients):
    on_falx = 0
    for patient, points, _, mask in sections(patients["meningioma"]):
        on_falx += patient.tumour.side != 0
        wall = points[0] if patient.tumour.side else brain_distance(points, patient.head)
        base = (np.abs(wall[mask]) < 1.5 * PIXEL).sum()
        assert base >= 0.5 * np.sqrt(mask.sum())
    assert 0 < on_falx < 42


def test_a_meningioma_is_bright_and_even(patients):
    for patient, points, image, mask in sections(patients["meningioma"]):
        brain = image[(brain_distance(points, patient.head) < -0.05) & ~mask]
        assert image[mask].mean() > 1.25 * np.median(brain)
        inner = image[scipy.ndimage.binary_erosion(mask)]
        assert inner.std() < 0.2 * inner.mean()


def test_a_glioma_stays_clear_of_the_skull(patients):
    for patient, points, _, mask in sections(patients["glioma"]):
        assert brain_distance(points, patient.head)[mask].max() < -0.02


def test_most_gliomas_have_a_core_darker_than_their_wall(patients):
    darker = []
    for _, _, image, mask in sections(patients["glioma"]):
        depth = scipy.ndimage.distance_transform_edt(mask)
        darker.append(image[depth > 0.7 * depth.max()].mean() < 0.8 * image[mask & (depth <= 2)].mean())
    assert np.mean(darker) > 0.8


def test_a_pituitary_tumour_sits_on_the_midline_at_the_sella(patients):
    for _, points, image, mask in sections(patients["pituitary"]):
        middle = points[:, mask].mean(1)
        assert abs(middle[0]) < 0.1 and abs(middle[1] - SELLA[1]) < 0.1
        assert -0.25 < middle[2] - SELLA[2] < 0.08
        assert image[mask].mean() > np.median(image[image > 40])


def test_other_tumours_stay_away_from_the_sella_though_their_slices_may_show_it(patients):
    level = []
    for kind in ("meningioma", "glioma"):
        for _, points, _, mask in sections(patients[kind]):
            distance = np.sqrt(((points - SELLA[:, None, None]) ** 2).sum(0))
            assert distance[mask].min() > 0.05
            level.append(distance.min() < 0.15)
    assert 0.15 < np.mean(level) < 0.7


def test_pixels_do_not_give_the_class_to_a_linear_classifier(slices):
    pooled = slices.images.reshape(len(slices), 32, 2, 32, 2).mean((2, 4)).reshape(len(slices), -1)
    assert 0.45 < held_out_accuracy(slices, pooled) < 0.80


def test_brightness_does_not_give_the_class(slices):
    flat = slices.images.reshape(len(slices), -1)
    features = np.column_stack([flat.mean(1), flat.std(1), np.percentile(flat, [50, 75, 90, 95, 99], axis=1).T])
    assert held_out_accuracy(slices, features) < 0.60


def test_the_size_of_the_tumour_does_not_give_the_class(slices):
    assert held_out_accuracy(slices, slices.masks.sum((1, 2))[:, None].astype(float)) < 0.65


@pytest.mark.parametrize(
    ("argument", "value"), [("patients_per_class", 0), ("slices_per_patient", 0), ("image_size", 31), ("seed", -1)]
)
def test_a_number_too_small_is_named(argument, value):
    with pytest.raises(InputError, match=rf"^{argument}: found {value}, expected at least \d+$"):
        make_phantom(**{argument: value})
