"""Cheng et al. 2015: texture of the tumour's surroundings, ring by ring, and a support vector machine."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.features import texture
from btjax.features.histogram_heads import CLASSIFIERS, HistogramHead, fit_histogram_head
from btjax.features.kept import digest_of, kept_array, of_slices, stacked
from btjax.features.regions import FINEST, region_of
from btjax.readers.slices import families_of
from btjax.systems.outlined import (
    AS_GIVEN,
    OutlineConfig,
    OutlinedModel,
    about_rows,
    about_slices,
    labels_of,
    masks_of,
    sampled_patches,
)
from btjax.systems.system import Kept, System

if TYPE_CHECKING:
    from collections.abc import Callable

    from btjax.data.splits import Split
    from btjax.readers.slices import Slices
    from btjax.systems.system import Place

TEXTURES = ("histogram", "glcm", "bow")
"""What is counted: grey levels, pairs of grey levels, or words of a vocabulary of patches."""


@dataclasses.dataclass(frozen=True)
class RegionClassifier(OutlinedModel):
    """Classifies a slice by the texture of its tumour's region; it needs the tumour's outline to do so.

    The slices' masks are the outlines. Sizes are in pixels of the prepared slice: the paper's are of 512 px.

    Example:
      >>> RegionClassifier(texture="glcm", level=3, pyramid=True).levels
      (0, 1, 2, 3)
    """

    texture: str = option(
        "bow",
        "what is counted: histogram (grey levels), glcm (pairs of grey levels), or bow (words of a patch vocabulary)",
        choices=TEXTURES,
    )
    radius: int = option(8, "pixels by which the outline is dilated", minimum=0, maximum=512)
    level: int = option(1, "level of the rings: 2**level of equal width", minimum=0, maximum=FINEST)
    pyramid: bool = option(False, "concatenate the rings of all levels up to this one")
    grey_levels: int = option(20, "equal intervals of grey levels, for histogram and glcm", minimum=2, maximum=255)
    distance: int = option(4, "pixels between the two of a pair, for glcm", minimum=1)
    patch: int = option(5, "side in pixels of the patches, odd, for bow", minimum=1, maximum=31)
    words: int = option(300, "words of the vocabulary, for bow", minimum=2, maximum=65535)
    sampled_patches: int = option(100_000, "patches of training slices that the vocabulary is learned from", minimum=2)
    classifier: str = option(
        "svm",
        "what classifies: svm (intersection kernel), knn (nearest neighbours), or src (sparse representation)",
        choices=CLASSIFIERS,
    )
    neighbours: int = option(7, "of knn", minimum=1)

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels whose rings are concatenated."""
        return tuple(range(self.level + 1)) if self.pyramid else (self.level,)

    def fit(self, slices: Slices, split: Split, seed: int, place: Place) -> Kept:
        """Learns the vocabulary and the classifier from the training rows.

        Raises:
          InputError: slices without masks, or fewer patches than words.
        """
        masks_of(slices)
        if self.classifier == "knn" and self.neighbours > len(split.train):
            found = f"there are {len(split.train)} training slices, expected at most so many"
            raise InputError(f"--neighbours={self.neighbours}: {found}")
        words = self.vocabulary(slices, split.train, seed, place) if self.texture == "bow" else None
        shares = self.shares(slices, words, place)[split.train]
        groups = slices.ids if slices.patients is None else families_of(slices.patients)
        head = fit_histogram_head(
            self.classifier,
            shares,
            labels_of(slices)[split.train],
            groups[split.train],
            seed=seed,
            neighbours=self.neighbours,
        )
        content = {name: getattr(head, name) for name in ("train", "labels", "estimator")}
        chosen = "cross-validation within the training rows" if self.classifier == "svm" else AS_GIVEN
        return Kept(content | {"words": words}, self.classifier, head.setting, chosen)

    def outputs(self, kept: Kept, slices: Slices, place: Place) -> np.ndarray:
        """Logits float32 [N, classes] of slices with masks."""
        masks_of(slices)
        content = dict(kept.content)
        shares = self.shares(slices, content.pop("words", None), place)
        return HistogramHead(self.classifier, kept.setting, **content).logits(shares)

    def vocabulary(self, slices: Slices, train: np.ndarray, seed: int, place: Place) -> np.ndarray:
        """float32 [words, patch**2], learned from patches of the training rows' regions.

        Raises:
          InputError: fewer different patches than words.
        """
        about = [*about_rows(self, slices, train, "radius", "patch", "words", "sampled_patches"), seed]

        def learn() -> np.ndarray:
            sample = sampled_patches(slices, train, self, seed, place.progress)
            return texture.learned_words(sample, self.words, seed)

        return kept_array(place.cache / "regions", "words", about, learn)

    def shares(self, slices: Slices, words: np.ndarray | None, place: Place) -> np.ndarray:
        """float32 [N, D] in [0, 1]: of every slice, level and ring, the shares of what is counted."""
        if self.texture == "glcm":
            pairs = self._counted(slices, None, place)
            return np.concatenate([texture.ring_pairs(pairs, level) for level in self.levels], axis=1)
        counts = self._counted(slices, words, place)
        return np.concatenate([texture.ring_shares(counts, level) for level in self.levels], axis=1)

    def _counted(self, slices: Slices, words: np.ndarray | None, place: Place) -> np.ndarray:
        """The counts of every slice; of all levels, so that one kept copy serves every level."""
        measures: dict[str, tuple[Callable[..., np.ndarray], dict[str, Any]]] = {
            "histogram": (texture.level_counts, {"levels": self.grey_levels}),
            "glcm": (texture.pair_counts, {"levels": self.grey_levels, "distance": self.distance}),
            "bow": (texture.word_counts, {"words": words}),
        }
        measure, settings = measures[self.texture]
        about = about_slices(self, slices, "texture", "radius")
        about += [settings if words is None else digest_of(words)]

        def count() -> np.ndarray:
            def one(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
                return measure(image, region_of(mask, self.radius), **settings)

            return stacked(len(slices), of_slices(slices, one, place.progress))

        return kept_array(place.cache / "regions", self.texture, about, count)


SYSTEM = System(
    name="cheng2015",
    title="Texture of the tumour's region, outline given",
    reference=(
        "Cheng et al., Enhanced Performance of Brain Tumor Classification via Tumor Region Augmentation and Partition, "
        "PLOS ONE 2015, doi 10.1371/journal.pone.0140381"
    ),
    model=RegionClassifier,
    extra=OutlineConfig,
    claims="91.28 percent, the mean of the authors' five folds, with true outlines of every slice",
)
"""Given the outline of the tumour, also of the slices that are tested."""
