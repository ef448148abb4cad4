"""One bit flipped in a file of a finished run or of its caches, then the command that reads the file."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import pathlib
import shutil
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import numpy as np

import btjax
from btjax.base.digests import content_digest
from btjax.base.errors import InputError
from btjax.base.files import read_json, write_json
from btjax.base.sealed import SEAL, sealed
from btjax.commands.compare import compare_runs
from btjax.commands.predict import PredictOptions
from btjax.commands.saliency import saliency
from btjax.features.deep import FrozenPart, compute_features
from btjax.studies.subject import SaliencyConfig
from experiments import results, summaries
from tests.attack.outcome import pick
from tests.readers import forms

NAMED, ANEW, HARMLESS, USED = "named", "made anew", "harmless", "used"
"""What becomes of a flipped bit: one line names the file; a cache is computed again; the result is that of the whole
file, bit for bit, without a word; or the result is another, or no result and no line."""

MAPS = SaliencyConfig(methods=("gradient",), checked_slices=2)
_IMAGES = np.random.default_rng(0).integers(0, 256, (70, 32, 32), np.uint8)


class Told(btjax.Observer):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_message(self, text: str) -> None:
        """Keeps a line."""
        self.lines.append(text)


@dataclasses.dataclass(frozen=True)
class Place:
    """What flips are tried on: `data`, pictures, and a folder with run, caches, maps, predictions and results.

    Attributes:
      data: a data set.
      images: pictures to predict.
      top: the folder; flips are tried on copies of it.
    """

    data: pathlib.Path
    images: pathlib.Path
    top: pathlib.Path

    @property
    def run(self) -> btjax.Run:
        """The finished run."""
        return btjax.Run(self.top / "run")

    @property
    def cache(self) -> pathlib.Path:
        """The cache."""
        return self.top / "cache"

    def train(self, folder: str, observer: btjax.Observer, *, resume: bool = False) -> str:
        """Trains, or resumes; its report, weights and predictions."""
        config = btjax.preset("cnn_demo").replace("training.epochs", 2).replace("data.data_dir", str(self.data))
        config = config.replace("data.image_size", 32).replace("data.protocol", "slice")
        run = btjax.train(config, self.top / folder, resume=resume, observer=observer, cache_dir=self.cache)
        content = read_json(run.folder / "report.json")
        return repr((sealed(content)[SEAL]["content"], content_digest(run.variables), run.predictions.logits.tolist()))

    def resumed(self, observer: btjax.Observer) -> str:
        """`--resume` of the finished run."""
        return self.train("run", observer, resume=True)

    def trained(self, observer: btjax.Observer) -> str:
        """A new run from the prepared slices."""
        return self.train("new", observer)

    def features(self, _: btjax.Observer) -> str:
        """The outputs of the run's first layer."""
        part = FrozenPart(self.run.model, self.run.variables, self.run.model.layers[0])
        return content_digest(compute_features(part, self.run.config.preprocessing, _IMAGES, self.cache / "features"))

    def predicted(self, observer: btjax.Observer) -> str:
        """The run restored, and what it makes of pictures."""
        options = PredictOptions(cache_dir=self.cache)
        return repr(btjax.predict(btjax.restore(self.run.folder), self.images, options, observer=observer))

    def predicted_into(self, observer: btjax.Observer) -> str:
        """A prediction into a folder, or its end; the tables that it writes."""
        folder, options = self.top / "predicted", PredictOptions(abstain=False, cache_dir=self.cache)
        begun = folder.exists()
        btjax.predict_into(self.run, self.images, folder, options, resume=begun, observer=observer)
        return repr([(folder / f"predictions.{suffix}").read_bytes() for suffix in ("csv", "json")])

    def explained(self, observer: btjax.Observer) -> str:
        """The saliency command, which goes on with the maps that are there."""
        folder = self.top / "saliency"
        saliency(self.run.folder, folder, MAPS, observer=observer, cache_dir=self.cache)
        return repr(read_json(folder / "saliency.json")) + content_digest(np.load(folder / "maps" / "gradient.npy"))

    def reported(self, observer: btjax.Observer) -> str:
        """What a run says of itself, and the page that compares it with another."""
        run, out = self.run, self.top / "compared"
        own = run.config.to_json(), run.report, run.history, run.predictions.logits.tolist()
        compare_runs([run.folder, self.top.parent / "other"], out, observer=observer)
        return repr((own, read_json(out / "compare.json")))

    def results(self, _: btjax.Observer) -> str:
        """What the tables are written from."""
        with mock.patch.object(results, "RESULTS", self.top / "results"):
            return repr(results.all_results())


