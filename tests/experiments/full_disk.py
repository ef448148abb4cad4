"""A disk that is full from a certain file on: run by `test_full_disk` in a process of its own.

The limit on the size of files holds for all of a process's threads and for what C++ writes, as a full disk does.
"""

import contextlib
import json
import os
import pathlib
import resource
import sys

import btjax
from btjax.base.digests import content_digest
from btjax.base.errors import InputError
from btjax.base.files import read_json
from btjax.commands.saliency import saliency
from btjax.features.deep import FrozenPart, compute_features
from btjax.runs.folder import RunFolder
from btjax.studies.subject import SaliencyConfig
from tests.readers import forms

TRAIN = (
    "/contents/",
    "incomplete",
    "config.json.part",
    "metrics.jsonl.part",
    "/tensorboard",
    "checkpoints/best",
    "checkpoints/last",
    "predictions.npz.part",
    "figures/",
    "report.html.part",
    "report.json.part",
)
EXPLAIN = ("settings.json.part", "maps/gradient.npy.part", "figures/", "saliency.html.part", "saliency.json.part")
if not os.environ.get("BTJAX_TESTS_LONG"):  # all of them take minutes
    TRAIN, EXPLAIN = ("incomplete", "metrics.jsonl.part", "checkpoints/last", "figures/"), ("maps/gradient.npy.part",)

_full_from: list[str] = []


def watch(event: str, arguments: tuple) -> None:
    """An audit hook: from the first file or folder of that name on, no file may hold more than a few bytes."""
    if _full_from and event in ("open", "os.mkdir") and _full_from[0] in str(arguments[0]):
        _full_from.clear()
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, HARD))


HARD = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
sys.addaudithook(watch)


@contextlib.contextmanager
def full(name: str):
    _full_from[:] = [name]
    try:
        yield
        print(json.dumps({"name": name, "reached": not _full_from, "error": None}), flush=True)
    except InputError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (HARD, HARD))
        print(json.dumps({"name": name, "reached": not _full_from, "error": str(error)}), flush=True)
    finally:
        _full_from.clear()
        resource.setrlimit(resource.RLIMIT_FSIZE, (HARD, HARD))


def content(run: btjax.Run) -> str:
    report = (run.folder / "report.json").read_text()
    digests = json.loads(report)["sha256"]["content"], content_digest(run.predictions.logits)
    return repr((digests, content_digest(run.variables)))


def trained(top: pathlib.Path) -> btjax.Run:
    config = btjax.preset("cnn_demo").replace("training.epochs", 1).replace("data.data_dir", str(top / "data"))
    config = config.replace("data.image_size", 32).replace("data.protocol", "slice")
    whole = btjax.train(config, top / "whole", cache_dir=top / "cache")
    before = content(whole)
    for number, name in enumerate(TRAIN):
        folder = top / f"run_{number}"
        cache = top / f"cache_{number}" if number < 2 else top / "cache"
        with full(name):
            btjax.train(config, folder, cache_dir=cache)
        place = RunFolder(folder)
        run = btjax.train(config, folder, resume=(folder / "config.json").exists() and place.begun, cache_dir=cache)
        assert content(run) == before, name
    with full("predictions.npz.part"):  # of a finished run that is evaluated again
        btjax.evaluate(whole, cache_dir=top / "cache")
    assert content(whole) == before
    return whole


def explained(top: pathlib.Path, run: btjax.Run) -> None:
    few = SaliencyConfig(methods=("gradient",), checked_slices=2)

    def explain(folder: pathlib.Path) -> dict:
        saliency(run.folder, folder, few, cache_dir=top / "cache")
        return read_json(folder / "saliency.json")

    whole = explain(top / "explained")
    for number, name in enumerate(EXPLAIN):
        folder = top / f"explained_{number}"
        with full(name):
            explain(folder)
        assert explain(folder) == whole, name


def main(top: pathlib.Path) -> None:
    forms.write_manifest(top / "data", forms.make_slices(40))
    run = trained(top)
    explained(top, run)
    part = FrozenPart(run.model, run.variables, run.model.layers[0])
    images = btjax.load(top / "data", 32, top / "cache").images
    with full("features"):
        compute_features(part, run.config.preprocessing, images, top / "features")
    whole = compute_features(part, run.config.preprocessing, images, top / "other")
    assert (compute_features(part, run.config.preprocessing, images, top / "features") == whole).all()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
