"""Synthetic contrast-enhanced T1 heads with the three tumours and their masks: data to try everything on.

Every patient is one head in three dimensions, made of ellipsoids and smooth noise, with one tumour in it; a slice is
a plane through that tumour. So a patient's planes agree with each other and neighbouring slices look alike without
being copies. A phantom is no substitute for real slices: a result on it says that the code works, nothing more.

Coordinates of the head: x from side to side, y from front to back, z downwards, in units of about 9.5 cm, half the
length of a head; arrays of points are float32 [3, ...]. A distance is signed, negative inside.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.ndimage

from btjax.data.slices import CLASSES, Slices

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
"""The planes that a patient was scanned in; the k-th patient of every class has the same ones."""

SELLA = np.array([0.0, -0.19, 0.17], np.float32)
"""Where the pituitary gland sits."""

SHARE_AT_SELLAR_LEVEL = 0.3
"""Share of meningiomas and gliomas put where a slice through them shows the sella too: anatomy is no clue to class."""

# Ellipsoids as (centre x y z, radii x y z). A centre off the midline stands for a pair: points are folded by |x|.
BRAIN = {
    "cerebrum": (0.0, 0.0, -0.12, 0.61, 0.80, 0.55),
    "temporal": (0.36, -0.10, 0.13, 0.22, 0.36, 0.21),
    "cerebellum": (0.16, 0.42, 0.27, 0.36, 0.32, 0.26),
    "midbrain": (0.0, 0.12, 0.10, 0.14, 0.16, 0.22),
    "medulla": (0.0, 0.21, 0.60, 0.08, 0.09, 0.50),
}
OUTLINE = {
    "cranium": (0.0, 0.0, -0.10, 0.75, 0.95, 0.74),
    "face": (0.0, -0.40, 0.52, 0.60, 0.52, 0.72),
    "jaw": (0.22, -0.15, 0.50, 0.34, 0.50, 0.50),
    "nose": (0.0, -0.92, 0.52, 0.11, 0.16, 0.17),
    "neck": (0.0, 0.18, 1.00, 0.58, 0.54, 0.95),
}
# (tissue, ellipsoid), painted in this order: first outside the brain, then inside it.
FACE = (
    ("marrow", (0.0, 0.02, 0.36, 0.10, 0.07, 0.20)),
    ("marrow", (0.0, 0.02, 0.95, 0.14, 0.09, 0.40)),
    ("bone", (0.42, 0.12, 0.33, 0.22, 0.10, 0.09)),
    ("air", (0.50, 0.20, 0.38, 0.08, 0.07, 0.08)),
    ("fat", (0.29, -0.66, 0.17, 0.19, 0.24, 0.17)),
    ("muscle", (0.28, -0.76, 0.17, 0.12, 0.12, 0.12)),
    ("fluid", (0.28, -0.77, 0.17, 0.10, 0.10, 0.10)),
    ("air", (0.0, -0.62, 0.36, 0.10, 0.22, 0.24)),
    ("muscle", (0.04, -0.62, 0.42, 0.03, 0.18, 0.12)),
    ("air", (0.27, -0.60, 0.47, 0.13, 0.15, 0.14)),
    ("air", (0.0, -0.36, 0.30, 0.14, 0.15, 0.09)),
    ("air", (0.09, -0.86, -0.06, 0.08, 0.05, 0.08)),
    ("air", (0.0, -0.15, 0.75, 0.07, 0.05, 0.38)),
    ("muscle", (0.0, -0.50, 0.85, 0.26, 0.28, 0.14)),
    ("air", (0.0, -0.52, 0.69, 0.20, 0.24, 0.03)),
)
DEEP = (
    ("white", (0.0, 0.0, -0.20, 0.16, 0.42, 0.15)),
    ("grey", (0.17, 0.03, -0.04, 0.13, 0.22, 0.11)),
    ("fluid", (0.10, -0.14, -0.19, 0.06, 0.24, 0.09)),
    ("fluid", (0.17, 0.20, -0.14, 0.07, 0.22, 0.08)),
    ("fluid", (0.0, 0.02, -0.02, 0.022, 0.17, 0.09)),
    ("fluid", (0.0, 0.31, 0.24, 0.06, 0.05, 0.08)),
    ("fluid", (0.0, -0.17, 0.07, 0.16, 0.12, 0.07)),
    ("fluid", (0.30, -0.22, 0.06, 0.17, 0.06, 0.04)),
)
# Everything bright that is no tumour: venous sinuses, arteries, choroid plexus, the normal gland.
VESSELS = (
    ("vessel", (0.10, -0.16, 0.19, 0.035, 0.07, 0.05)),
    ("vessel", (0.28, -0.20, 0.08, 0.18, 0.025, 0.025)),
    ("vessel", (0.0, -0.02, 0.20, 0.022, 0.022, 0.15)),
    ("vessel", (0.0, 0.30, -0.10, 0.022, 0.16, 0.025)),
    ("vessel", (0.19, 0.26, -0.10, 0.03, 0.09, 0.035)),
    ("vessel", (0.0, 0.80, -0.02, 0.07, 0.06, 0.10)),
    ("vessel", (0.30, 0.66, 0.12, 0.28, 0.08, 0.04)),
    ("vessel", (0.0, -0.19, 0.17, 0.055, 0.045, 0.03)),
)


@dataclasses.dataclass(frozen=True)
class Head:
    """One patient's anatomy and tissues: what the tables above become for him.

    Attributes:
      stretch: float32 [3], the head's size along x, y, z relative to the tables.
      brain, outline, face, deep, vessels: float32 [K, 6], ellipsoids.
      spots: float32 [K, 6], small dark cysts and calcifications.
      levels: intensity of every tissue, in about [0, 1].
      lattice: float32 [16, 16, 16], the values behind this patient's noise.
    """

    stretch: np.ndarray
    brain: np.ndarray
    outline: np.ndarray
    face: np.ndarray
    deep: np.ndarray
    vessels: np.ndarray
    spots: np.ndarray
    levels: dict[str, float]
    lattice: np.ndarray


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


def smooth_noise(lattice: np.ndarray, points: np.ndarray, frequency: float, offset: float = 0.0) -> np.ndarray:
    """Smooth random values, float32 [...], of mean 0 and deviation about 1 at `points` float32 [3, ...].

    A quadratic B-spline through the periodic `lattice`, `frequency` nodes per unit of length.
    """
    coordinates = points.reshape(3, -1) * frequency + (offset + 8.0)
    values = scipy.ndimage.map_coordinates(lattice, coordinates, order=2, mode="grid-wrap", prefilter=False)
    return 2.4 * values.reshape(points.shape[1:])


def ellipsoid_distance(points: np.ndarray, ellipsoids: np.ndarray) -> np.ndarray:
    """Approximate signed distance, float32 [K, ...], from `points` [3, ...] to `ellipsoids` [K, 6] folded by |x|.

    The first-order estimate k (k - 1) / |grad|, exact on the surface.
    """
    folded = np.concatenate([np.abs(points[:1]), points[1:]])
    shape = (len(ellipsoids), 3) + (1,) * (points.ndim - 1)
    radii = ellipsoids[:, 3:].reshape(shape)
    scaled = (folded[None] - ellipsoids[:, :3].reshape(shape)) / radii
    reach = np.sqrt((scaled**2).sum(1)) + 1e-6
    return reach * (reach - 1) / (np.sqrt(((scaled / radii) ** 2).sum(1)) + 1e-6)


def brain_distance(points: np.ndarray, head: Head) -> np.ndarray:
    """Signed distance, float32 [...], to the brain's surface, which is also the skull's inner table."""
    parts = ellipsoid_distance(points, head.brain)
    # The skull base rises towards the forehead: it cuts the cerebrum, not the temporal lobes and what lies behind.
    floor = points[2] - (0.10 + 0.22 * points[1])
    return np.minimum(np.maximum(parts[0], floor), parts[1:].min(0))


def falx_extent(points: np.ndarray, head: Head) -> np.ndarray:
    """Signed distance, float32 [...], to the part of the head where the falx hangs: brain above and around the deep
    structures and in front of and above the cerebellum."""
    deep = ellipsoid_distance(points, np.array([[0, 0.05, -0.05, 0.7, 0.5, 0.30]], np.float32))[0]
    return np.maximum(np.maximum(brain_distance(points, head), -deep), points[2] - 0.05)


def _jittered(table, rng: np.random.Generator, move: float, resize: float) -> np.ndarray:
    """A table of ellipsoids, float32 [K, 6], with centres moved and radii changed a little; midline stays midline."""
    ellipsoids = np.array(list(table), np.float32)
    moves = rng.normal(0, move, (len(ellipsoids), 3))
    moves[ellipsoids[:, 0] == 0, 0] = 0
    ellipsoids[:, :3] += moves
    ellipsoids[:, 3:] *= np.exp(rng.normal(0, resize, (len(ellipsoids), 3)))
    return ellipsoids


def make_head(rng: np.random.Generator) -> Head:
    """A patient's head, with no regard to the tumour it will hold."""
    brain = rng.uniform(0.32, 0.42)
    levels = {
        "air": rng.uniform(0.0, 0.03),
        "bone": rng.uniform(0.06, 0.13),
        "fluid": brain * rng.uniform(0.35, 0.6),
        "grey": brain,
        "white": brain * rng.uniform(1.05, 1.22),
        "muscle": brain * rng.uniform(0.7, 1.1),
        "fat": rng.uniform(0.7, 1.0),
        "marrow": rng.uniform(0.4, 0.7),
        "vessel": brain * rng.uniform(1.3, 1.8),
        "sulci": rng.uniform(0.6, 1.1),
    }
    deep = _jittered((shape for _, shape in DEEP), rng, 0.012, 0.10)
    deep[2:, 3:] *= rng.uniform(0.75, 1.45)
    spots = np.concatenate([rng.uniform((0.1, -0.6, -0.5), (0.5, 0.6, 0.2), (3, 3)), rng.uniform(0.02, 0.07, (3, 3))], 1)
    return Head(
        stretch=rng.normal(1, (0.035, 0.035, 0.035)).clip(0.92, 1.08).astype(np.float32),
        brain=_jittered(BRAIN.values(), rng, 0.010, 0.02),
        outline=_jittered(OUTLINE.values(), rng, 0.012, 0.02),
        face=_jittered((shape for _, shape in FACE), rng, 0.015, 0.12),
        deep=deep,
        vessels=_jittered((shape for _, shape in VESSELS), rng, 0.010, 0.20),
        spots=spots.astype(np.float32)[: rng.integers(0, 4)],
        levels=levels,
        lattice=rng.normal(size=(16, 16, 16)).astype(np.float32),
    )


