"""The retrieval command: Cheng's system of 2016, its stages, and networks' features, on every fold of a protocol."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from btjax.base.devices import require_devices
from btjax.base.errors import InputError, foreign
from btjax.base.files import cache_folder, expanded, make_folder, write_json, write_whole
from btjax.base.folders import claimed
from btjax.base.progress import Observer, told
from btjax.commands.regions import asked
from btjax.features.deep import FrozenPart, compute_features
from btjax.figures.retrieval import query_rows
from btjax.reports.numbers import percent
from btjax.reports.retrieval import retrieval_page
from btjax.runs.folder import RunFolder
from btjax.runs.run import Run
from btjax.studies.data import load_slices, split_of
from btjax.studies.outlines import masks_key, with_outlines
from btjax.studies.retrieval import (
    SCHEMA,
    VARIANTS,
    FoldRanks,
    RetrievalReport,
    Variant,
    cosine_ranks,
    region_ranks,
    variant_result,
)
from btjax.systems.system import Place

if TYPE_CHECKING:
    import os
    import pathlib
    from collections.abc import Callable, Sequence

    from matplotlib.figure import Figure

    from btjax.data.splits import Split
    from btjax.readers.slices import Slices
    from btjax.systems.config import Config

RETRIEVAL = "retrieval.json"
VARIANT_NAMES = tuple(variant.name for variant in VARIANTS)


def run_retrieval(
    config: Config,
    folder: str | os.PathLike,
    *,
    variants: Sequence[str] = VARIANT_NAMES,
    networks: Sequence[str] = (),
    observer: Observer | None = None,
    cache_dir: str | None = None,
) -> RetrievalReport:
    """Ranks every fold's database for its test slices, and writes retrieval.json and retrieval.html.

    Args:
      config: of the system `cheng2016`; what a variant does not set is the config's, its fold does not count.
      folder: takes the results; the same call goes on with what is there.
      variants: names of `btjax.studies.retrieval.VARIANTS`.
      networks: folders of runs whose features are compared by their cosine, each with {fold} where a fold has a run of
        its own, and with @STAGE at its end for another stage than the one below the logits.
      observer: is told of the work.
      cache_dir: where slices and features are kept.

    Raises:
      InputError: a mistake in the options, slices without masks, a folder of other options, or runs that were trained
        on the queries.
    """
    require_devices()
    if config.system != "cheng2016":
        raise InputError(f"--system={config.system}: expected cheng2016")
    unknown = [name for name in variants if name not in VARIANT_NAMES]
    if unknown or not (variants or networks):
        raise InputError(f"--variants={','.join(variants)}: expected some of {', '.join(VARIANT_NAMES)}")
    place = expanded(folder)
    own = ("folds", RETRIEVAL, "retrieval.html") if (place / "folds").is_dir() else ()
    with told(observer) as watching, claimed(place, "retrieval", asked(config), own=own, observer=watching):
        loaded = load_slices(config, watching, cache_dir)
        slices, config = loaded.slices, config.with_classes(loaded.slices.classes)
        make_folder(place / "folds", "--workdir=")
        work = _Work(config, slices, place / "folds", Place(cache_folder(cache_dir), watching.on_data), watching)
        found = [(one, work.region(one)) for one in VARIANTS if one.name in variants or work.done(one.name)]
        found += [work.network(text) for text in networks]
        results = tuple(variant_result(variant, folds, slices) for variant, folds in found)
        report = RetrievalReport(
            SCHEMA, slices.classes, loaded.form, config.data.protocol, config.to_json(), slices.fingerprint, results
        )
        write_json(place / RETRIEVAL, msgspec.to_builtins(report, str_keys=True))
        RunFolder(place).write_text("retrieval.html", retrieval_page(report, _figures(found[0][1], slices)))
    return report


class _Work:
    """What all variants share."""

    def __init__(self, config: Config, slices: Slices, folder: pathlib.Path, place: Place, observer: Observer) -> None:
        self.config, self.slices, self.folder = config, slices, folder
        self.place, self.observer = place, observer

    def splits(self) -> list[tuple[Config, Split]]:
        """Each fold's config and split."""
        configs = [self.config.replace("data.fold", fold) for fold in range(self.config.data.folds)]
        return [(config, split_of(self.slices, config)) for config in configs]

    def done(self, name: str) -> bool:
        """Whether every fold of a variant was ranked before."""
        return all((self.folder / f"{name}_{fold}.npz").exists() for fold in range(self.config.data.folds))

    def region(self, variant: Variant) -> list[FoldRanks]:
        """Every fold's ranks by regions' vectors."""

        def measure(config: Config, split: Split) -> FoldRanks:
            return region_ranks(variant, config, with_outlines(config, self.slices, split), split, self.place)

        return self._folds(variant.name, {"options": variant.options}, measure)

    def network(self, text: str) -> tuple[Variant, list[FoldRanks]]:
        """Every fold's ranks by the features of a network."""
        path, _, stage = text.partition("@")

        def measure(config: Config, split: Split) -> FoldRanks:
            run = Run(path.replace("{fold}", str(config.data.fold)))
            return cosine_ranks(self._features(run, stage or None, split), self.slices, split)

        first = Run(path.replace("{fold}", "0"))
        name = f"{first.config.system}_{stage or 'features'}"
        title = f"features of {first.config.system} ({stage or 'below the logits'}), cosine"
        return Variant(name, title, {}), self._folds(name, {"run": text}, measure)

    def _features(self, run: Run, stage: str | None, split: Split) -> np.ndarray:
        """float32 [N, ...] of every slice, at the run's own size and preprocessing."""
        predictions = run.predictions
        if not np.array_equal(predictions.ids, self.slices.ids):
            raise InputError(f"--networks: {run.folder} is a run on other slices, expected those of --data_dir")
        trained = np.isin(split.test, np.flatnonzero(predictions.sides == "train"))
        if trained.any():
            raise InputError(
                f"--networks: {run.folder} was trained on {trained.sum()} of the {len(split.test)} queries; expected a "
                "run of the same fold, with {fold} in its path"
            )
        own = run.config.replace("data.data_dir", self.config.data.data_dir).replace("data.protocol", "slice")
        images = load_slices(own, None, self.place.cache).slices.images
        run.require_classifier()
        layer: str = run.model.layers[-2] if stage is None else stage
        if layer not in run.model.layers:
            raise InputError(f"--networks: {layer!r} is no stage of {run.folder}: {', '.join(run.model.layers)}")
        part = FrozenPart(run.model, run.variables, layer)  # what several folds share is computed once
        folder = self.place.cache / "features"
        return compute_features(part, run.config.preprocessing, images, folder, progress=self.place.progress)

    def _folds(
        self, name: str, about: dict[str, Any], measure: Callable[[Config, Split], FoldRanks]
    ) -> list[FoldRanks]:
        """The ranks of every fold, measured or read."""
        found = []
        for config, split in self.splits():
            path = self.folder / f"{name}_{config.data.fold}.npz"
            key = json.dumps(
                [config.to_json(), about, self.slices.fingerprint, split.fingerprint, masks_key(config, self.slices)],
                sort_keys=True,
            )
            ranks = _read(path, key) if path.exists() else None
            if ranks is None:
                ranks = measure(config, split)
                _write(path, key, ranks)
            mean = np.mean(ranks.ranked.average_precision)
            self.observer.on_message(f"{name}, fold {config.data.fold}: mean average precision {mean:.4f}")
            found.append(ranks)
        return found


