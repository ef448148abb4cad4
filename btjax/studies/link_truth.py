"""Truth for links: copies of slices made by known changes, neighbours by patient ids, and scores against both."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from btjax.links.views import head_box, rough_head, small
from btjax.readers.pictures import open_picture
from btjax.readers.raw import resize_image, scale_to_uint8

if TYPE_CHECKING:
    from btjax.readers.slices import Slices

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""An image, uint8 [H, W], and chance -> the changed image, uint8 of any size."""


def _cropped(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    top, bottom, left, right = (rng.uniform(0, 0.12, 4) * len(image)).astype(int)
    return image[top : len(image) - bottom, left : len(image) - right]


def _cut_to_head(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    box = head_box(rough_head(small(image))) + rng.uniform(-0.02, 0.02, 4)
    top, bottom, left, right = (box.clip(0, 1) * len(image)).round().astype(int)
    return image[top:bottom, left:right]


def _rescaled(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    side = int(len(image) * rng.uniform(0.5, 0.9))
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))


def _stretched(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    width = int(len(image) * rng.uniform(0.8, 0.95))
    return np.asarray(Image.fromarray(image).resize((width, len(image)), Image.Resampling.BILINEAR))


def _flipped(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image[:, ::-1] if rng.random() < 0.8 else image[::-1]


def _recoloured(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    levels = (image / 255) ** rng.uniform(0.65, 1.5) * rng.uniform(0.8, 1.25) + rng.uniform(-0.05, 0.05)
    return np.rint(levels.clip(0, 1) * 255).astype(np.uint8)


def _jpeg(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=int(rng.integers(30, 91)))
    return np.asarray(open_picture(file))


def _all(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
    return _jpeg(_recoloured(_rescaled_any(_cropped(image, rng), rng), rng), rng)


def _rescaled_any(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = (np.array(image.shape) * rng.uniform(0.5, 1)).astype(int)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


CHANGES: dict[str, Change] = {
    "crop": _cropped,
    "crop to the head": _cut_to_head,
    "rescale": _rescaled,
    "stretch": _stretched,
    "flip": _flipped,
    "intensity": _recoloured,
    "JPEG": _jpeg,
    "crop, rescale, flip, intensity, JPEG": _all,
}
"""Changes that copies of a slice go through: each edge cropped by up to 12% of the side; cropped to the head give or
take 2%; rescaled to 50-90% of the size; narrowed to 80-95%; flipped (one in five top to bottom); gamma 0.65-1.5 with
gain 0.8-1.25 and offset up to 5%; JPEG quality 30-90; and the five that the last name lists, the size 50-100%."""


def changed_copies(slices: Slices, seed: int = 0) -> tuple[Slices, np.ndarray]:
    """A copy of every slice, changed by `CHANGES` in turn, drawn from the seed; as a reader would load it.

    Returns:
      The copies, with ids of their own, and the name of each one's change, str [N].
    """
    names = np.array(list(CHANGES))[np.arange(len(slices)) % len(CHANGES)]
    images, size = [], slices.images.shape[1]
    for row, (image, name) in enumerate(zip(slices.images, names, strict=True)):
        rng = np.random.default_rng([seed, row])
        changed = np.ascontiguousarray(CHANGES[str(name)](image, rng))
        images.append(resize_image(scale_to_uint8(changed), size))
    ids = np.array([f"copy of {name}" for name in slices.ids])
    return dataclasses.replace(slices, images=np.stack(images), ids=ids), names


def both(first: Slices, second: Slices) -> Slices:
    """Two sets with the same fields as one."""
    arrays: dict[str, Any] = {
        name: np.concatenate([values, getattr(second, name)]) for name, values in first.fields().items()
    }
    return dataclasses.replace(first, **arrays)


def halves(families: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the half of the families on which rules are chosen, and of the half on which they are measured."""
    names = np.unique(families)
    chosen = names[np.random.default_rng(seed).permutation(len(names))[: len(names) // 2]]
    side = np.isin(families, chosen)
    return np.flatnonzero(side), np.flatnonzero(~side)


def consecutive(slices: Slices) -> np.ndarray:
    """True neighbours, int32 [P, 2]: slices with consecutive numbers as ids, of one patient and plane.

    Raises:
      ValueError: ids that are not numbers, or unknown patients.
    """
    if slices.patients is None or not all(name.isdecimal() for name in slices.ids):
        raise ValueError("neighbours are known where ids are numbers and patients are known")
    numbers = slices.ids.astype(np.int64)
    rows = np.argsort(numbers)
    one, other = rows[:-1], rows[1:]
    kept = (numbers[other] - numbers[one] == 1) & (slices.patients[one] == slices.patients[other])
    if slices.planes is not None:
        kept &= slices.planes[one] == slices.planes[other]
    return np.sort(np.stack([one[kept], other[kept]], axis=1), axis=1).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class GroupScores:
    """How groups agree with families.

    Attributes:
      groups: number of groups, those of one slice among them.
      largest: slices of the largest group.
      largest_families: families in the group that mixes most.
      mixed: groups with slices of more than one family.
      mixed_slices: slices in such groups.
      families: number of families.
      undivided: families in one group; None-plane families of several planes are rarely so.
      groups_per_family: mean number of groups that hold a family's slices.
      pair_precision: of pairs of slices in one group, those of one family.
      pair_recall: of pairs of slices of one family, those in one group.
      plane_recall: of pairs of slices of one family and plane, those in one group; None where planes are unknown.
      homogeneity: 1 where every group is of one family.
      completeness: 1 where every family is in one group.
    """

    groups: int
    largest: int
    largest_families: int
    mixed: int
    mixed_slices: int
    families: int
    undivided: int
    groups_per_family: float
    pair_precision: float | None
    pair_recall: float | None
    plane_recall: float | None
    homogeneity: float
    completeness: float


def group_scores(groups: np.ndarray, families: np.ndarray, planes: np.ndarray | None = None) -> GroupScores:
    """Compares groups, int [N], with families, str [N]."""
    from sklearn.metrics import homogeneity_completeness_v_measure

    family = np.unique(families, return_inverse=True)[1].ravel()
    joint = np.unique(np.stack([groups, family], axis=1), axis=0)
    per_group = np.bincount(joint[:, 0])
    per_family = np.bincount(joint[:, 1])
    sizes = np.bincount(groups)
    mixed = np.flatnonzero(per_group > 1)
    agree = _pairs_within(np.stack([groups, family], axis=1))
    plane_recall = None
    if planes is not None:
        plane = np.unique(planes, return_inverse=True)[1].ravel()
        of_plane = _pairs_within(np.stack([family, plane], axis=1))
        plane_recall = _share(_pairs_within(np.stack([groups, family, plane], axis=1)), of_plane)
    homogeneity, completeness, _ = homogeneity_completeness_v_measure(family, groups)
    return GroupScores(
        groups=int((sizes > 0).sum()),
        largest=int(sizes.max()),
        largest_families=int(per_group.max()),
        mixed=len(mixed),
        mixed_slices=int(sizes[mixed].sum()),
        families=len(per_family),
        undivided=int((per_family == 1).sum()),
        groups_per_family=float(per_family.mean()),
        pair_precision=_share(agree, _pairs_within(groups[:, None])),
        pair_recall=_share(agree, _pairs_within(family[:, None])),
        plane_recall=plane_recall,
        homogeneity=float(homogeneity),
        completeness=float(completeness),
    )


def _pairs_within(keys: np.ndarray) -> int:
    """How many pairs of rows are equal."""
    counts = np.unique(keys, axis=0, return_counts=True)[1].astype(np.int64)
    return int((counts * (counts - 1) // 2).sum())


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