def _near_sellar_level(points: np.ndarray, planes: tuple[str, ...]) -> np.ndarray:
    """Whether a slice through each of `points` [3, N] in one of the planes shows the sella too, bool [N]."""
    axes = [PLANE_NORMALS[plane] for plane in planes]
    return (np.abs(points[axes] - SELLA[axes, None]) < 0.12).any(0)


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
        required &= np.linalg.norm(centres - SELLA[:, None], axis=0) > 0.22 + radius
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
    """Within the brain, irregular, an enhancing wall around a dark core; in some the wall hardly enhances."""
    radius = rng.uniform(0.18, 0.28)
    anywhere = rng.random() > SHARE_AT_SELLAR_LEVEL
    centres = rng.uniform((-0.5, -0.65, -0.55), (0.5, 0.65, 0.35), (1500, 3)).astype(np.float32).T
    depth = -brain_distance(centres, head)
    required = (depth > 1.1 * radius + 0.03) & (np.linalg.norm(centres - SELLA[:, None], axis=0) > 0.12 + radius)
    chosen = _choose(required, _near_sellar_level(centres, planes) | anywhere, depth)
    faint = rng.random() < 0.10
    return Tumour(
        "glioma",
        centres[:, chosen],
        radius,
        enhancement=rng.uniform(1.25, 1.45) if faint else rng.uniform(1.9, 2.5),
        shape=rng.uniform(0.8, 1.2, 3).astype(np.float32),
        core=rng.uniform(0.25, 0.5),
        rim=rng.uniform(0.22, 0.32),
        roughness=rng.uniform(0.15, 0.28),
    )


