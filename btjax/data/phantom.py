"""Synthetic contrast-enhanced T1 slices with the three tumours and their masks: data to try everything on.

Every patient is one head in three dimensions (see `btjax.data.phantom_head` for the coordinates) with one tumour in it;
a slice is a plane through that tumour. So a patient's planes agree with each other, and neighbouring slices look alike
without being copies. A phantom does not replace real slices: a result on it says that the code works.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from btjax.base.errors import InputError
from btjax.base.limits import check_limit
from btjax.data.phantom_head import SELLA, Head, brain_distance, draw_head, falx_extent, make_head, smooth_noise
from btjax.readers.slices import CLASSES, Slices

PLANE_NORMALS = {"axial": 2, "coronal": 1, "sagittal": 0}
"""Each plane's name and the axis that it is perpendicular to."""

PLANE_SETS = (
    ("axial", "coronal", "sagittal"),
    ("axial",),
    ("coronal", "sagittal"),
    ("coronal",),
    ("axial", "sagittal"),
    ("sagittal",),
    ("axial", "coronal"),
)
"""The planes that a patient was scanned in; the same for the k-th patient of every class."""

SHARE_AT_SELLAR_LEVEL = 0.5
"""Share of meningiomas and gliomas placed where a slice shows the sella too: else the anatomy would tell the class."""


@dataclasses.dataclass(frozen=True)
class Tumour:
    """One tumour: `kind` is its class, `centre` float32 [3], `radius`, and how it looks.

    `side` is -1 or 1 where a meningioma sits on the falx and grows to that side, 0 elsewhere. `enhancement` is the
    bright part relative to the brain, `core` the dark centre of a glioma likewise, `rim` its wall's share of the
    radius, `roughness` how far the surface departs from an ellipsoid.
    """

    kind: str
    centre: np.ndarray
    radius: float
    enhancement: float
    shape: np.ndarray
    side: int = 0
    core: float = 0.5
    rim: float = 0.3
    roughness: float = 0.1


@dataclasses.dataclass(frozen=True)
class Pose:
    """How a series of slices was taken.

    `side` of the field of view, its `shift` [2], `rotation` in the plane and `tilts` [2] out of it in radians, and
    `bias` [3], the slope of the bias field along each axis.
    """

    side: float
    shift: np.ndarray
    rotation: float
    tilts: np.ndarray
    bias: np.ndarray


@dataclasses.dataclass(frozen=True)
class Patient:
    """Head and tumour, and of each slice: plane, points float32 [3, S, S], image uint8 [S, S], mask bool [S, S]."""

    head: Head
    tumour: Tumour
    planes: list[str]
    points: list[np.ndarray]
    images: list[np.ndarray]
    masks: list[np.ndarray]


def _near_sellar_level(points: np.ndarray, planes: tuple[str, ...]) -> np.ndarray:
    """Whether a slice through each of `points` [3, N] in one of the planes shows the sella too, bool [N]."""
    axes = [PLANE_NORMALS[plane] for plane in planes]
    return np.any(np.abs(points[axes] - SELLA[axes, None]) < 0.12, axis=0)


def _choose(required: np.ndarray, wished: np.ndarray, score: np.ndarray) -> int:
    """The first candidate that is as required and as wished, else as required, else the one of highest score."""
    for valid in (required & wished, required):
        if valid.any():
            return int(np.argmax(valid))
    return int(np.argmax(score))


