"""One flipped bit, anywhere in a finished run, its maps and its cache: it is named, or everything reads as it was."""

import dataclasses
import gc
import pathlib
from typing import Any

import numpy as np
import pytest

import btjax
from btjax.base.digests import content_digest
from btjax.base.errors import InputError
from btjax.base.files import read_json
from btjax.commands.saliency import open_run, saliency
from btjax.features.deep import FrozenPart, compute_features
from btjax.runs.folder import RunFolder
from btjax.saliency.methods import find_methods
from btjax.studies.maps import compute_maps
from btjax.studies.subject import SaliencyConfig, Subject
from btjax.studies.training import open_job
from btjax.training.loop import Trainer
from tests.readers import forms

FLIPS = 200
FOR_PEOPLE = {".html", ".png", ".vm"}
MAPS = SaliencyConfig(methods=("gradient",), checked_slices=2)
IMAGES = np.random.default_rng(0).integers(0, 256, (130, 32, 32), np.uint8)


class Strict(btjax.Observer):
    """Takes it for an error that something is said, as of a checkpoint in whose place the one before is used."""

    def on_message(self, text):
        raise InputError(text)


@dataclasses.dataclass
class Kept:
    """What a classifier's run leaves, and what its commands take from there."""

    top: pathlib.Path
    part: FrozenPart
    state: Any
    subject: Subject

    @property
    def run(self) -> btjax.Run:
        return btjax.Run(self.top / "run")

    def features(self) -> str:
        folder = self.top / "cache" / "features"
        return content_digest(compute_features(self.part, self.run.config.preprocessing, IMAGES, folder))

    def slices(self) -> str:
        return repr(
            [
                (name, values.tolist())
                for name, values in btjax.load(self.top / "data", 32, self.top / "cache").fields().items()
            ]
        )

    def last(self) -> str:
        tree, progress = self.run.checkpoints.load("last", self.state, Strict())
        return content_digest(tree) + repr(progress)

    def best(self) -> str:
        return content_digest(self.run.variables) + repr(self.run.checkpoints.progress("best"))

    def maps(self) -> str:
        (method,) = find_methods(["gradient"])
        folder = self.top / "saliency"
        maps = compute_maps(MAPS, self.subject, method, folder / "maps")
        return content_digest(maps) + repr([read_json(folder / f"{name}.json") for name in ("settings", "saliency")])

    def results(self) -> str:
        run = self.run
        return repr((run.config.to_json(), run.report, run.history)) + content_digest(run.predictions.logits)

    def reader(self, path: pathlib.Path) -> Any:
        """What reads a file."""
        readers = {
            "cache/features": self.features,
            "cache": self.slices,
            "run/checkpoints/last": self.last,
            "run/checkpoints/best": self.best,
            "run": self.results,
            "saliency": self.maps,
        }
        name = path.relative_to(self.top).as_posix()
        return next((read for folder, read in readers.items() if name.startswith(folder)), None)


@pytest.fixture
def kept(tmp_path, standard_promotion) -> Kept:
    forms.write_manifest(tmp_path / "data", forms.make_slices(40))
    config = btjax.preset("cnn_demo").replace("training.epochs", 2).replace("data.data_dir", str(tmp_path / "data"))
    config = config.replace("data.image_size", 32).replace("data.protocol", "slice")
    cache = tmp_path / "cache"
    run = btjax.train(config, tmp_path / "run", cache_dir=cache)
    saliency(run.folder, tmp_path / "saliency", MAPS, cache_dir=cache)
    job = open_job(run.config, RunFolder(run.folder), cache_dir=cache)
    trainer = Trainer(job.prepared.task, config.training, job.prepared.examples, config.seed)
    state = {"state": trainer.state, "sums": trainer.sums}
    subject = open_run(run.folder, MAPS, None, btjax.Observer(), cache)
    return Kept(tmp_path, FrozenPart(run.model, run.variables, run.model.layers[0]), state, subject)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::RuntimeWarning")
def test_no_flipped_bit_is_used_in_silence(kept):
    kept.features()
    files = [path for path in sorted(kept.top.rglob("*")) if path.is_file() and path.stat().st_size]
    files = [path for path in files if kept.reader(path) is not None and path.suffix not in FOR_PEOPLE]
    whole = {read: read() for read in map(kept.reader, files)}
    random, named, silent = np.random.default_rng(0), 0, []
    for _ in range(FLIPS):
        path = files[random.integers(len(files))]
        content = path.read_bytes()
        bit = int(random.integers(8 * len(content)))
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            if kept.reader(path)() != whole[kept.reader(path)]:
                silent.append(f"bit {bit} of {path.relative_to(kept.top)}")
        except InputError:
            named += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    gc.collect()  # Orbax leaves coroutines where it cannot read: they go while the warning of that is ignored
    assert not silent
    assert named > FLIPS // 4