def make_pituitary(head: Head, planes: tuple[str, ...], rng: np.random.Generator) -> Tumour:
    """On the midline in the sella, growing upwards out of it, bright, small to medium."""
    radius = rng.uniform(0.13, 0.21)
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


MAKERS = {"meningioma": make_meningioma, "glioma": make_glioma, "pituitary": make_pituitary}


def tumour_distance(points: np.ndarray, tumour: Tumour, head: Head) -> np.ndarray:
    """Signed distance, float32 [...], to the tumour's surface."""
    offset = (points - tumour.centre.reshape((3,) + (1,) * (points.ndim - 1))) / tumour.shape.reshape(
        (3,) + (1,) * (points.ndim - 1)
    )
    bumps = smooth_noise(head.lattice, points, 1.1 / tumour.radius, offset=3.3).clip(-1.2, 1.2)
    distance = np.sqrt((offset**2).sum(0)) - tumour.radius * (1 + tumour.roughness * bumps)
    if tumour.kind == "meningioma":
        distance = np.maximum(distance, brain_distance(points, head) - 0.015)
        if tumour.side:
            distance = np.maximum(distance, 0.008 - tumour.side * points[0])
    elif tumour.kind == "glioma":
        distance = np.maximum(distance, brain_distance(points, head) + 0.03)
    return distance