def _inner_table(head: Head, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rays in `directions` [3, N] from the brain's middle leave it, and the outward unit normals, both [3, N]."""
    along = np.linspace(0.05, 1.2, 150, dtype=np.float32)
    middle = np.array([[0], [0], [-0.1]], np.float32)
    inside = brain_distance(middle[..., None] + directions[..., None] * along, head) < 0
    last = len(along) - 1 - np.argmax(inside[:, ::-1], 1)
    points = middle + directions * along[last]
    steps = 0.02 * np.eye(3, dtype=np.float32)[..., None]
    sides = [brain_distance(points + step, head) - brain_distance(points - step, head) for step in steps]
    return points, np.stack(sides) / (np.linalg.norm(sides, axis=0) + 1e-6)


def make_meningioma(head: Head, planes: tuple[str, ...], rng: np.random.Generator) -> Tumour:
    """Outside the brain's tissue, bright and even, its broad base on the skull's inner table or on the falx.

    The base is chosen so that the patient's planes cut it from the side: a slice along the skull would show a tumour
    that seems to float in the brain.
    """
    radius = rng.uniform(0.18, 0.29)
    side = int(rng.choice((-1, 1))) if "sagittal" not in planes and rng.random() < 0.35 else 0
    anywhere = np.full(400, rng.random() > SHARE_AT_SELLAR_LEVEL)
    if side:
        centres = rng.uniform((0, -0.7, -0.6), (0, 0.75, 0.0), (400, 3)).astype(np.float32).T
        depth = -falx_extent(centres, head)
        chosen = _choose(depth > 0.08, _near_sellar_level(centres, planes) | anywhere, depth)
        centres[0] = side * 0.25 * radius
    else:
        directions = rng.normal(size=(3, 400)).astype(np.float32)
        points, normals = _inner_table(head, directions / np.linalg.norm(directions, axis=0))
        centres = points - 0.25 * radius * normals
        axes = [PLANE_NORMALS[plane] for plane in planes]
        tilt = np.abs(normals[axes]).max(0)
        required = tilt < (0.6 if len(planes) < 3 else 0.72)
        required &= np.abs(centres[axes]).max(0) < 0.45
        required &= np.linalg.norm(centres - SELLA[:, None], axis=0) > 0.26 + radius
        # No crevices between the parts of the brain, nothing down by the spinal cord.
        required &= (brain_distance(points + 0.1 * normals, head) > 0.07) & (points[2] < 0.32)
        chosen = _choose(required, _near_sellar_level(centres, planes) | anywhere, -tilt)
    return Tumour(
        "meningioma",
        centres[:, chosen],
        radius,
        enhancement=rng.uniform(1.9, 2.5),
        shape=rng.uniform(0.9, 1.12, 3).astype(np.float32),
        side=side,
        roughness=rng.uniform(0.03, 0.10),
    )


def make_glioma(head: Head, planes: tuple[str, ...], rng: np.random.Generator) -> Tumour:
    """Within the brain, irregular, with an enhancing wall around a dark core; in a few the wall hardly enhances."""
    radius = rng.uniform(0.18, 0.28)
    anywhere = rng.random() > SHARE_AT_SELLAR_LEVEL
    centres = rng.uniform((-0.5, -0.65, -0.55), (0.5, 0.65, 0.35), (1500, 3)).astype(np.float32).T
    depth = -brain_distance(centres, head)
    required = (depth > 1.15 * radius + 0.03) & (np.linalg.norm(centres - SELLA[:, None], axis=0) > 0.15 + radius)
    chosen = _choose(required, _near_sellar_level(centres, planes) | anywhere, depth)
    faint = rng.random() < 0.06
    return Tumour(
        "glioma",
        centres[:, chosen],
        radius,
        enhancement=rng.uniform(1.25, 1.45) if faint else rng.uniform(1.9, 2.5),
        shape=rng.uniform(0.8, 1.2, 3).astype(np.float32),
        core=rng.uniform(0.15, 0.4),
        rim=rng.uniform(0.18, 0.27),
        roughness=rng.uniform(0.15, 0.25),
    )


def make_pituitary(head: Head, planes: tuple[str, ...], rng: np.random.Generator) -> Tumour:
    """On the midline in the sella, growing upwards out of it, bright, small to medium."""
    del head, planes  # the sella is at the same place in every head
    radius = rng.uniform(0.14, 0.22)
    centre = SELLA + np.array([rng.normal(0, 0.01), rng.normal(0, 0.012), -0.4 * radius], np.float32)
    shape = np.array([rng.uniform(0.8, 1.05), rng.uniform(0.75, 1.0), rng.uniform(0.95, 1.35)], np.float32)
    return Tumour(
        "pituitary",
        centre.astype(np.float32),
        radius,
        enhancement=rng.uniform(1.8, 2.5),
        shape=shape,
        roughness=rng.uniform(0.04, 0.12),
    )


def make_pose(rng: np.random.Generator) -> Pose:
    """A field of view of about 23 cm, a head nearly straight in it."""
    return Pose(
        side=rng.uniform(2.25, 2.55),
        shift=rng.normal(0, 0.06, 2).clip(-0.11, 0.11).astype(np.float32),
        rotation=float(np.clip(rng.normal(0, 0.10), -0.22, 0.22)),
        tilts=rng.normal(0, 0.04, 2).clip(-0.1, 0.1).astype(np.float32),
        bias=rng.normal(0, 0.08, 3).astype(np.float32),
    )


MAKERS = {"meningioma": make_meningioma, "glioma": make_glioma, "pituitary": make_pituitary}


def tumour_distance(points: np.ndarray, tumour: Tumour, head: Head) -> np.ndarray:
    """Signed distance, float32 [...], to the tumour's surface."""
    per_axis = (3,) + (1,) * (points.ndim - 1)
    offset = (points - tumour.centre.reshape(per_axis)) / tumour.shape.reshape(per_axis)
    bumps = smooth_noise(head.lattice, points, 1.1 / tumour.radius, offset=3.3).clip(-1.2, 1.2)
    distance = np.sqrt((offset**2).sum(0)) - tumour.radius * (1 + tumour.roughness * bumps)
    if tumour.kind == "meningioma":
        distance = np.maximum(distance, brain_distance(points, head) - 0.015)
        if tumour.side:
            distance = np.maximum(distance, 0.008 - tumour.side * points[0])
    elif tumour.kind == "glioma":
        distance = np.maximum(distance, brain_distance(points, head) + 0.03)
    return distance


def slice_points(head: Head, tumour: Tumour, pose: Pose, plane: str, offset: float, *, image_size: int) -> np.ndarray:
    """Where the pixels of a slice lie in the head, float32 [3, S, S].

    The plane passes the tumour's centre at `offset` of its radius, hinged there by the pose's tilts.
    """
    normal = PLANE_NORMALS[plane]
    columns, rows = (axis for axis in range(3) if axis != normal)
    line = (np.arange(image_size, dtype=np.float32) + 0.5 - image_size / 2) * np.float32(pose.side / image_size)
    across, down = line[None, :] + pose.shift[0], line[:, None] + pose.shift[1]
    points = np.zeros((3, image_size, image_size), np.float32)
    points[columns] = np.cos(pose.rotation) * across - np.sin(pose.rotation) * down
    points[rows] = np.sin(pose.rotation) * across + np.cos(pose.rotation) * down
    points[2] += 0.15  # the field of view is centred below the middle of the brain
    middle = tumour.centre * head.stretch
    slope = pose.tilts[0] * (points[columns] - middle[columns]) + pose.tilts[1] * (points[rows] - middle[rows])
    points[normal] = middle[normal] + slope + offset * tumour.radius * tumour.shape[normal]
    return points / head.stretch[:, None, None]


def draw_tumour(
    image: np.ndarray, points: np.ndarray, distance: np.ndarray, *, pixel: float, tumour: Tumour, head: Head
) -> np.ndarray:
    """The image, float32 [S, S], with the tumour, `distance` away, and what it does to its surroundings."""
    texture = smooth_noise(head.lattice, points, 9.0, offset=2.7)
    brain_level, brain = head.levels["grey"], brain_distance(points, head)
    bright = brain_level * tumour.enhancement * (1 + 0.05 * texture)
    cover = np.clip(0.5 - distance / pixel, 0, 1)
    if tumour.kind == "glioma":
        # Swelling darkens the tissue around it; the wall's thickness varies and may gape.
        swelling = np.exp(-((np.maximum(distance, 0) / (0.5 * tumour.radius)) ** 2)) * (brain < -0.02)
        image = image * (1 - 0.18 * swelling)
        wall = tumour.rim * tumour.radius * (1 + 0.4 * texture.clip(-1.2, 1.2))
        core = np.clip(0.5 - (distance + wall) / max(pixel, 0.02), 0, 1)
        bright = bright + core * (brain_level * tumour.core - bright)
    elif tumour.kind == "meningioma":
        # The membrane beside the base takes up contrast too: the dural tail.
        membrane = np.abs(points[0]) if tumour.side else np.abs(brain)
        tail = np.maximum(membrane - 0.02, distance - 0.5 * tumour.radius)
        tail_cover = 0.6 * np.clip(0.5 - tail / pixel, 0, 1) * (brain < 0.03)
        image = image + tail_cover * (bright - image)
    return image + cover * (bright - image)


def scan(image: np.ndarray, noise: float, gamma: float, rng: np.random.Generator) -> np.ndarray:
    """The scanner's effects: blur, Rician noise, gamma; uint8 [S, S] from the image's minimum to its maximum."""
    import scipy.ndimage

    image = scipy.ndimage.gaussian_filter(np.maximum(image, 0), 0.4)
    parts = noise * rng.standard_normal((2, *image.shape), np.float32)
    image = np.hypot(image + parts[0], parts[1])
    image = (image - image.min()) / (image.max() - image.min())
    return np.round(255 * image**gamma).astype(np.uint8)


def make_patient(number: int, slices: int, image_size: int, seed: int) -> Patient:
    """Patient `number`, counted from 0, drawn from (seed, number) alone; classes take turns.

    Anatomy, tumour and pose do not depend on `image_size`, so the same patient can be drawn at a higher resolution.
    """
    rng = np.random.default_rng([seed, number])
    kind, turn = CLASSES[number % len(CLASSES)], number // len(CLASSES)
    planes = PLANE_SETS[turn % len(PLANE_SETS)][:slices]
    head = make_head(rng)
    tumour = MAKERS[kind](head, planes, rng)
    noise, gamma = rng.uniform(0.008, 0.022), rng.uniform(0.85, 1.15)
    patient = Patient(head, tumour, [], [], [], [])
    for plane, rows in zip(planes, np.array_split(np.arange(slices), len(planes)), strict=True):
        pose = make_pose(rng)
        offsets = np.linspace(-0.5, 0.5, len(rows) + 2)[1:-1] + rng.uniform(-0.06, 0.06, len(rows))
        for row, offset in zip(rows, offsets, strict=True):
            points = slice_points(head, tumour, pose, plane, offset, image_size=image_size)
            pixel = pose.side / image_size
            distance = tumour_distance(points, tumour, head)
            image = draw_head(points, pixel, head)
            image = draw_tumour(image, points, distance, pixel=pixel, tumour=tumour, head=head)
            image *= np.exp(np.tensordot(pose.bias, points, 1))
            patient.planes.append(plane)
            patient.points.append(points)
            patient.images.append(scan(image, noise, gamma, np.random.default_rng([seed, number, 1 + int(row)])))
            # The minimum is a pixel of the tumour too, should its section be smaller than a pixel.
            patient.masks.append((distance < 0) | (distance == distance.min()))
    return patient


def make_phantom(
    patients_per_class: int = 40, slices_per_patient: int = 6, image_size: int = 64, seed: int = 0
) -> Slices:
    """Synthetic patients of the three classes, in equal numbers.

    Args:
      patients_per_class: patients of each class; the k-th patient is the same however many there are.
      slices_per_patient: slices of each patient, shared among the one to three planes that the patient was scanned in.
      image_size: side of the images in pixels, at least 32.
      seed: another seed, other patients.

    Returns:
      Slices with every field but `folds`: images uint8 [N, S, S], masks bool [N, S, S], exact and never empty,
      patients "P0001" onwards, whose classes take turns. Each plane occurs as often in one class as in another.

    Raises:
      InputError: a number is too small, or the slices exceed `$BTJAX_LIMIT_DATA_SET`.

    Example:
      >>> slices = make_phantom(patients_per_class=1, slices_per_patient=2, image_size=32)
      >>> slices.images.shape, [slices.classes[label] for label in slices.labels]
      ((6, 32, 32), ['meningioma', 'meningioma', 'glioma', 'glioma', 'pituitary', 'pituitary'])
    """
    for name, value, least in (
        ("patients_per_class", patients_per_class, 1),
        ("slices_per_patient", slices_per_patient, 1),
        ("image_size", image_size, 32),
        ("seed", seed, 0),
    ):
        if value < least:
            raise InputError(f"{name}: found {value}, expected at least {least}")
    count = len(CLASSES) * patients_per_class * slices_per_patient
    check_limit("data_set", count * image_size**2, f"{count} slices of {image_size} x {image_size}")
    numbers = np.arange(len(CLASSES) * patients_per_class)
    images, masks, planes = [], [], []
    for number in numbers:
        patient = make_patient(int(number), slices_per_patient, image_size, seed)
        images += patient.images
        masks += patient.masks
        planes += patient.planes
    return Slices(
        images=np.stack(images),
        labels=np.repeat(numbers % len(CLASSES), slices_per_patient).astype(np.int32),
        ids=np.array([str(row + 1) for row in range(len(images))]),
        sizes=np.full((len(images), 2), image_size, np.int32),
        patients=np.repeat([f"P{number + 1:04d}" for number in numbers], slices_per_patient),
        masks=np.stack(masks),
        planes=np.array(planes),
    )
