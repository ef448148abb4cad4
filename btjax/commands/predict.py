"""Predicts other people's images with trained runs: btjax.predict, and a folder with a page."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from btjax.base.digests import content_digest
from btjax.base.errors import InputError
from btjax.base.files import expanded, write_whole
from btjax.base.folders import held
from btjax.base.progress import Observer, told
from btjax.prediction.answers import Answer, Ensemble
from btjax.prediction.files import Journal, write_csv, write_json_rows
from btjax.prediction.gallery import Counts, gallery_page, make_cards, most_doubtful
from btjax.prediction.inputs import Listing, ReadOptions, list_arrays, list_items
from btjax.prediction.stream import BATCH, answers
from btjax.readers.dicom import WINDOWS
from btjax.readers.orientation import PLANES
from btjax.runs.run import Run, restore
from btjax.runs.seen import mark_of
from btjax.saliency.methods import find_methods
from btjax.studies.typical import typical_of

PAGE = "predictions.html"

Runs = Run | str | os.PathLike | Sequence[Run | str | os.PathLike]
"""One run or several, each itself or its folder."""

Images = str | os.PathLike | np.ndarray | Sequence[Any]
"""A path, several, or arrays [H, W]; an array of three dimensions is many slices."""


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """How images are read and predicted.

    Attributes:
      plane: along which NIfTI volumes are cut; "" for the first run's.
      window: what is taken of DICOM pixels, stored or file; "" for the first run's.
      slices: the first and the last slice of each volume or series, counted from 1; None for all.
      abstain: whether slices unlike those of the training get no answer.
      own_dir: where the run's own data set stands now, which tells once what is like it; by default where it was.
      batch_size: slices at a time.
      cache_dir: see `btjax.base.files.cache_folder`.

    Raises:
      InputError: an unknown plane or window, or slices that are no range from 1.
    """

    plane: str = ""
    window: str = ""
    slices: tuple[int, int] | None = None
    abstain: bool = True
    own_dir: str | None = None
    batch_size: int = BATCH
    cache_dir: str | os.PathLike | None = None

    def __post_init__(self):
        if self.plane and self.plane not in PLANES:
            raise InputError(f"plane: found {self.plane!r}, expected one of {', '.join(PLANES)}")
        if self.window and self.window not in WINDOWS:
            raise InputError(f"window: found {self.window!r}, expected one of {', '.join(WINDOWS)}")
        if self.slices is not None and not 1 <= self.slices[0] <= self.slices[1]:
            raise InputError(f"slices: found {self.slices[0]}:{self.slices[1]}, expected two numbers from 1, ascending")
        if self.batch_size < 1:
            raise InputError(f"batch_size: found {self.batch_size}, expected at least 1")


@dataclasses.dataclass(frozen=True)
class Predicted:
    """What a prediction into a folder came to.

    Attributes:
      folder: with predictions.csv, predictions.json, predictions.html and overlays/.
      counts: of its slices.
    """

    folder: pathlib.Path
    counts: Counts


def predict(
    runs: Runs, images: Images, options: PredictOptions | None = None, *, observer: Observer | None = None
) -> list[Answer]:
    """Says what runs make of other people's images.

    Several runs of the same classes are an ensemble. What reading, orientation and scaling do is what was done to the
    run's own slices. For very many images see `predict_into`, which keeps none of them in memory.

    Args:
      runs: a finished classifier's run or its folder, or several.
      images: a path (image, folder, pattern, DICOM file or series, NIfTI volume, .mat, any form of data), several
        paths, or arrays [H, W] of any numbers, upright, dark is low.
      options: how they are read and predicted.
      observer: is told how far it is.

    Returns:
      An answer for each slice, in order; a file that cannot be read has one with the reason.

    Raises:
      InputError: no run, runs of different classes, no such path, or nothing to read there.

    Example:
      >>> import btjax, tempfile
      >>> config = btjax.preset("cnn_demo").replace("training.epochs", 1).replace("data.phantom_patients", 8)
      >>> run = btjax.train(config.replace("data.image_size", 32), tempfile.mkdtemp() + "/run")
      >>> slices = btjax.make_phantom(1, 1, 32).images
      >>> [len(answer.probabilities) for answer in btjax.predict(run, slices)]
      [3, 3, 3]
    """
    options = options or PredictOptions()
    with told(observer) as watching:
        opened = open_runs(runs)
        listing = list_images(opened, images, options)
        ensemble = open_ensemble(opened, options, watching)
        found = answers(ensemble, listing.items, _batch(options, len(listing.items)))
        return list(_watched(found, 0, len(listing.items), watching))


def predict_into(
    runs: Runs,
    images: Images,
    folder: str | os.PathLike,
    options: PredictOptions | None = None,
    *,
    explain: Sequence[str] = (),
    gallery: int = 200,
    resume: bool = False,
    observer: Observer | None = None,
) -> Predicted:
    """Predicts images in constant memory, and writes predictions.csv, .json, .html and overlays/.

    The page shows the slices in most doubt; maps and overlays are made of these.

    Args:
      runs: see `predict`.
      images: see `predict`.
      folder: a new one, or with `resume` one whose prediction was interrupted.
      options: see `predict`.
      explain: names of saliency methods.
      gallery: how many slices the page shows.
      resume: go on from what the folder holds.
      observer: is told how far it is.

    Returns:
      The folder, and the counts of its slices.

    Raises:
      InputError: as `predict`; a folder that holds something else, or that another process writes into; a saliency
        method that is not known.

    Example:
      >>> import btjax, tempfile
      >>> config = btjax.preset("cnn_demo").replace("training.epochs", 1).replace("data.phantom_patients", 8)
      >>> folder = tempfile.mkdtemp()
      >>> run = btjax.train(config.replace("data.image_size", 32), folder + "/run")
      >>> found = btjax.predict_into(run, btjax.make_phantom(1, 1, 32).images, folder + "/out")
      >>> found.counts.slices, (found.folder / "predictions.csv").exists()
      (3, True)
    """
    options, place = options or PredictOptions(), expanded(folder)
    methods = explaining(explain)
    with told(observer) as watching:
        opened = open_runs(runs)
        listing = list_images(opened, images, options)
        watching.on_notes(listing.notes)
        ensemble = open_ensemble(opened, options, watching)
        with held(place, watching):
            journal = Journal(place, _settings(opened, options) | {"images": _digest_of(images)})
            done = journal.begin(resume)
            left = (item for item in listing.items if item.key not in done)
            found = answers(ensemble, left, _batch(options, len(listing.items)))
            for _ in _watched(journal.write(found), len(done), len(listing.items), watching):
                pass
            return _conclude(ensemble, journal, listing, (methods, gallery), watching)


def _conclude(
    ensemble: Ensemble,
    journal: Journal,
    listing: Listing,
    shown: tuple[Sequence[str], int],
    observer: Observer,
) -> Predicted:
    """Writes the tables and the page of a finished journal; `shown` is the methods and the number of cards."""
    methods, gallery = shown
    counts = Counts()
    chosen = most_doubtful(journal.read(), gallery, counts)
    write_csv(journal, ensemble.classes)
    about = {
        **journal.settings,
        "classes": list(ensemble.classes),
        "notes": list(listing.notes),
        "counts": dataclasses.asdict(counts),
    }
    write_json_rows(journal, about)
    wanted = {(answer.file, answer.slice) for _, answer in chosen}
    items = {item.key: item for item in listing.items if item.key in wanted}
    cards = make_cards(
        ensemble,
        chosen,
        items,
        methods,
        folder=journal.folder,
        progress=lambda done: observer.on_data("draw", done, len(chosen)),
    )
    unread = [*itertools.islice((one for one in journal.read() if one.probabilities is None), gallery)]
    page = gallery_page(ensemble, counts, cards, unread, listing.notes)
    encoded = page.encode("utf-8", "backslashreplace")
    write_whole(journal.folder / PAGE, lambda beside: beside.write_bytes(encoded))
    return Predicted(journal.folder, counts)


def explaining(names: Sequence[str]) -> list[str]:
    """Names of saliency methods, checked; InputError for one that is not known, or that needs training slices."""
    methods = find_methods(names)
    for method in methods:
        if method.needs_options:
            raise InputError(f"--explain={method.name}: needs training slices, which predicting has not")
    return [method.name for method in methods]


def open_runs(runs: Runs) -> list[Run]:
    """The runs themselves, restored where folders are given."""
    given = [runs] if isinstance(runs, Run | str | os.PathLike) else list(runs)
    return [run if isinstance(run, Run) else restore(run) for run in given]


def list_images(runs: Sequence[Run], images: Images, options: PredictOptions) -> Listing:
    """The slices that are meant: arrays, or files read as the first run's were."""
    if isinstance(images, np.ndarray):
        return list_arrays(images[None] if images.ndim == 2 else images)
    several = not isinstance(images, str | os.PathLike)
    if several and images and not isinstance(images[0], str | os.PathLike):
        return list_arrays(images)
    if not runs:
        raise InputError("no run, expected the folder of at least one")
    data = runs[0].config.data
    how = ReadOptions(options.plane or data.plane, options.window or data.window, options.slices, options.cache_dir)
    return list_items(images, how)


