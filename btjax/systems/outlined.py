"""What systems share that look at the tumour's outline: masks, patches in them, what kept features depend on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from btjax.base.errors import InputError
from btjax.base.options import option, to_dict
from btjax.features.kept import digest_of, of_slices
from btjax.features.regions import Region, patches, region_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from btjax.base.progress import ProgressCallback
    from btjax.readers.slices import Slices


AS_GIVEN = "as given, nothing was chosen"
"""How a setting came about that no data chose."""


@dataclasses.dataclass(frozen=True)
class OutlineConfig:
    """Whose outlines are used."""

    outlines: str = option(
        "",
        "folder of a segmenter's run, whose outlines take the place of the masks on all but the training slices; "
        "{protocol} and {fold} in it stand for those of the split. Default: the data set's own masks",
    )


@dataclasses.dataclass(frozen=True)
class OutlinedModel:
    """What fitted models of regions have in common: a dilated outline, and square patches in it."""

    def check(self, image_size: int) -> None:
        """Raises InputError for options that do not fit a slice."""
        options: Any = self
        if options.patch % 2 == 0:
            raise InputError(f"--patch={options.patch}: expected an odd number")
        if options.radius >= image_size:
            raise InputError(f"--radius={options.radius}: expected less than --image_size={image_size}")

    def clone(self, **changes: Any) -> Self:
        """The same with other options."""
        return dataclasses.replace(self, **changes)


class PatchOptions(Protocol):
    """The options of a system that draws patches."""

    @property
    def radius(self) -> int:
        """Of the regions, in pixels."""
        ...

    @property
    def patch(self) -> int:
        """The patches' side in pixels."""
        ...

    @property
    def sampled_patches(self) -> int:
        """How many are drawn."""
        ...


def about_slices(options: Any, slices: Slices, *names: str) -> list[Any]:
    """What kept features depend on: some of a dataclass's options, the slices and their masks."""
    masks_of(slices)
    return [_chosen(options, names), slices.fingerprint, slices.masks_fingerprint]


def about_rows(options: Any, slices: Slices, rows: np.ndarray, *names: str) -> list[Any]:
    """What is learned of some rows depends on: options, the slices, which rows, and their masks but no others."""
    masks = digest_of(np.packbits(masks_of(slices)[rows]))
    return [_chosen(options, names), slices.fingerprint, digest_of(rows), masks]


def _chosen(options: Any, names: Sequence[str]) -> dict[str, Any]:
    settings = to_dict(options)
    return {name: settings[name] for name in names}


def masks_of(slices: Slices) -> np.ndarray:
    """The outlines, bool [N, S, S]; InputError where there are none."""
    if slices.masks is None:
        raise InputError(
            "--data_dir: its slices have no tumour masks, and this system looks at the tumour's outline; expected "
            "masks, or --outlines to name runs of a segmenter"
        )
    return slices.masks


def sampled_patches(
    slices: Slices, rows: np.ndarray, options: PatchOptions, seed: int, progress: ProgressCallback | None = None
) -> np.ndarray:
    """Patches of some slices' regions, drawn at random: as many of each slice's as its share of all pixels.

    Args:
      slices: with masks.
      rows: int [n], the slices.
      options: the regions' radius, the patches' side, and how many are drawn: all there are, where these are fewer.
      seed: of the drawing.
      progress: see `of_every_slice`.

    Returns:
      float32 [n, side * side] in [0, 1].
    """
    regions = list(of_slices(slices, lambda _, mask: region_of(mask, options.radius), progress, rows))
    ends = np.cumsum([len(region) for region in regions])
    drawn = np.random.default_rng(seed)
    places = np.sort(drawn.choice(ends[-1], min(options.sampled_patches, ends[-1]), replace=False))
    owners = np.searchsorted(ends, places, side="right")
    found = []
    for place, (row, region) in enumerate(zip(rows, regions, strict=True)):
        chosen = places[owners == place] - (ends[place] - len(region))
        part = Region(region.rows[chosen], region.columns[chosen], region.depth[chosen])
        found.append(patches(slices.images[row], part, options.patch))
    return np.concatenate(found)


def labels_of(slices: Slices) -> np.ndarray:
    """int32 [N]; ValueError for slices without labels."""
    if slices.labels is None:
        raise ValueError("expected labelled slices")
    return slices.labels
