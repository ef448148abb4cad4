"""Disks that are full from a certain file on: every command, at every file that it writes.

    python -m tests.experiments.full_disk FOLDER [COMMAND ...]

In a process of its own: the limit on the size of files holds for all of a process's threads and for what C++ writes, as
a full disk does. Each point is a line of JSON; see `Tried`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from unittest import mock

import jax
import numpy as np

import btjax
from btjax.base.digests import content_digest
from btjax.base.errors import InputError
from btjax.features.deep import FrozenPart, compute_features
from experiments import results
from tests.attack.kills import COMMANDS, Command, begun, left, make_places
from tests.experiments import commands

if TYPE_CHECKING:
    import subprocess

HARD = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
FULL = 16
"""Bytes that a file may hold on a full disk."""

TOGETHER = {
    r"(.*)checkpoints/(\w+)(/.*)?$": r"\1checkpoints/\2",
    r"composed/(final|left|right)(/.*)?$": r"composed/\1",
    r"(.*)/incomplete\..*": r"\1/incomplete",
    r"(.*)(tensorboard|figures|overlays)/.*": r"\1\2",
}
"""Files that one call writes one after the other, or C++ into a folder that Python makes: one point."""

PASSED = re.compile(r"\.lock|(^|/)lock$|\.btjax|compiled/")
"""Files without which a command goes on: locks, marks of folders, compiled programs."""


def shorter(name: str, *flags: str) -> Command:
    """A command that is killed elsewhere, with less to do: its files are the same."""
    return dataclasses.replace(COMMANDS[name], flags=(*COMMANDS[name].flags, *flags))


MORE = {
    "unet": shorter("unet", "--epochs=2", "--classifier_epochs=2"),
    "ladder": shorter("ladder", "--epochs=1", "--protocols=patient"),
    "search": shorter("search", "--epochs=1", "--trials=2"),
    "compare": Command("compare", ("{run}", "{other}")),
    "audit": Command("audit", ("--runs={run}",)),
    "release": Command("release", ("--checkpoint={run}",)),
    "card": Command("card", ("--checkpoint={run}",)),
    "evaluate": Command("evaluate", ("--checkpoint={run}", "--data_dir={images}")),
    "proposals": Command("proposals", ("--checkpoint={run}", "--methods=gradient")),
    "unknown": Command("unknown", ("--checkpoint={run}",)),
}
SUITE = {
    "train": ("cache/brain_tumours/#px_#/incomplete", "checkpoints/last", "metrics.jsonl", "figures"),
    "saliency": ("maps/gradient.npy",),
    "predict": ("answers.jsonl", "predictions.csv"),
    "features": ("cache/features/conv_#_#/#.npy",),
}
"""What the suite tries; all points of all commands take an hour."""


@dataclasses.dataclass
class Watch:
    """An audit hook that notes what is written in some folders, and fills the disk up from a point on.

    Attributes:
      folders: by what their files' names begin with.
      points: what was written, in order.
      full_from: the point from which on the disk is full; "" for none.
    """

    folders: dict[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    points: dict[str, None] = dataclasses.field(default_factory=dict)
    full_from: str = ""

    def __call__(self, event: str, arguments: tuple) -> None:
        if not self.folders or event not in ("open", "os.mkdir") or not isinstance(arguments[0], str | os.PathLike):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if point := self.point(pathlib.Path(arguments[0]), is_folder=event == "os.mkdir"):
            self.points[point] = None
            if point == self.full_from:
                resource.setrlimit(resource.RLIMIT_FSIZE, (FULL, HARD))

    def point(self, path: pathlib.Path, *, is_folder: bool) -> str:
        """The name of a file without what differs from run to run; "" for what is none of a command's results."""
        for name, folder in self.folders.items():
            if path.is_relative_to(folder):
                inside = re.sub(r"\.part(?=/|$)", "", path.relative_to(folder).as_posix())
                found = next((pattern for pattern in TOGETHER if re.match(pattern, inside)), None)
                if PASSED.search(inside) or (is_folder and not found):
                    return ""
                inside = re.sub(found, TOGETHER[found], inside) if found else inside
                return name + re.sub("[0-9a-f]{16,}|[0-9]+", "#", inside)
        return ""

    @contextlib.contextmanager
    def over(self, place: Place, full_from: str = "") -> Iterator[None]:
        """Within it writes into a place's folders are noted, and its disk fills up at a point."""
        self.folders, self.points, self.full_from = place.written, {}, full_from
        try:
            yield
        finally:
            self.folders = {}
            resource.setrlimit(resource.RLIMIT_FSIZE, (HARD, HARD))


WATCH = Watch()


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a command works.

    Attributes:
      top: holds its folder, its cache, and a copy of the run that it is given.
      places: what the commands' flags name.
    """

    top: pathlib.Path
    places: dict[str, str]

    @property
    def folder(self) -> pathlib.Path:
        """The command's folder."""
        return self.top / "out"

    @property
    def written(self) -> dict[str, pathlib.Path]:
        """The folders that it may write into, by what their files' names begin with."""
        return {"": self.folder, "cache/": self.top / "cache", "run/": self.top / "run"}