def _write(path: pathlib.Path, key: str, ranks: FoldRanks) -> None:
    def write(beside: pathlib.Path) -> None:
        with open(beside, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, key=np.array(key), **ranks.arrays())

    write_whole(path, write)


def _read(path: pathlib.Path, key: str) -> FoldRanks:
    with foreign(f"{path}: damaged, or not written by btjax"), np.load(path, allow_pickle=False) as held:
        if str(held["key"]) != key:
            raise InputError(f"{path}: of other options or slices; go on with its own, or name another folder")
        return FoldRanks.of(dict(held))


def _figures(folds: Sequence[FoldRanks], slices: Slices) -> list[tuple[str, Figure]]:
    """Of each class the best and the worst ranked query, and one in the middle."""
    rows = np.concatenate([fold.rows for fold in folds])
    nearest = np.concatenate([fold.nearest for fold in folds])
    precision = np.concatenate([fold.ranked.average_precision for fold in folds])
    labels = np.concatenate([fold.ranked.labels for fold in folds])
    figures = []
    for label, name in enumerate(slices.classes):
        order = np.flatnonzero(labels == label)
        if not len(order):
            continue
        order = order[np.argsort(-precision[order], kind="stable")]
        chosen = order[sorted({0, len(order) // 2, len(order) - 1})]
        notes = [f"average precision {percent(float(precision[place]))}" for place in chosen]
        figure = query_rows(slices, rows[chosen], nearest[chosen], notes)
        caption = f"Queries of {name}: the best, the median and the worst ranked, and their five nearest slices. Green"
        figures.append((f"{caption} frames are of the same class, dashed red ones of another.", figure))
    return figures
