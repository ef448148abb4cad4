"""Measures a whole run from nothing: where the seconds go that a user waits for."""

from __future__ import annotations

import collections
import contextlib
import functools
import importlib
import json
import pathlib
import tempfile
import time
from typing import TYPE_CHECKING, Any
from unittest import mock

from experiments.bench.measure import ask_once
from experiments.tables.bench import whole_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PRESETS = ("cnn_demo", "cnn_cpu")

PHASES = {
    "make synthetic heads": ("btjax.data.dataset", "make_phantom"),
    "decode and prepare": ("btjax.data.prepared", "_prepare"),
    "read the prepared copy": ("btjax.data.prepared", "_read_back"),
    "find files, notes, split": ("btjax.commands.train", "open_job"),
    "steps": ("btjax.commands.train", "fit"),
    "validation and checkpoints": ("btjax.training.loop", "Trainer._finish_epoch"),
    "predictions": ("btjax.commands.train", "predictions_of"),
    "scores": ("btjax.commands.train", "classifier_report"),
    "report": ("btjax.commands.train", "write_classifier_report"),
}
"""The functions whose time is told, each without that of the others within it."""

IMPORTS, COMPILE, REST = "imports", "compile", "rest"

_COMPILING = ("/jax/core/compile/backend_compile_duration", "/jax/core/compile/jaxpr_to_mlir_module_duration")


class Stopwatch:
    """Divides time among phases; a phase within another one stops the outer one's watch.

    Attributes:
      seconds: by phase, so far.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = collections.defaultdict(float)
        self._clock, self._phases, self._since = clock, [REST], clock()

    def _switch(self) -> None:
        now = self._clock()
        self.seconds[self._phases[-1]] += now - self._since
        self._since = now

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A part of the program that belongs to a phase."""
        self._switch()
        self._phases.append(name)
        try:
            yield
        finally:
            self._switch()
            self._phases.pop()

    def move(self, event: str, duration_secs: float, **_: Any) -> None:
        """Takes what JAX tells of a compilation out of the present phase."""
        if event in _COMPILING:
            self.seconds[COMPILE] += duration_secs
            self.seconds[self._phases[-1]] -= duration_secs

    def timed(self, name: str, function: Callable) -> Callable:
        """The function as a phase."""

        @functools.wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            with self.phase(name):
                return function(*arguments, **options)

        return run

    def forget(self, name: str) -> None:
        """Leaves out what a phase took so far."""
        self._switch()
        self.seconds.pop(name, None)

    def exact(self) -> dict[str, float]:
        """Seconds by phase, so far."""
        self._switch()
        return dict(self.seconds)

    def stop(self) -> dict[str, float]:
        """Seconds by phase, rounded, the longest first."""
        told = {name: round(value, 2) for name, value in self.exact().items()}
        return dict(sorted(told.items(), key=lambda item: -item[1]))


@contextlib.contextmanager
def watch_compiling(watch: Stopwatch, kept: pathlib.Path | None = None) -> Iterator[None]:
    """Gives the time of compiling its own phase; memory and, in a folder, programs are kept as commands keep them.

    Args:
      watch: takes the times.
      kept: the folder of compiled programs; None to keep none.
    """
    import jax

    from btjax.base.devices import COMPILED_SECONDS, keep_freed_memory

    keep_freed_memory()
    if kept is not None:
        jax.config.update("jax_enable_compilation_cache", True)
        jax.config.update("jax_compilation_cache_dir", str(kept))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", COMPILED_SECONDS)
    jax.monitoring.register_event_duration_secs_listener(watch.move)
    try:
        yield
    finally:
        jax.monitoring.unregister_event_duration_listener(watch.move)


