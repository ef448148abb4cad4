"""Which slices of a database are nearest to a query: Cheng's system of 2016, its stages, and networks' features."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from btjax.base.errors import InputError
from btjax.evaluation.cheng import MEAN_AVERAGE_PRECISION
from btjax.evaluation.retrieval import CUTS, Ranked, RetrievalScores, rank, retrieval_scores
from btjax.runs.report import RankingReport, RunInfo
from btjax.systems.outlined import labels_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from btjax.data.splits import Split
    from btjax.readers.slices import Slices
    from btjax.studies.data import Divided
    from btjax.systems.cheng2016 import RegionRetrieval
    from btjax.systems.config import Config
    from btjax.systems.system import Place

SCHEMA = 1
"""The version of retrieval.json."""

SHOWN = 5
"""So many nearest slices are kept of each query."""

DIMENSIONS = tuple(range(1, 11))
"""The numbers of directions that the learned metric is scored with."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to compare slices.

    Attributes:
      name: of its files.
      title: for people.
      options: of `RegionRetrieval`, less those that are left to the config; none for a network.
      published: the mean average precision that is printed, in percent, or None.
    """

    name: str
    title: str
    options: dict[str, str | int]
    published: float | None = None


VARIANTS = (
    Variant(
        "fisher", "Fisher vectors of parts, learned metric", {"description": "fisher"}, MEAN_AVERAGE_PRECISION
    ),
    Variant("fisher_whole", "Fisher vectors of the whole region, learned metric", {"parts": 1}),
    Variant("fisher_plain", "Fisher vectors of parts, as they are", {"metric": "euclidean"}),
    Variant("words", "words of parts, learned metric", {"description": "bow"}),
    Variant("words_plain", "words of parts, as they are", {"description": "bow", "metric": "euclidean"}),
    Variant(
        "words_whole",
        "words of the whole region, as they are",
        {"description": "bow", "parts": 1, "metric": "euclidean"},
    ),
)  # fmt: skip
"""The paper's system, and the same without one of its stages or with words in the place of Fisher vectors."""


@dataclasses.dataclass(frozen=True, eq=False)
class FoldRanks:
    """The queries of one fold, Q of them.

    Attributes:
      rows: int [Q], row numbers of the data set.
      ranked: of the whole database.
      others: of the database without slices of the query's family.
      nearest: int [Q, 5], row numbers of the nearest slices.
      by_dimension: float [10], mean average precision with 1 to 10 directions; NaN without a learned metric.
    """

    rows: np.ndarray
    ranked: Ranked
    others: Ranked
    nearest: np.ndarray
    by_dimension: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """All as named arrays."""
        found = {"rows": self.rows, "nearest": self.nearest, "by_dimension": self.by_dimension}
        for name, one in (("ranked", self.ranked), ("others", self.others)):
            found |= {f"{name}_{field}": getattr(one, field) for field in _FIELDS}
            found |= {f"{name}_precision{cut}": one.precision[cut] for cut in CUTS}
        return found

    @staticmethod
    def of(arrays: dict[str, np.ndarray]) -> FoldRanks:
        """From `arrays`."""

        def ranked(name: str) -> Ranked:
            fields = {field: arrays[f"{name}_{field}"] for field in _FIELDS}
            return Ranked(precision={cut: arrays[f"{name}_precision{cut}"] for cut in CUTS}, **fields)

        return FoldRanks(arrays["rows"], ranked("ranked"), ranked("others"), arrays["nearest"], arrays["by_dimension"])


_FIELDS = ("average_precision", "labels", "chance", "database")


@dataclasses.dataclass(frozen=True)
class VariantResult:
    """What one way to compare slices reaches.

    Attributes:
      name: of the variant.
      title: its title.
      published: in percent, or None.
      folds: mean average precision of each fold, 0 to 1.
      mean: of the folds, as the paper gives it.
      scores: of all queries together, with intervals by family, else by what stands for it.
      others: the same where no slice of the query's own family is in the database: what is left without that leak.
      by_dimension: mean of the folds with 1 to 10 directions; empty without a learned metric.
    """

    name: str
    title: str
    published: float | None
    folds: tuple[float, ...]
    mean: float
    scores: RetrievalScores
    others: RetrievalScores
    by_dimension: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class RetrievalReport:
    """What retrieval.json holds.

    Attributes:
      schema: `SCHEMA`.
      classes: class names.
      data: form of the data set in words.
      protocol: whose folds divide queries from the database.
      config: the options that all variants share.
      slices: `Slices.fingerprint`.
      compared: the results, one for each way to compare slices.
    """

    schema: int
    classes: tuple[str, ...]
    data: str
    protocol: str
    config: dict
    slices: str
    compared: tuple[VariantResult, ...]