@dataclasses.dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes:
      files: a pattern below the folder.
      read: what reads them.
      left_out: the part of their paths that tells which of them nothing reads.
    """

    files: str
    read: Callable[[Place, btjax.Observer], str]
    left_out: str = "\0"


KINDS = {
    "checkpoint to resume from": Kind("run/checkpoints/last/**/*", Place.resumed),
    "best checkpoint": Kind("run/checkpoints/best/**/*", Place.predicted),
    "prepared slices": Kind("cache/**/*", Place.trained, "/cache/features/"),
    "features": Kind("cache/features/**/*.npy", Place.features),
    "predictions": Kind("run/predictions.npz", Place.reported),
    "typical slices": Kind("run/typical.npz", Place.predicted),
    "journal of predictions": Kind("predicted/*.jsonl", Place.predicted_into),
    "maps": Kind("saliency/maps/*", Place.explained),
    "settings of maps": Kind("saliency/*.json", Place.explained),
    "config": Kind("run/config.json", Place.reported),
    "report": Kind("run/report.json", Place.reported),
    "metrics": Kind("run/metrics.jsonl", Place.reported),
    "results": Kind("results/*.json", Place.results),
}


def finished(folder: pathlib.Path) -> Place:
    """A run of 40 made-up slices and everything that is kept of it and for it."""
    place = Place(folder / "data", folder / "images", folder / "whole")
    forms.write_manifest(place.data, forms.make_slices(40))
    forms.write_classes(place.images, forms.make_slices(6))
    quiet = btjax.Observer()
    place.train("run", quiet)
    shutil.copytree(place.run.folder, folder / "other")
    for read in (place.predicted, place.predicted_into, place.explained, place.features):
        read(quiet)
    (place.top / "results").mkdir()
    write_json(place.top / "results" / "cnn.json", summaries.collect([place.run.folder]))
    return place


def flip(path: pathlib.Path, random: np.random.Generator) -> int:
    """Flips a bit of a file, and says which."""
    content = bytearray(path.read_bytes())
    bit = int(random.integers(8 * len(content)))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    return bit


def became(read: Callable[[btjax.Observer], str], path: pathlib.Path, whole: tuple[str, list[str]]) -> tuple[str, str]:
    """What becomes of a file in which a bit is flipped, and in words.

    Args:
      read: the command that reads it.
      path: the file.
      whole: the command's result and what it says where nothing is flipped.
    """
    content, told = path.read_bytes(), Told()
    try:
        found = read(told)
    except InputError as error:
        return NAMED, str(error)
    except Exception as error:  # whatever else comes out is what is looked for
        return USED, f"{type(error).__name__}: {error}"
    if found != whole[0]:
        return USED, "another result"
    if news := [line for line in told.lines if line not in whole[1]]:
        return NAMED, news[0]
    return (HARMLESS if path.exists() and path.read_bytes() == content else ANEW), ""


@contextlib.contextmanager
def copied(place: Place) -> Iterator[Place]:
    """A place with a copy of the folder, which goes at the end."""
    copy = dataclasses.replace(place, top=place.top.with_name("copy"))
    shutil.copytree(place.top, copy.top)
    try:
        yield copy
    finally:
        shutil.rmtree(copy.top)
        gc.collect()  # Orbax leaves coroutines where it cannot read


def flipped(place: Place, kind: Kind, random: np.random.Generator, whole: tuple[str, list[str]]) -> tuple[str, str]:
    """Flips a bit of one of the files of a kind: what becomes of it, and in words."""
    files = [path for path in sorted(place.top.glob(kind.files)) if path.is_file() and path.stat().st_size]
    path = pick(random, [path for path in files if kind.left_out not in path.as_posix()])
    bit = flip(path, random)
    what, message = became(partial(kind.read, place), path, whole)
    return what, f"bit {bit} of {path.relative_to(place.top)}: {message}"


def count_flips(folder: pathlib.Path, count: int, seed: int = 0) -> dict[str, Any]:
    """Kind of file -> how many flips were named, made anew, harmless, used; and every one that was used, in words."""
    place, wholes, used = finished(folder), {}, []
    table = {name: dict.fromkeys((NAMED, ANEW, HARMLESS, USED), 0) for name in [*KINDS][:count]}
    for number in range(count):
        name, random = [*KINDS][number % len(KINDS)], np.random.default_rng([seed, number])
        kind = KINDS[name]
        if kind.read not in wholes:
            with copied(place) as copy:
                told = Told()
                wholes[kind.read] = kind.read(copy, told), told.lines
        with copied(place) as copy, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            what, message = flipped(copy, kind, random, wholes[kind.read])
        table[name][what] += 1
        if what == USED:
            used.append(f"{number} {name}: {message[:300]}")
            print(used[-1], flush=True)
    return {"kinds": table, "used": used}
