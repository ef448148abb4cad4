"""Commands that are killed at random moments and begun again: what they leave is what an undisturbed one leaves."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import pathlib
import runpy
import shutil
import signal
import sys
import time
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from tests.readers import forms

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = ("--image_size=32", "--epochs=3", "--batch_size=8")
SPACE = "--dense=2..6\n--learning_rate=0.001..0.1 log\n"
WAIT = 280.0


@dataclasses.dataclass(frozen=True)
class Command:
    """A command that is killed.

    Attributes:
      module: of experiments.
      flags: with {data}, {run}, {images} and {cache} to be filled in.
      resume: the flag that goes on from what a killed one left; "" where the same command does.
    """

    module: str
    flags: tuple[str, ...]
    resume: str = ""


_CNN = ("--data_dir={data}", "--preset=cnn_demo", *SMALL)
_PATIENTS = ("--data_dir=phantom", "--phantom_patients=8", "--phantom_slices=3", *SMALL)
_KEPT = ("--checkpoint={run}",)
COMMANDS = {
    "train": Command(
        "cnn", ("--flagfile=experiments/flags/cnn_demo.flags", *_CNN[:1], *SMALL, "--protocol=slice"), "--resume"
    ),
    "unet": Command(
        "unet",
        (
            *_PATIENTS,
            "--width=4",
            "--classifier_epochs=3",
            "--keep_every=1",
            "--select=validation_accuracy",
            "--protocol=patient",
        ),
        "--resume",
    ),
    "saliency": Command("saliency", (*_KEPT, "--methods=gradient,grad_cam,rise", "--checked_slices=3")),
    "links": Command("links", ("--data_dir={data}",)),
    "ladder": Command(
        "ladder", ("--preset=cnn_demo", *_PATIENTS, "--protocols=slice,patient", "--seeds=0", "--folds=2")
    ),
    "search": Command("search", (*_CNN, "--space={space}", "--trials=3", "--protocol=slice")),
    "export": Command("export", (*_KEPT, "--to=stablehlo,safetensors")),
    "predict": Command("predict", (*_KEPT, "--images={images}", "--explain=gradient"), "--resume"),
}


def preloaded() -> multiprocessing.context.ForkServerContext:
    """Processes that begin with everything imported, so that a kill falls into the work and not into imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.attack.preload"])
    return context


def make_places(top: pathlib.Path) -> dict[str, str]:
    """Writes a small data set, pictures and a space to search; where they are, and where run and cache will be."""
    top.mkdir(parents=True)
    (top / "space").write_text(SPACE)
    forms.write_manifest(top / "data", forms.make_slices(40))
    forms.write_classes(top / "images", forms.make_slices(30))
    return {name: str(top / name) for name in ("data", "run", "images", "cache", "space")}


def begun(folder: pathlib.Path) -> bool:
    """Whether a stopped command left something that its flag to resume goes on from."""
    return any(folder.rglob("config.json")) or (folder / "answers.jsonl").exists()


def _main(module: str, arguments: list[str], log: str) -> None:
    os.setsid()
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.chdir(ROOT)
    sys.argv = [f"experiments/{module}.py", *arguments]
    runpy.run_module(f"experiments.{module}", run_name="__main__", alter_sys=True)


class Stage:
    """A folder with a small data set, a finished run and pictures, on which commands run and are killed."""

    def __init__(self, top: pathlib.Path) -> None:
        self.top, self.context, self.places = top, preloaded(), make_places(top)
        status, text = self.end(self.start(COMMANDS["train"], top / "run"), top / "run")
        assert status == 0, text

    def start(self, command: Command, folder: pathlib.Path, again: bool = False) -> Any:
        """Starts a command on a folder of its own."""
        flags = [flag.format(**self.places) for flag in command.flags]
        flags += [f"--workdir={folder}", f"--cache_dir={self.places['cache']}"]
        flags += [command.resume] if again and command.resume else []
        process = self.context.Process(target=_main, args=(command.module, flags, f"{folder}.log"))
        process.start()
        return process

    def end(self, process: Any, folder: pathlib.Path) -> tuple[int | None, str]:
        """Waits for it: its exit status, None where it does not end, and the last line it wrote."""
        process.join(WAIT)
        if process.exitcode is None:
            _kill(process)
            return None, "did not end"
        lines = pathlib.Path(f"{folder}.log").read_text(errors="replace").replace("\r", "\n").strip().splitlines()
        return process.exitcode, lines[-1] if lines else ""

    def killed(
        self, command: Command, folder: pathlib.Path, whole: float, kills: int, random: np.random.Generator
    ) -> str:
        """Kills a command at random moments of `whole` seconds, then lets it end; what went wrong, or ""."""
        again = False
        for _ in range(kills):
            process = self.start(command, folder, again)
            time.sleep(whole * random.uniform(0.02, 1.0))
            _kill(process)
            again = begun(folder)
        status, text = self.end(self.start(command, folder, again), folder)
        return "" if status == 0 else f"exit status {status}: {text}"


