"""Cheng et al. 2016: similar tumours are retrieved by Fisher vectors of patches and a learned metric."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from btjax.base.options import option
from btjax.features.fisher import Mixture, fisher_vector, fit_mixture
from btjax.features.kept import digest_of, kept_array, of_slices, stacked
from btjax.features.metric import closed_form_metric
from btjax.features.regions import brightness_parts, patches, region_of
from btjax.features.texture import learned_words, nearest_words
from btjax.systems.outlined import (
    AS_GIVEN,
    OutlineConfig,
    OutlinedModel,
    about_rows,
    labels_of,
    masks_of,
    sampled_patches,
)
from btjax.systems.system import Kept, System

if TYPE_CHECKING:
    from btjax.data.splits import Split
    from btjax.readers.slices import Slices
    from btjax.systems.system import Place

METRICS = ("cfml", "euclidean")
"""Closed-form metric learning, or the vectors as they are."""


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """The task of a system that ranks a database of slices by their likeness to a query."""

    model: Any
    preprocessing: Any = None
    augmentation: Any = None

    name: ClassVar[str] = "retrieval"
    trains: ClassVar[str] = "a system that ranks slices"
    outlines: ClassVar[bool] = False
    needs_masks: ClassVar[bool] = False


@dataclasses.dataclass(frozen=True)
class RegionRetrieval(OutlinedModel):
    """Describes a slice by the patches of its tumour's region; it needs the tumour's outline to do so.

    The slices' masks are the outlines. Sizes are in pixels of the prepared slice: the paper's are of 512 px.
    """

    description: str = option(
        "fisher", "how patches are summed up: fisher (Fisher vectors), or bow (words of a vocabulary)",
        choices=("fisher", "bow"),
    )  # fmt: skip
    radius: int = option(24, "pixels by which the outline is dilated", minimum=0, maximum=512)
    parts: int = option(8, "parts of the region, by quantiles of its grey levels; 1 for the whole", minimum=1)
    patch: int = option(9, "side in pixels of the patches, odd", minimum=1, maximum=31)
    sampled_patches: int = option(300_000, "patches of training slices that the mixture is fitted to", minimum=2)
    explained: float = option(0.99, "share of the patches' variance that is kept", minimum=0.01, maximum=0.9999)
    gaussians: int = option(128, "Gaussians of the mixture, or words of the vocabulary", minimum=2, maximum=4096)
    metric: str = option(
        "cfml",
        "what vectors are compared by: cfml (closed-form metric learning), or euclidean (the vectors as they are)",
        choices=METRICS,
    )
    regularisation: float = option(1.5e-4, "added to the scatter within classes, for cfml", minimum=0)
    dimensions: int = option(2, "directions that are kept, for cfml", minimum=1, maximum=100)

    def fit(self, slices: Slices, split: Split, seed: int, place: Place) -> Kept:
        """Fits the mixture (or vocabulary) and the metric on the training rows.

        Raises:
          InputError: slices without masks, or fewer patches than Gaussians.
        """
        content = self.dictionary(slices, split.train, seed, place)
        directions = None
        if self.metric == "cfml":
            vectors = self.vectors(content, slices, place, split.train)
            directions = self.directions(vectors, labels_of(slices)[split.train])
        return Kept(content | {"directions": directions}, self.metric, self.dimensions, AS_GIVEN)

    def outputs(self, kept: Kept, slices: Slices, place: Place) -> np.ndarray:
        """What slices are compared by, float32 [N, dimensions] (or whole vectors): near ones are alike."""
        content = dict(kept.content)
        directions = content.pop("directions", None)
        vectors = self.vectors(content, slices, place)
        return vectors if directions is None else vectors @ directions

    def directions(self, vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """float32 [D, dimensions] of the training rows' vectors; see `closed_form_metric`."""
        return closed_form_metric(vectors, labels, self.regularisation, self.dimensions)

    def dictionary(self, slices: Slices, train: np.ndarray, seed: int, place: Place) -> dict[str, np.ndarray]:
        """The arrays of a `Mixture`, or {"words": float32 [gaussians, patch**2]}; of the training rows' patches."""
        names = ("description", "radius", "patch", "sampled_patches", "explained", "gaussians")
        about = [*about_rows(self, slices, train, *names), seed]

        def sample() -> np.ndarray:
            return sampled_patches(slices, train, self, seed, place.progress)

        if self.description == "bow":
            folder = place.cache / "regions"
            return {"words": kept_array(folder, "words", about, lambda: learned_words(sample(), self.gaussians, seed))}
        flat = kept_array(
            place.cache / "regions",
            "mixture",
            about,
            lambda: _flat(fit_mixture(sample(), self.gaussians, self.explained, seed)),
        )
        return dataclasses.asdict(_mixture(flat, self.patch**2, self.gaussians))

    def vectors(
        self, dictionary: dict[str, np.ndarray], slices: Slices, place: Place, rows: np.ndarray | None = None
    ) -> np.ndarray:
        """float32 [n, D]: the parts of every slice, or of those in `rows`, one after the other, each of length 1."""
        chosen = np.arange(len(slices)) if rows is None else rows
        digests = [digest_of(array) for array in dictionary.values()]
        about = [*about_rows(self, slices, chosen, "radius", "patch", "parts"), *digests]
        describe = self._words if self.description == "bow" else self._fisher

        def compute() -> np.ndarray:
            def one(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
                region = region_of(mask, self.radius)
                found = patches(image, region, self.patch)
                return describe(dictionary, found, brightness_parts(image, region, self.parts))

            return stacked(len(chosen), of_slices(slices, one, place.progress, chosen))

        masks_of(slices)
        return kept_array(place.cache / "regions", f"{self.description}_vectors", about, compute)

    def _fisher(self, dictionary: dict[str, np.ndarray], found: np.ndarray, parts: np.ndarray) -> np.ndarray:
        return fisher_vector(Mixture(**dictionary), found, parts, self.parts)

    def _words(self, dictionary: dict[str, np.ndarray], found: np.ndarray, parts: np.ndarray) -> np.ndarray:
        words = dictionary["words"]
        places = parts.astype(np.int64) * len(words) + nearest_words(found, words)
        counts = np.bincount(places, minlength=self.parts * len(words)).reshape(self.parts, -1).astype(np.float32)
        return (counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-12)).ravel()


def _flat(mixture: Mixture) -> np.ndarray:
    """A mixture's arrays as one, for keeping."""
    return np.concatenate([np.ravel(array) for array in dataclasses.astuple(mixture)])


def _mixture(flat: np.ndarray, size: int, gaussians: int) -> Mixture:
    """A mixture from `_flat`, of patches of `size` pixels."""
    axes = (len(flat) - size - gaussians) // (size + 2 * gaussians)
    shapes = ((size,), (size, axes), (gaussians,), (gaussians, axes), (gaussians, axes))
    ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1].astype(int)
    return Mixture(*(part.reshape(shape) for part, shape in zip(np.split(flat, ends), shapes, strict=True)))


SYSTEM = System(
    name="cheng2016",
    title="Retrieval by the tumour's region, outline given",
    reference=(
        "Cheng et al., Retrieval of Brain Tumors by Adaptive Spatial Pooling and Fisher Vector Representation, PLOS "
        "ONE 2016, doi 10.1371/journal.pone.0157112"
    ),
    model=RegionRetrieval,
    extra=OutlineConfig,
    task=Retrieval,
    claims="a mean average precision of 94.68 percent, the mean of the authors' five folds, with true outlines",
)
"""Given the outline of the tumour, also of the queries."""