def measure_whole(
    preset: str, place: str, data_dir: str = "", epochs: int = 0, slices: int = 0, began: float = 0.0
) -> dict[str, Any]:
    """Trains a preset and reports it, with the caches of `place`: empty at the first call, full at the second.

    Args:
      preset: of a classifier.
      place: folder of the run, the caches and, where there is no `data_dir`, of synthetic pictures.
      data_dir: the data set; "" for synthetic slices.
      epochs: how many; 0 for the preset's own.
      slices: about how many synthetic ones; 0 for the preset's own, or 300.
      began: when the process was started, by `time.time()`, so that all its imports count; 0 for now.

    Returns:
      JSON values: `seconds` by phase, `total`, `slices`, `epochs`.
    """
    watch, folder = Stopwatch(), pathlib.Path(place)
    watch.seconds[IMPORTS] += time.time() - began if began else 0.0
    with watch.phase(IMPORTS):
        import btjax

        modules = {name: importlib.import_module(module) for name, (module, _) in PHASES.items()}
    config = _config(btjax.preset(preset), folder, data_dir, slices)
    config = config.replace("training.epochs", epochs) if epochs else config
    watch.forget(REST)  # what it took to write synthetic pictures
    with contextlib.ExitStack() as stack:
        stack.enter_context(watch_compiling(watch, folder / "compiled"))
        for name, (_, path) in PHASES.items():
            *owners, attribute = path.split(".")
            owner = functools.reduce(getattr, owners, modules[name])
            timed = watch.timed(name, getattr(owner, attribute))
            stack.enter_context(mock.patch.object(owner, attribute, timed))
        run = btjax.train(config, folder / f"run_{time.time_ns()}", cache_dir=folder / "cache")
    seconds = watch.stop()
    total = round(sum(seconds.values()), 2)
    return {"seconds": seconds, "total": total, "slices": len(run.predictions.ids), "epochs": config.training.epochs}


def _config(config: Any, folder: pathlib.Path, data_dir: str, slices: int) -> Any:
    """The config with its data: a folder, the preset's own synthetic heads, or pictures of such in a folder."""
    from btjax.data.dataset import PHANTOM

    if config.data.data_dir == PHANTOM:
        patients = max(8, slices // (3 * config.data.phantom_slices))
        return config.replace("data.phantom_patients", patients) if slices else config
    place = folder / "data"
    if not data_dir and not place.exists():
        _write_pictures(place, slices or 300, config.data.image_size)
    return config.replace("data.data_dir", data_dir or str(place))


def _write_pictures(folder: pathlib.Path, slices: int, side: int) -> None:
    from PIL import Image

    from btjax.data.phantom import make_phantom

    heads = make_phantom(max(8, slices // 18), 6, side)
    for name in heads.classes:
        (folder / name).mkdir(parents=True)
    labels: Any = heads.labels
    for row, label in enumerate(labels):
        Image.fromarray(heads.images[row]).save(folder / heads.classes[label] / f"{row:05d}.png")


def measure_wholes(data_dir: str = "", epochs: int = 0, slices: int = 0) -> dict[str, Any] | None:
    """Each of PRESETS from nothing (`cold`) and once more with its caches (`warm`), a process each.

    Args:
      data_dir: see `measure_whole`; presets of synthetic heads keep these.
      epochs: see `measure_whole`.
      slices: see `measure_whole`.

    Returns:
      JSON values: `presets`, by preset `cold` and `warm`; None where a run failed.
    """
    found: dict[str, Any] = {}
    for preset in PRESETS:
        with tempfile.TemporaryDirectory() as place:
            settings = {"preset": preset, "place": place, "data_dir": data_dir, "epochs": epochs, "slices": slices}
            found[preset] = {
                caches: ask_once("whole", json.dumps(settings | {"began": time.time()})) for caches in ("cold", "warm")
            }
            if None in found[preset].values():
                return None
    return {"presets": found}


def describe_whole(result: dict[str, Any]) -> list[str]:
    """The printed lines for the figures of `whole`."""
    return [f"  {line}" for line in whole_lines(result)]