def open_ensemble(runs: Sequence[Run], options: PredictOptions, observer: Observer) -> Ensemble:
    """Runs that predict together, with what they need to tell when not to answer; InputError as `predict`."""
    typical: Iterable[Any] = [None] * len(runs)
    for run in runs:
        run.require_classifier()
    if options.abstain:
        typical = [typical_of(run, options.own_dir, observer, options.cache_dir) for run in runs]
    return Ensemble(runs, list(typical))


def _batch(options: PredictOptions, items: int) -> int:
    """Slices at a time: no more than there are."""
    return max(1, min(options.batch_size, items))


def _settings(runs: Sequence[Run], options: PredictOptions) -> dict[str, Any]:
    """What two halves of one prediction must agree in."""
    return {
        "runs": [{"name": run.folder.name, "mark": mark_of(run), "system": run.config.system} for run in runs],
        "plane": options.plane or runs[0].config.data.plane,
        "window": options.window or runs[0].config.data.window,
        "abstain": options.abstain,
        "slices": options.slices and list(options.slices),
    }


def _digest_of(images: Images) -> str:
    """Sixteen hexadecimal digits that tell images from others: by where they stand, or of arrays by their numbers."""
    given = [images] if isinstance(images, str | os.PathLike | np.ndarray) else images
    leaves = [
        np.frombuffer(os.fsencode(os.path.abspath(expanded(one))), np.uint8)
        if isinstance(one, str | os.PathLike)
        else np.asarray(one)
        for one in given
    ]
    return content_digest(leaves)[:16]


def _watched(found: Iterator[Answer], done: int, total: int, observer: Observer) -> Iterator[Answer]:
    for number, answer in enumerate(found, start=done + 1):
        yield answer
        observer.on_data("predict", number, total)