def slice_points(
    head: Head, tumour: Tumour, plane: str, offset: float, image_size: int, pose: dict[str, np.ndarray]
) -> tuple[np.ndarray, float]:
    """Points in the head of the pixels of a slice, float32 [3, S, S], and the side of a pixel.

    The plane passes the tumour's centre at `offset` radii along its normal. `pose` holds the field of view's side,
    the shift of its centre [2], the rotation in the plane and the two tilts out of it [3], in radians.
    """
    normal = PLANE_NORMALS[plane]
    columns, rows = [axis for axis in range(3) if axis != normal]
    pixel = float(pose["side"]) / image_size
    line = (np.arange(image_size, dtype=np.float32) + 0.5 - image_size / 2) * np.float32(pixel)
    across, down = line[None, :] + pose["shift"][0], line[:, None] + pose["shift"][1]
    turn = np.cos(pose["angles"]), np.sin(pose["angles"])
    across, down = turn[0][0] * across - turn[1][0] * down, turn[1][0] * across + turn[0][0] * down
    points = np.zeros((3, image_size, image_size), np.float32)
    points[columns], points[rows] = across, down
    if rows == 2:
        points[2] += 0.15
    # The tilts make the plane a slope over the slice, hinged where it passes the tumour.
    middle = tumour.centre * head.stretch
    slope = turn[1][1] * (points[columns] - middle[columns]) + turn[1][2] * (points[rows] - middle[rows])
    points[normal] = middle[normal] + slope + offset * tumour.radius * tumour.shape[normal]
    return points / head.stretch[:, None, None], pixel