Act = Callable[[Place, bool], Any]
"""Does a command's work in a place, or goes on with it; InputError where it ends with one line."""


def called(command: Command) -> Act:
    """Calls a command as its users do."""

    def act(place: Place, again: bool) -> None:
        places = place.places | {"run": str(place.top / "run")}
        flags = [flag.format(**places) for flag in command.flags]
        flags += [f"--workdir={place.folder}", f"--cache_dir={place.top / 'cache'}"]
        flags += [command.resume] if again and command.resume else []
        done = commands.run(os.environ, command.module, *flags)
        if done.returncode:
            raise InputError(ended(done))

    return act


def ended(done: subprocess.CompletedProcess) -> str:
    """The last line of a command that failed; AssertionError where it failed otherwise than by one line."""
    lines = done.stderr.replace("\r", "\n").strip().splitlines()
    assert done.returncode == 2 and lines and "Traceback" not in done.stderr, done.stderr
    return lines[-1]


def features(place: Place, again: bool) -> str:
    """The outputs of the run's first layer, which are kept in the cache."""
    del again
    run = btjax.Run(place.top / "run")
    part = FrozenPart(run.model, run.variables, run.model.layers[0])
    images = np.random.default_rng(0).integers(0, 256, (70, 32, 32), np.uint8)
    return content_digest(compute_features(part, run.config.preprocessing, images, place.top / "cache" / "features"))


def copy_tables(folder: pathlib.Path) -> None:
    """Copies what the results command reads and writes."""
    for whole in (results.RESULTS, results.FLAGS):
        shutil.copytree(whole, folder / whole.name)
    shutil.copy(results.ROOT / "README.md", folder)


def collect(place: Place, again: bool) -> None:
    """The results command, on copies of the tables' files."""
    del again
    places = {"ROOT": place.folder, "RESULTS": place.folder / "results", "FLAGS": place.folder / "flags"}
    argv = ["results", "--name=cnn_cpu", str(place.top / "run")]
    with mock.patch.multiple(results, **places), mock.patch.object(sys, "argv", argv):
        results.main()


ACTS = {name: called(command) for name, command in (COMMANDS | MORE).items()}
ACTS |= {"features": features, "results": collect}


@dataclasses.dataclass(frozen=True)
class Tried:
    """What became of a disk that fills up at a point.

    Attributes:
      command: which was running.
      point: the file.
      reached: whether the command wrote it.
      error: the one line with which it ended; None where it came to its end all the same.
      same: whether, with room again, it went on to the results of an undisturbed one.
      kept: whether these were readable and the same after the disk was full once more.
    """

    command: str
    point: str
    reached: bool
    error: str | None
    same: bool
    kept: bool

    @property
    def survived(self) -> bool:
        """Whether nothing went wrong."""
        return self.reached and self.same and self.kept


def tried(name: str, point: str, place: Place, expected: tuple[Any, dict[str, str]]) -> Tried:
    """Lets the disk fill up at a point, gives it room again, and lets it fill up once more over finished results."""
    act, error = ACTS[name], None
    try:
        try:
            with WATCH.over(place, point):
                act(place, False)
        except InputError as caught:
            error = str(caught)
        reached = point in WATCH.points
        same = not error or (act(place, begun(place.folder)), left(place.folder)) == expected
        with contextlib.suppress(InputError), WATCH.over(place, point):
            act(place, begun(place.folder))
        return Tried(name, point, reached, error, same, left(place.folder) == expected[1])
    except Exception as caught:  # whatever else comes out is what is looked for
        message = " ".join(f"{type(caught).__name__}: {caught}".split())
        return Tried(name, point, point in WATCH.points, f"{error}; {message}"[-600:], same=False, kept=False)


def read(lines: str) -> list[Tried]:
    """What `main` printed."""
    return [Tried(**json.loads(line)) for line in lines.splitlines() if line.startswith("{")]


def main(top: pathlib.Path, names: list[str]) -> None:
    """Tries commands at all their points, or at those of the suite alone."""
    sys.addaudithook(WATCH)
    jax.config.update("jax_compilation_cache_dir", str(top / "compiled"))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(top / "compiled")
    places = make_places(top)
    first = Place(top / "first", places)
    ACTS["train"](first, False)
    places["other"] = str(shutil.copytree(first.folder, top / "other"))
    everything = bool(os.environ.get("BTJAX_TESTS_LONG"))

    def new(name: str) -> Place:
        place = Place(top / name, places)  # always the same: some results name the run that they are of
        shutil.rmtree(place.top, ignore_errors=True)
        shutil.copytree(first.folder, place.top / "run")
        place.folder.mkdir()  # a card goes into a folder that is there
        if name == "results":
            copy_tables(place.folder)
        return place

    for name in names or (ACTS if everything else SUITE):
        whole = new(name)
        with WATCH.over(whole):
            found = ACTS[name](whole, False)
        expected, points = (found, left(whole.folder)), [*WATCH.points]
        for point in points if everything else SUITE[name]:
            print(json.dumps(dataclasses.asdict(tried(name, point, new(name), expected))), flush=True)
        shutil.rmtree(whole.top)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2:])
