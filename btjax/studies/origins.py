"""What a stage was made from: it is recorded beside it, and anything else is refused later."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from btjax.base.digests import content_digest
from btjax.base.errors import InputError
from btjax.base.files import read_json, write_json
from btjax.runs.folder import RunFolder
from btjax.training.hosts import leads
from btjax.training.progress import Progress, is_finished

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping

    from btjax.runs.run import Run
    from btjax.studies.data import Divided
    from btjax.systems.config import Config

MADE_OF = ".made_of.json"
"""Hidden: a folder that holds it alone, of a run stopped before its first file, still counts as new."""


def require_finished(folder: pathlib.Path, stage: str) -> None:
    """Checks that a run was trained to its end before something is made from it.

    Args:
      folder: of the run.
      stage: what needs it, for the error.

    Raises:
      InputError: it was stopped before its last epoch.
    """
    place = RunFolder(folder)
    if not place.checkpoints.exists("last"):
        if place.concluded:
            return
        raise InputError(f"--stage={stage}: the run in {folder} is unfinished, without a whole epoch; --resume goes on")
    training, progress = place.config().training, Progress.of(place.checkpoints.progress("last"), folder)
    if not is_finished(training, progress):
        raise InputError(
            f"--stage={stage}: the run in {folder} is unfinished, at epoch {progress.epoch} of {training.epochs}; "
            "expected a finished one: --resume goes on with it"
        )


def check_options(folder: pathlib.Path, config: Config) -> None:
    """Checks that a run was started with a config's seed, data set and split, as far as its options tell.

    Raises:
      InputError: with others.
    """
    started = RunFolder(folder).config()
    pairs = {"seed": (started.seed, config.seed)}
    for field in dataclasses.fields(config.data):
        pairs[field.name] = getattr(started.data, field.name), getattr(config.data, field.name)
    del pairs["data_dir"]  # the same data set may stand elsewhere
    for name, (held, given) in pairs.items():
        if held != given:
            raise InputError(
                f"--{name}={given}: the run in {folder} was trained with --{name}={held}; expected its own flags, or "
                "another folder"
            )


def check_data(folder: pathlib.Path, config: Config, data: Divided) -> None:
    """Checks that a run was trained on these slices and rows; InputError otherwise."""
    flag = f"--data_dir={config.data.data_dir}"
    RunFolder(folder).check_data(config, data.split, data.slices.fingerprint, flag)


def content_of(run: Run) -> str:
    """64 hexadecimal digits of the variables that a run's validation chose."""
    return content_digest(run.variables)


def record(folder: pathlib.Path, runs: Mapping[str, Run]) -> None:
    """Writes down what the stage in a folder is made from: the contents of these runs."""
    if leads():
        write_json(folder / MADE_OF, {name: content_of(run) for name, run in runs.items()})


def forget(folder: pathlib.Path) -> None:
    """Removes the record of a stage that is about to be made anew."""
    if leads():
        (folder / MADE_OF).unlink(missing_ok=True)


def recorded(folder: pathlib.Path) -> dict[str, Any] | None:
    """What was written down, or None; InputError where it is damaged."""
    path = folder / MADE_OF
    if not path.exists():
        return None
    values = read_json(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {type(values).__name__}, expected what the stage was made from")
    return values


def check_made_of(folder: pathlib.Path, runs: Mapping[str, Run], stage: str) -> None:
    """Checks that the stage in a folder was made from runs as they are now.

    Args:
      folder: of the stage.
      runs: by name.
      stage: which makes it, for the error.

    Raises:
      InputError: one of them was trained anew or further since, or there is no record.
    """
    found = recorded(folder)
    if found is None:
        raise InputError(f"{folder}: no record of what it was made from; run --stage={stage} again")
    for name, run in runs.items():
        if found.get(name) != content_of(run):
            raise InputError(
                f"{folder}: made from another {name} than the one in {run.folder}, which was trained anew or further "
                f"since; run --stage={stage} again"
            )
