"""Measures the prediction of image files against the network alone, and its memory for few and for many files."""

from __future__ import annotations

import contextlib
import os
import pathlib
import resource
import statistics
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

import btjax
from btjax.base.progress import Observer
from btjax.commands.predict import PredictOptions, list_images, open_ensemble, predict_into
from btjax.data.phantom import make_phantom
from btjax.prediction.files import Journal, write_csv
from btjax.prediction.stream import BATCH, answers
from btjax.runs.seen import Eye

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from btjax.prediction.answers import Ensemble
    from btjax.prediction.inputs import Listing
    from btjax.runs.run import Run

DIFFERENT = 64
"""Pictures that differ; larger folders hold them again and again."""

FILES = (1000, 20_000)
"""How many files the memory is measured with."""

_SECONDS = 3.0
"""About how long a timing takes."""


def measure_predict(rounds: int, run: str = "", side: int = 0, most: int = 1024) -> dict:
    """Times the network, and prediction with and without telling what is untypical, by turns.

    The network is timed on slices in memory, in batches of the same size. Prediction reads PNG files, and writes the
    journal and the table; what is compiled is compiled before.

    Args:
      rounds: timings of each, of which the medians are kept; shares are computed in each round.
      run: folder of a finished classifier's run; "" for a small CNN that is trained on synthetic heads first.
      side: of the pictures in pixels; 0 for that of the run's slices.
      most: the most files of a timing.

    Returns:
      JSON values: what was measured, medians in ms an image, and the shares of the network's speed that are reached.
    """
    with some_run(run) as found, tempfile.TemporaryDirectory() as place:
        folder, size = pathlib.Path(place), found.config.data.image_size
        side = side or size
        write_pictures(folder / "pictures", DIFFERENT, side)
        batch = np.random.default_rng(0).integers(0, 256, (BATCH, size, size)).astype(np.uint8)
        eye = Eye(found, wide=False)
        eye.see(batch)
        began = time.perf_counter()
        eye.see(batch)
        files = int(np.clip(BATCH / (time.perf_counter() - began) * _SECONDS, DIFFERENT, most)) // BATCH * BATCH
        write_pictures(folder / "pictures", files, side)
        ways = {"forward": lambda: _forward(eye, batch, files)}
        for name, abstain in (("predict", True), ("predict_always", False)):
            options = PredictOptions(abstain=abstain)
            ensemble = open_ensemble([found], options, Observer())
            listing = list_images([found], folder / "pictures", options)
            ways[name] = _predicting(ensemble, listing, folder)
            ways[name]()
        seconds, load = _by_turns(ways, rounds), os.getloadavg()[0]
    middle = {f"{name}_ms_per_image": round(statistics.median(row) / files * 1e3, 3) for name, row in seconds.items()}
    shares = {
        f"{name}_share": round(statistics.median(np.divide(seconds["forward"], seconds[name])), 3)
        for name in ("predict", "predict_always")
    }
    about = {"system": found.config.system, "image_size": size, "picture_side": side, "files": files, "rounds": rounds}
    return about | middle | shares | {"load": round(load, 1)}


def measure_predict_memory(files: int, run: str = "", side: int = 0) -> dict:
    """The peak memory of this process, in MiB, when it has predicted a folder of so many files."""
    with some_run(run) as found, tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        write_pictures(folder / "pictures", files, side or found.config.data.image_size)
        predict_into(found, folder / "pictures", folder / "out")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return {"files": files, "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)}


@contextlib.contextmanager
def some_run(folder: str) -> Iterator[Run]:
    """The run of a folder, or a small CNN, trained for one epoch."""
    if folder:
        yield btjax.restore(folder)
        return
    with tempfile.TemporaryDirectory() as place:
        config = btjax.preset("cnn_cpu").replace("data.data_dir", "phantom").replace("training.epochs", 1)
        yield btjax.train(config.replace("data.phantom_patients", 12), f"{place}/run")


def write_pictures(folder: pathlib.Path, count: int, side: int) -> None:
    """Writes PNG files of synthetic heads, `side` pixels a side; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [folder / f"{number:06d}.png" for number in range(count)]
    first = names[:DIFFERENT]
    if first and not first[-1].exists():
        heads = make_phantom(DIFFERENT // 3 + 1, 1, side).images
        for path, image in zip(first, heads, strict=False):
            Image.fromarray(image).save(path)
    contents = [path.read_bytes() for path in first]
    for number, path in enumerate(names[DIFFERENT:]):
        if not path.exists():
            path.write_bytes(contents[number % DIFFERENT])


def _forward(eye: Eye, batch: np.ndarray, files: int) -> None:
    """The network on as many slices, a batch begun before the one before is waited for, as in predicting."""
    begun = None
    for _ in range(files // BATCH):
        following = eye.start(batch)
        if begun is not None:
            eye.finish(begun)
        begun = following
    if begun is not None:
        eye.finish(begun)


def _predicting(ensemble: Ensemble, listing: Listing, folder: pathlib.Path) -> Callable[[], None]:
    """Predicts every file into a journal and a table."""

    def predict() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            journal = Journal(pathlib.Path(place) / "out", {})
            journal.begin(False)
            for _ in journal.write(answers(ensemble, listing.items, BATCH)):
                pass
            write_csv(journal, ensemble.classes)

    return predict


def _by_turns(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way by rounds; every other round goes through them in reverse."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            began = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - began)
    return seconds