def draw_head(points: np.ndarray, pixel: float, head: Head) -> np.ndarray:
    """The head without its tumour: intensities, float32 [S, S], of the tissues at `points`."""
    levels = head.levels
    texture = smooth_noise(head.lattice, points, 7.0)
    folds = smooth_noise(head.lattice, points, 4.6, offset=6.1)
    brain = brain_distance(points, head)
    outline = ellipsoid_distance(points, head.outline)
    outside = outline.min(0)

    image = np.full(points.shape[1:], levels["air"], np.float32)

    def paint(distance, value):
        cover = np.clip(0.5 - distance / pixel, 0, 1)
        image[...] += cover * (value - image)

    fat_share = 1 / (1 + np.exp(-4 * (texture + 0.5 * folds - 0.7)))
    paint(outside, levels["muscle"] * (1 + 0.2 * folds) + (levels["fat"] - levels["muscle"]) * fat_share * 0.8)
    paint(np.maximum(outside, -0.055 - outside), levels["fat"] * (1 + 0.06 * texture))
    for (tissue, _), distance in zip(FACE, ellipsoid_distance(points, head.face), strict=True):
        paint(np.maximum(distance, outside + 0.05), levels[tissue] * (1 + 0.2 * texture))
    # The vault is all bone between scalp and brain; below it, bone is a shell around the brain.
    paint(np.maximum(outline[0] + 0.06, points[2] - (0.25 * points[1] - 0.06)), levels["bone"])
    paint(np.maximum(brain - 0.06, outside + 0.05), levels["bone"] * (1 + 0.5 * texture))
    paint(brain - 0.015, levels["fluid"])

    depth = -brain
    white = 1 / (1 + np.exp(-40 * (depth - 0.10 - 0.04 * folds)))
    tissue = levels["grey"] + (levels["white"] - levels["grey"]) * white
    sulci = np.exp(-((texture / 0.28) ** 2) - (depth / 0.2) ** 2) * levels["sulci"]
    paint(brain, tissue * (1 + 0.025 * folds) + (levels["fluid"] - tissue) * 0.85 * sulci)
    for (tissue, _), distance in zip(DEEP, ellipsoid_distance(points, head.deep), strict=True):
        paint(np.maximum(distance, brain), levels[tissue])
    for distance in ellipsoid_distance(points, head.spots):
        paint(np.maximum(distance, brain), levels["fluid"])
    draw_membranes(paint, points, brain, head)
    for distance in ellipsoid_distance(points, head.vessels):
        paint(np.maximum(distance, outside + 0.08), levels["vessel"])
    return image


def draw_membranes(paint, points: np.ndarray, brain: np.ndarray, head: Head) -> None:
    """Falx, tentorium and the sagittal sinus, drawn by `paint(distance, value)`."""
    levels = head.levels
    falx = falx_extent(points, head)
    midline = np.abs(points[0])
    paint(np.maximum(midline - 0.022, falx), levels["fluid"])
    paint(np.maximum(midline - 0.010, falx), 0.8 * levels["vessel"])
    cerebellum = ellipsoid_distance(points, head.brain[2:3])[0]
    tentorium = np.maximum(np.abs(cerebellum) - 0.012, points[2] - 0.25)
    paint(np.maximum(np.maximum(tentorium, 0.25 - points[1]), brain), 0.5 * (levels["vessel"] + levels["white"]) * 0.85)
    sinus = np.maximum(np.maximum(midline - 0.045, np.abs(brain) - 0.04), points[2] + 0.10)
    paint(sinus, levels["vessel"])


def draw_tumour(image: np.ndarray, points: np.ndarray, pixel: float, tumour: Tumour, head: Head) -> np.ndarray:
    """The image, float32 [S, S], with the tumour and what it does to its surroundings."""
    distance = tumour_distance(points, tumour, head)
    texture = smooth_noise(head.lattice, points, 9.0, offset=2.7)
    brain_level, brain = head.levels["grey"], brain_distance(points, head)
    bright = brain_level * tumour.enhancement * (1 + 0.05 * texture)
    cover = np.clip(0.5 - distance / pixel, 0, 1)
    if tumour.kind == "glioma":
        # Swelling darkens the tissue around it; the wall's thickness varies and may gape.
        swelling = np.exp(-(np.maximum(distance, 0) / (0.5 * tumour.radius)) ** 2) * (brain < -0.02)
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