def ranking_report(info: RunInfo, data: Divided, vectors: np.ndarray) -> RankingReport:
    """Ranks the training and validation rows for each test row of a run.

    Args:
      info: of `btjax.studies.classifier.run_info`.
      data: slices and split.
      vectors: float32 [N, D] of every row; near ones are alike.
    """
    ranks = _ranks(vectors, data.slices, data.split, np.full(len(DIMENSIONS), np.nan))
    scored = variant_result(Variant("run", info.title, {}), [ranks], data.slices)
    return RankingReport(
        **{name: getattr(info, name) for name in info.__dataclass_fields__}, test=scored.scores, others=scored.others
    )


def database_of(split: Split) -> np.ndarray:
    """Int [M]: the rows that are ranked, those of training and validation; queries are the test rows."""
    return np.concatenate([split.train, split.validation])


def region_ranks(variant: Variant, config: Config, slices: Slices, split: Split, place: Place) -> FoldRanks:
    """Ranks one fold's queries by the regions' vectors."""
    model: RegionRetrieval = config.model.clone(**variant.options)
    dictionary = model.dictionary(slices, split.train, config.seed, place)
    # Side by side: where the outlines of the test rows are predicted, the vectors of the others are those kept before.
    known, tested = database_of(split), split.test
    first = model.vectors(dictionary, slices, place, known)
    vectors = np.zeros((len(slices), first.shape[1]), np.float32)
    vectors[known], vectors[tested] = first, model.vectors(dictionary, slices, place, tested)
    if model.metric == "euclidean":
        return _ranks(vectors, slices, split, np.full(len(DIMENSIONS), np.nan))
    labels = labels_of(slices)
    widest = model.clone(dimensions=max(model.dimensions, *DIMENSIONS))
    embedded = vectors @ widest.directions(vectors[split.train], labels[split.train])
    means = [_mean(embedded[:, :count], slices, split) for count in DIMENSIONS]
    return _ranks(embedded[:, : model.dimensions], slices, split, np.array(means))


def cosine_ranks(features: np.ndarray, slices: Slices, split: Split) -> FoldRanks:
    """Ranks one fold's queries by the cosine of features float32 [N, ...] of a network."""
    flat = features.reshape(len(features), -1)
    flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    return _ranks(flat, slices, split, np.full(len(DIMENSIONS), np.nan))


def _distances(vectors: np.ndarray, queries: np.ndarray, database: np.ndarray) -> np.ndarray:
    """float64 [Q, M]: squared Euclidean distances of rows of vectors."""
    lengths = np.square(vectors, dtype=np.float64).sum(axis=1)
    products = (vectors[queries] @ vectors[database].T).astype(np.float64)
    return lengths[queries][:, None] + lengths[database][None] - 2 * products


def _mean(vectors: np.ndarray, slices: Slices, split: Split) -> float:
    labels, database = labels_of(slices), database_of(split)
    ranked = rank(_distances(vectors, split.test, database), labels[split.test], labels[database])
    return float(np.nanmean(ranked.average_precision))


def _ranks(vectors: np.ndarray, slices: Slices, split: Split, by_dimension: np.ndarray) -> FoldRanks:
    labels, groups, database = labels_of(slices), groups_of(slices), database_of(split)
    distances = _distances(vectors, split.test, database)
    about = distances, labels[split.test], labels[database]
    nearest = database[np.argsort(distances, axis=1, kind="stable")[:, :SHOWN]]
    others = groups[split.test][:, None] != groups[database][None]
    return FoldRanks(split.test, rank(*about), rank(*about, others), nearest, by_dimension)


def groups_of(slices: Slices) -> np.ndarray:
    """What intervals go by, [N]: families of patient ids, else groups of linked slices, else the slices."""
    if slices.patients is not None and slices.families is not None:
        return slices.families
    return np.arange(len(slices)) if slices.links is None else slices.links


def variant_result(variant: Variant, folds: Sequence[FoldRanks], slices: Slices) -> VariantResult:
    """Scores all folds' queries together.

    Raises:
      InputError: a class whose queries have no slice to find.
    """
    ranked, others = (_joined([getattr(fold, name) for fold in folds]) for name in ("ranked", "others"))
    if not np.isfinite(ranked.average_precision).all():
        raise InputError("--protocol: some queries' class has no slice in the database, expected one at least")
    groups = groups_of(slices)[np.concatenate([fold.rows for fold in folds])]
    means = [float(np.mean(fold.ranked.average_precision)) for fold in folds]
    by_dimension = np.mean([fold.by_dimension for fold in folds], axis=0)
    return VariantResult(
        name=variant.name,
        title=variant.title,
        published=variant.published,
        folds=tuple(means),
        mean=float(np.mean(means)),
        scores=retrieval_scores(ranked, groups, slices.classes),
        others=retrieval_scores(others, groups, slices.classes),
        by_dimension=() if np.isnan(by_dimension).any() else tuple(by_dimension.tolist()),
    )


def _joined(parts: Sequence[Ranked]) -> Ranked:
    fields = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS}
    precision = {cut: np.concatenate([part.precision[cut] for part in parts]) for cut in CUTS}
    return Ranked(precision=precision, **fields)