def _kill(process: Any) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # it has ended, or has no group of its own yet
        process.kill()
    process.join()


PASSED = (
    *("tensorboard", "checkpoints/", "composed/final/", "composed/left/", "composed/right/"),
    *(".html", "queue", ".log", ".lock", ".btjax.id"),
)
"""Parts of names of files that differ from run to run, or are compared otherwise."""
TIMES = ("seconds", "sha256", "created", "time", "minutes", "started")


def left(folder: pathlib.Path) -> dict[str, str]:
    """What a command left: the content of each of its files by name, without times, logs and pages made of the rest."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or any(part in name for part in PASSED):
            continue
        if path.suffix == ".json":
            content: Any = _timeless(json.loads(path.read_text()), folder)
        elif path.suffix == ".jsonl":
            content = sorted(json.dumps(_timeless(json.loads(row), folder)) for row in path.read_text().splitlines())
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                content = {key: hashlib.sha256(arrays[key].tobytes()).hexdigest() for key in arrays}
        elif path.suffix == ".safetensors":  # the library writes the header's entries in no order
            data = path.read_bytes()
            end = 8 + int.from_bytes(data[:8], "little")
            content = [json.loads(data[8:end]), hashlib.sha256(data[end:]).hexdigest()]
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[name] = json.dumps(content, sort_keys=True)
    for config in folder.rglob("config.json"):
        if (config.parent / "checkpoints").is_dir():
            found[str(config.parent.relative_to(folder) / "weights")] = _weights(config.parent)
    for place in folder.glob("composed/*/"):  # of models without a config the checksums of all leaves
        newest = max(place.glob("[0-9]*"), key=lambda one: int(one.name) if one.name.isdigit() else -1)
        metadata = json.loads((newest / "_CHECKPOINT_METADATA").read_text())
        found[str(place.relative_to(folder))] = json.dumps(metadata["custom_metadata"]["checksums"], sort_keys=True)
    return found


def _timeless(values: Any, folder: pathlib.Path) -> Any:
    if isinstance(values, dict):
        return {name: _timeless(one, folder) for name, one in values.items() if not name.endswith(TIMES)}
    if isinstance(values, list):
        return [_timeless(one, folder) for one in values]
    return values.replace(str(folder), "") if isinstance(values, str) else values


def _weights(folder: pathlib.Path) -> str:
    import btjax
    from btjax.base.digests import content_digest

    return content_digest(btjax.Run(folder).variables)


def count_kills(stage: Stage, name: str, count: int, seed: int = 0, kills: int = 1) -> list[str]:
    """Kills a command `count` times; a line for each that did not end as an undisturbed one."""
    random, wrong, top = np.random.default_rng(seed), [], stage.top / "killed" / name
    top.mkdir(parents=True)
    command, whole = COMMANDS[name], top / "whole"
    began = time.monotonic()
    status, text = stage.end(stage.start(command, whole), whole)
    assert status == 0, text
    seconds, expected = time.monotonic() - began, left(whole)
    for number in tqdm(range(count), desc=name, unit="kill"):
        folder = top / str(number)
        problem = stage.killed(command, folder, seconds, kills, random)
        found = {} if problem else left(folder)
        other = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        if problem or other:
            wrong.append(f"{name} {number}: {problem or 'other content in ' + ', '.join(other)}")
            tqdm.write(wrong[-1])
        else:
            shutil.rmtree(folder)
    return wrong