def finish(image: np.ndarray, field: np.ndarray, noise: float, gamma: float, rng: np.random.Generator) -> np.ndarray:
    """The scanner's part: bias field, blur, Rician noise, gamma; uint8 [S, S] from its minimum to its maximum."""
    image = scipy.ndimage.gaussian_filter(np.maximum(image, 0) * field, 0.4)
    parts = noise * rng.standard_normal((2, *image.shape), np.float32)
    image = np.hypot(image + parts[0], parts[1])
    image = (image - image.min()) / (image.max() - image.min())
    return np.round(255 * image**gamma).astype(np.uint8)


def make_patient(
    number: int, slices: int, image_size: int, seed: int
) -> tuple[Head, Tumour, list[tuple[str, np.ndarray, np.ndarray]]]:
    """Patient `number` (from 0): head, tumour, and (plane, image uint8 [S, S], mask bool [S, S]) of each slice.

    Drawn from (seed, number) alone. Classes take turns: patient k has class k % 3.
    """
    rng = np.random.default_rng([seed, number])
    planes = PLANE_SETS[number // len(CLASSES) % len(PLANE_SETS)][:slices]
    head = make_head(rng)
    tumour = MAKERS[CLASSES[number % len(CLASSES)]](head, planes, rng)
    noise, gamma = rng.uniform(0.008, 0.022), rng.uniform(0.85, 1.15)
    drawn = []
    for plane, rows in zip(planes, np.array_split(np.arange(slices), len(planes)), strict=True):
        pose = {
            "side": rng.uniform(2.25, 2.55),
            "shift": rng.normal(0, 0.04, 2).clip(-0.08, 0.08),
            "angles": rng.normal(0, (0.08, 0.04, 0.04)).clip(-0.2, 0.2),
        }
        bias = rng.normal(0, 0.08, 3)
        offsets = np.linspace(-0.5, 0.5, len(rows) + 2)[1:-1] + rng.uniform(-0.06, 0.06, len(rows))
        for row, offset in zip(rows, offsets, strict=True):
            points, pixel = slice_points(head, tumour, plane, offset, image_size, pose)
            image = draw_tumour(draw_head(points, pixel, head), points, pixel, tumour, head)
            distance = tumour_distance(points, tumour, head)
            field = np.exp(np.tensordot(bias, points, 1)).astype(np.float32)
            pixels = finish(image, field, noise, gamma, np.random.default_rng([seed, number, 1 + int(row)]))
            drawn.append((plane, pixels, distance < 0))
    return head, tumour, drawn


def make_phantom(
    patients_per_class: int = 40, slices_per_patient: int = 6, image_size: int = 64, seed: int = 0
) -> Slices:
    """Synthetic patients of the three classes, in equal numbers.

    Args:
      patients_per_class: patients of each class; the k-th patient is the same however many there are.
      slices_per_patient: slices of each patient, shared among his planes.
      image_size: side of the images in pixels.
      seed: another seed, other patients.

    Returns:
      Slices with all fields but `folds`: images uint8 [N, S, S], masks bool [N, S, S], exact and never empty,
      patients "P0001" onwards, whose classes take turns.
    """
    patients, labels, planes, images, masks = [], [], [], [], []
    for number in range(len(CLASSES) * patients_per_class):
        _, _, drawn = make_patient(number, slices_per_patient, image_size, seed)
        for plane, image, mask in drawn:
            patients.append(f"P{number + 1:04d}")
            labels.append(number % len(CLASSES))
            planes.append(plane)
            images.append(image)
            masks.append(mask)
    return Slices(
        images=np.stack(images),
        labels=np.array(labels, np.int32),
        ids=np.array([str(row + 1) for row in range(len(images))]),
        sizes=np.full((len(images), 2), image_size, np.int32),
        patients=np.array(patients),
        masks=np.stack(masks),
        planes=np.array(planes),
    )
