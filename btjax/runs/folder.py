"""A run's folder: what may stand in it, and how its files are written."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from btjax.base.checkpoints import Checkpoints
from btjax.base.errors import InputError
from btjax.base.files import check_writable, expanded, make_folder, read_json, strangers, write_json, write_whole
from btjax.base.folders import held
from btjax.base.opening import read_regular
from btjax.runs.extension import check_epochs
from btjax.systems.config import Config
from btjax.training.hosts import leads

if TYPE_CHECKING:
    import os
    import pathlib
    from collections.abc import Callable, Iterator, Sequence

    from matplotlib.figure import Figure

    from btjax.base.progress import Observer
    from btjax.data.splits import Split

KEPT = "fitted.skops"
"""What a system that is fitted in one go keeps, in the place of checkpoints."""

RESULTS = (KEPT, "head.skops", "predictions.npz", "outlines.npz", "report.json")
"""Files of a run that has come to its results."""

# What may change when a run is resumed: the same data set can stand elsewhere (the split's fingerprint is compared),
# and the weights are in the checkpoint. The classes are compared once the data set is loaded.
_FREE = {("data", "data_dir"), ("training", "devices"), ("extra", "weights")}


class RunFolder:
    """The folder of one run; of several processes that train it together the first alone writes files.

    Attributes:
      path: the folder.
      checkpoints: its checkpoints: "last" to resume from, "best" to use, and those that `keep_every` keeps.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        """Names the folder, whose leading ~ is the home folder; nothing is read or made."""
        self.path = expanded(path)
        self.checkpoints = Checkpoints(self.path / "checkpoints")

    @property
    def begun(self) -> bool:
        """Whether there is something to lose: a checkpoint (a classical head has "best" alone), or results."""
        kept = any(self.checkpoints.exists(name) for name in ("last", "best"))
        return kept or self.concluded

    @property
    def concluded(self) -> bool:
        """Whether the folder holds results: a fitted model, predictions or a report."""
        return any((self.path / name).exists() for name in RESULTS)

    @contextlib.contextmanager
    def held(self, observer: Observer | None = None) -> Iterator[None]:
        """Holds the folder for this process; the first of several that train one run does, for all of them.

        Args:
          observer: is told where the file system keeps no locks.

        Raises:
          InputError: another process holds it.
        """
        if not leads():
            yield
            return
        with held(self.path, observer):
            yield

    def check(self, config: Config, resume: bool, *, more_epochs: bool = True) -> None:
        """Checks that the folder can hold this run; writes nothing.

        Args:
          config: the run's options.
          resume: whether the run in the folder goes on.
          more_epochs: whether it may go on to another number of epochs than it was started with.

        Raises:
          InputError: the folder holds another config, something else, or a run that is not to be resumed; or it
            cannot be written.
        """
        path = self.path / "config.json"
        check_writable(self.path, "--workdir=")
        if path.exists():
            started = self._started()
            if not self.begun:
                return  # stopped before its first checkpoint: there is nothing to lose
            self._check_config(started, config, more_epochs)
            if not resume:
                raise InputError(f"--workdir={self.path}: holds a run already; add --resume, or name another folder")
        elif others := strangers(self.path):
            found = f"found {others[0].name}, which is no log"
            raise InputError(f"--workdir={self.path}: not a btjax run and not empty ({found}), expected a new folder")
        elif resume:
            raise InputError(f"--workdir={self.path}: no run to resume or evaluate")

    def start(self, config: Config, split: Split, slices: str, masks: str = "") -> None:
        """Makes the folder and saves the config with the fingerprints of the split, of the slices and of their masks.

        Args:
          config: of the run, with the classes of the data set.
          split: of the data set.
          slices: `Slices.fingerprint` of the data set.
          masks: `Slices.masks_fingerprint` of the data set, where the run is trained on masks.

        Raises:
          InputError: the folder's run was started on other classes, slices, rows or masks.
        """
        fingerprints = {"split": split.fingerprint, "slices": slices} | ({"masks": masks} if masks else {})
        if (self.path / "config.json").exists() and self.begun:
            flag = f"--data_dir={config.data.data_dir}"
            self.check_data(config, split, slices, flag)
            self.check_masks(masks, flag)
        make_folder(self.path, "--workdir=")
        self.write_json("config.json", config.to_json() | fingerprints)

    def check_data(self, config: Config, split: Split, slices: str, flag: str) -> None:
        """Checks that the run was trained on these classes, slices and rows.

        Args:
          config: the run's, with the classes of the data set that was loaded.
          split: the split of that data set.
          slices: `Slices.fingerprint` of that data set.
          flag: what the user gave, named in the error.

        Raises:
          InputError: others.
        """
        check_classes(self.config().classes, config.classes, flag, self.path)
        self._check_fingerprint("split", split.fingerprint, flag)
        self.check_slices(slices, flag)

    def check_slices(self, slices: str, flag: str) -> None:
        """Checks that slices of the fingerprint `slices` are those that the run was trained on; see `check_data`."""
        self._check_fingerprint("slices", slices, flag)

    def check_masks(self, masks: str, flag: str) -> None:
        """Checks that masks of the fingerprint `masks` are those that the run was trained on, if it was on any."""
        self._check_fingerprint("masks", masks, flag)

    def _check_fingerprint(self, name: str, found: str, flag: str) -> None:
        held = read_json(self.path / "config.json").get(name, found)  # configs of early versions do not have both
        if held != found:
            raise InputError(
                f"{flag}: the fingerprint of its {name} is {found}, the run in {self.path} was trained on {held}; "
                "expected the same data set"
            )

    def config(self) -> Config:
        """The config that the folder's run was started with."""
        path = self.path / "config.json"
        return Config.from_json(read_json(path), str(path))

    @property
    def logged(self) -> int:
        """How many rows metrics.jsonl has: epochs that were trained."""
        path = self.path / "metrics.jsonl"
        return read_regular(path, "json").count(b"\n") if path.exists() else 0

    def history(self) -> list[dict[str, float]]:
        """The rows of metrics.jsonl, one for each completed epoch; none for a run without epochs.

        Raises:
          InputError: they are not those that the last checkpoint holds too.
        """
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        try:
            rows = [json.loads(line) for line in read_regular(path, "json").decode().splitlines()]
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: not JSON lines: {error}") from None
        held = self.checkpoints.progress("last").get("history", []) if self.checkpoints.exists("last") else []
        for number, (row, own) in enumerate(zip(rows, held, strict=False), 1):
            if row != own:
                raise InputError(
                    f"{path}: damaged: row {number} is not what the checkpoint holds; remove the file, and --resume "
                    "writes it again"
                )
        return rows

    def write_json(self, name: str, values: Any) -> None:
        """Writes a JSON file, complete or not at all."""
        if leads():
            write_json(self.path / name, values)

    def write_metrics(self, history: Sequence[dict[str, float]]) -> None:
        """Writes metrics.jsonl: one row for each completed epoch."""
        self.write_text("metrics.jsonl", "".join(json.dumps(row, allow_nan=False) + "\n" for row in history))

    def write_text(self, name: str, text: str) -> None:
        """Writes a text file, complete or not at all."""
        # The name of a file that is not UTF-8 must not cost the page on which it stands.
        self.write(name, lambda path: path.write_text(text, encoding="utf-8", errors="backslashreplace"))

    def write_figure(self, name: str, figure: Figure) -> None:
        """Writes figures/<name>.png, complete or not at all."""
        from btjax.figures.style import save_png

        if leads():
            make_folder(self.path / "figures")
        self.write(f"figures/{name}.png", lambda path: save_png(figure, path, 120))

    def write(self, name: str, write: Callable[[pathlib.Path], Any]) -> None:
        """Writes a file by `write`, complete or not at all; the first of several processes does it."""
        if leads():
            write_whole(self.path / name, write)

    def _started(self) -> Config:
        """The config in the folder; InputError where config.json is somebody else's."""
        try:
            return self.config()
        except InputError as error:
            raise InputError(f"--workdir={self.path}: not a btjax run ({error}), expected a new folder") from error

    def _check_config(self, started: Config, config: Config, more_epochs: bool) -> None:
        found, expected = started.to_json(), config.to_json()
        free = set(_FREE)
        if more_epochs and self.checkpoints.exists("last") and config.training.epochs != started.training.epochs:
            free.add(("training", "epochs"))
        if found["system"] != expected["system"]:
            raise InputError(f"--workdir={self.path}: holds a run of {found['system']}, now {expected['system']}")
        for group, values in expected.items():
            if group == "classes":
                continue
            pairs = values.items() if isinstance(values, dict) else [(group, values)]
            for name, value in pairs:
                held = found[group][name] if isinstance(values, dict) else found[group]
                if held != value and (group, name) not in free:
                    raise InputError(
                        f"--workdir={self.path}: holds a run with {name}={held!r}, now {name}={value!r}; "
                        "resume with its own flags, or name another folder"
                    )
        if ("training", "epochs") in free:
            progress = self.checkpoints.progress("last", former=True)
            check_epochs(self.path, started.training, config.training.epochs, progress)


def check_classes(known: tuple[str, ...], found: tuple[str, ...], flag: str, run: pathlib.Path) -> None:
    """Checks that a data set has the classes that a run was trained on.

    Raises:
      InputError: it has others.
    """
    if known != found:
        raise InputError(
            f"{flag}: its {len(found)} classes are {', '.join(found)}, the run in {run} was trained on "
            f"{len(known)}: {', '.join(known)}"
        )
