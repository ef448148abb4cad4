"""The synthetic head without a tumour: its anatomy in three dimensions, and how it looks on contrast-enhanced T1.

A head is a set of ellipsoids and smooth noise. Coordinates: x from side to side, y from front to back, z downwards, in
units of about 9.5 cm, half the length of a head. Arrays of points are float32 [3, ...]; distances are signed, negative
inside.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SELLA = np.array([0.0, -0.19, 0.17], np.float32)
"""Where the pituitary gland sits."""

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
    "occiput": (0.16, 0.40, 0.25, 0.53, 0.50, 0.43),
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
# Everything bright that is not a tumour: venous sinuses, arteries, choroid plexus, the normal gland.
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
    """One patient's anatomy and tissues: the tables above with random changes.

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


def smooth_noise(lattice: np.ndarray, points: np.ndarray, frequency: float, offset: float = 0.0) -> np.ndarray:
    """Smooth random values, float32 [...], of mean 0 and deviation about 1 at `points` float32 [3, ...].

    A quadratic B-spline through the periodic `lattice`, `frequency` nodes per unit of length.
    """
    import scipy.ndimage

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
    # The skull base rises towards the forehead: it cuts the cerebrum, not the temporal lobes or the parts behind them.
    floor = points[2] - (0.10 + 0.22 * points[1])
    return np.minimum(np.maximum(parts[0], floor), parts[1:].min(0))


def falx_extent(points: np.ndarray, head: Head) -> np.ndarray:
    """Signed distance, float32 [...], to the part of the head where the falx hangs.

    That is the brain above and around the deep structures and in front of and above the cerebellum.
    """
    deep = ellipsoid_distance(points, np.array([[0, 0.05, -0.05, 0.7, 0.5, 0.30]], np.float32))[0]
    return np.maximum(np.maximum(brain_distance(points, head), -deep), points[2] - 0.05)


def _jittered(table: Iterable[tuple[float, ...]], rng: np.random.Generator, move: float, resize: float) -> np.ndarray:
    """A table of ellipsoids, float32 [K, 6], with centres moved and radii changed a little; midline stays midline."""
    ellipsoids = np.array(list(table), np.float32)
    moves = rng.normal(0, move, (len(ellipsoids), 3))
    moves[ellipsoids[:, 0] == 0, 0] = 0
    ellipsoids[:, :3] += moves
    ellipsoids[:, 3:] *= np.exp(rng.normal(0, resize, (len(ellipsoids), 3)))
    return ellipsoids


def make_head(rng: np.random.Generator) -> Head:
    """A patient's head, drawn independently of its tumour."""
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
    places, sizes = rng.uniform((0.1, -0.6, -0.5), (0.5, 0.6, 0.2), (3, 3)), rng.uniform(0.02, 0.07, (3, 3))
    spots = np.concatenate([places, sizes], 1)
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


def draw_membranes(
    paint: Callable[[np.ndarray, float], None], points: np.ndarray, brain: np.ndarray, head: Head
) -> None:
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
