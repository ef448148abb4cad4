"""The saliency experiment: maps of a run's test slices, their scores and checks, figures and the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from btjax.base.devices import require_devices
from btjax.base.errors import InputError
from btjax.base.files import check_writable, expanded, make_folder, read_json, strangers, write_json
from btjax.base.folders import held
from btjax.base.progress import Observer, told
from btjax.reports.saliency import drawn_rows, write_saliency_report
from btjax.runs.folder import RunFolder
from btjax.runs.run import restore
from btjax.studies.data import divide, load_slices
from btjax.studies.maps import compute_all_maps
from btjax.studies.saliency import Explained, saliency_report, settings, with_newer_options
from btjax.studies.subject import (
    SaliencyConfig,
    Subject,
    chosen_methods,
    explained_rows,
    open_permuted,
    open_subject,
    require_network,
)

if TYPE_CHECKING:
    import os
    import pathlib
    from collections.abc import Sequence

    from btjax.studies.maps import Maps
    from btjax.studies.saliency_rows import SaliencyReport


SETTINGS, _MAPS = "settings.json", "maps"


def saliency(
    checkpoint: str | os.PathLike,
    folder: str | os.PathLike,
    config: SaliencyConfig,
    *,
    data_dir: str | None = None,
    permuted_checkpoint: str | os.PathLike | None = None,
    slices: Sequence[str] = (),
    observer: Observer | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> SaliencyReport:
    """Explains a finished run's test slices and measures the maps.

    Args:
      checkpoint: folder of the classifier's run.
      folder: takes the maps, saliency.json, saliency.html and figures/; a stopped command goes on with its maps.
      config: what is explained, and how much of it.
      data_dir: where the data set stands now; None for where the run found it.
      permuted_checkpoint: the same network trained on permuted labels, or None.
      slices: ids of the test slices to draw; none for two of each class.
      observer: is told of data, methods and messages.
      cache_dir: where prepared slices are kept.

    Raises:
      InputError: no run there, no network to explain, other data than it was trained on, or an unknown method.
    """
    require_devices()
    out = expanded(folder)
    check_new(out)
    with told(observer) as watching, held(out, watching):
        subject = open_run(expanded(checkpoint), config, data_dir, watching, cache_dir)
        permuted = open_permuted(subject, expanded(permuted_checkpoint)) if permuted_checkpoint else None
        methods, left_out = chosen_methods(config, subject)
        rows = drawn_rows(subject, [explained_rows(config, subject, method) for method in methods], slices)
        claim(out, settings(subject, config))
        for line in _announcement(subject, len(methods), left_out):
            watching.on_message(line)
        maps = compute_all_maps(config, subject, methods, out / _MAPS, watching.on_data)
        explained = Explained(config, subject, methods, maps, permuted)
        report, values = saliency_report(explained, left_out, watching.on_data)
        write_saliency_report(RunFolder(out), report, values, explained, rows)
        write_json(out / "saliency.json", msgspec.to_builtins(report))
        for line in _zero_lines(report, maps):
            watching.on_message(line)
        return report


def _announcement(subject: Subject, methods: int, left_out: dict[str, str]) -> list[str]:
    """What is said before the maps are computed."""
    lines = [f"{methods} methods, {len(subject.tested)} test slices, {subject.data.form}"]
    lines += [f"left out: {name}: {reason}" for name, reason in left_out.items()]
    if subject.tested.masks is None:
        lines.append("this form of the data set has no masks: maps and gallery only, scores need masks")
    return lines


def _zero_lines(report: SaliencyReport, maps: dict[str, Maps]) -> list[str]:
    """Says which methods gave maps that are zero everywhere, which say nothing and score as chance does."""
    return [
        f"{name}: {count} of its {len(maps[name][0])} maps are zero everywhere"
        for name, count in report.zero_maps.items()
    ]


def open_run(
    folder: pathlib.Path,
    config: SaliencyConfig,
    data_dir: str | None,
    observer: Observer,
    cache_dir: str | os.PathLike | None,
) -> Subject:
    """Restores a run, loads its data, and checks that these are the data that it was trained on."""
    run = restore(folder)
    require_network(run, f"--checkpoint={folder}")
    own = run.config if not data_dir else run.config.replace("data.data_dir", data_dir)
    data = divide(own, load_slices(own, observer, cache_dir))
    flag, slices = f"--data_dir={own.data.data_dir}", data.slices
    RunFolder(folder).check_data(own.with_classes(slices.classes), data.split, slices.fingerprint, flag)
    return open_subject(run, data, config.arithmetic)


def check_new(folder: pathlib.Path) -> None:
    """Checks that a folder can be written, and is empty unless it has settings of maps; see `claim`."""
    check_writable(folder, "--workdir=")
    if (folder / SETTINGS).exists():
        return
    others = [path for path in strangers(folder) if path.name != _MAPS or not path.is_dir() or any(path.iterdir())]
    if others:  # an empty folder of maps is left by a command that was killed at its beginning
        raise InputError(f"--workdir={folder}: not empty (found {others[0].name}); expected a new folder")


def claim(folder: pathlib.Path, about: dict[str, Any]) -> None:
    """Makes the folder for these settings, or goes on in one that was made for the same.

    Raises:
      InputError: the folder holds something else.
    """
    path = folder / SETTINGS
    # What changes no map may change: maps that are there stay true.
    free = ("methods", "batch_size", "checked_slices")
    kept = about | {"saliency": {name: value for name, value in about["saliency"].items() if name not in free}}
    if path.exists() and with_newer_options(read_json(path)) != kept:
        raise InputError(f"--workdir={folder}: holds maps of another run or of other settings; name another folder")
    check_new(folder)
    make_folder(folder, "--workdir=")
    write_json(path, kept)
    make_folder(folder / _MAPS, "--workdir=")
