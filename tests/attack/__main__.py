"""Counts what became of bad inputs, flipped bits and kills, and writes it to attack.json."""

from __future__ import annotations

import argparse
import collections
import ctypes
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import Any

import btjax
from btjax.base.files import read_json, write_json
from tests.attack.flips import count_flips
from tests.attack.inputs import attacks
from tests.attack.kills import COMMANDS, ROOT, Stage, count_kills
from tests.attack.outcome import READ, REFUSED, WRONG, Attack, outcome
from tests.experiments.full_disk import read
from tests.readers import forms

SECONDS = 60
"""The longest that an input may take."""
LIMIT_MIB = 1500
"""More than any input may take beyond what the process has: the limits let one slice of 4096 x 4096 numbers through."""


class TooLong(BaseException):
    """An input is still being worked on after SECONDS; no `Exception`, which btjax would take for a refusal."""


def small_run(folder: pathlib.Path) -> btjax.Run:
    """A classifier of 32 x 32 pixels, trained for an epoch on 40 made-up slices."""
    forms.write_manifest(folder / "data", forms.make_slices(40))
    config = btjax.preset("cnn_demo").replace("training.epochs", 1).replace("data.data_dir", str(folder / "data"))
    config = config.replace("data.image_size", 32).replace("data.protocol", "slice")
    return btjax.train(config, folder / "run", cache_dir=folder / "cache")


def timed(attack: Attack) -> tuple[str, str, float]:
    """What became of an input, the message, and the largest memory of the process meanwhile beyond that before, MiB."""

    def late(*_: Any) -> None:
        raise TooLong(f"not done after {SECONDS} s")

    ctypes.CDLL(None).malloc_trim(0)  # memory that was freed and kept would serve the input unseen
    before = _resident("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # begins the peak anew
    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        what, message = outcome(attack)
    finally:
        signal.alarm(0)
    return what, message, _resident("VmHWM") - before


def _resident(name: str) -> float:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def count_inputs(folder: pathlib.Path, count: int, seed: int) -> dict[str, Any]:
    """Kind of input -> how many were read, refused, wrong; the peak memory; and every wrong one in words."""
    run, wrong, peak = small_run(folder), [], 0.0
    table: dict[str, collections.Counter] = {}
    for number, attack in enumerate(attacks(folder / "inputs", run, count, seed)):
        what, message, memory = timed(attack)
        table.setdefault(attack.kind, collections.Counter())[what] += 1
        peak = max(peak, memory)
        if what == WRONG:
            wrong.append(f"{number} {attack.kind}: {attack.name}: {message[:300]}")
            print(wrong[-1], flush=True)
        shutil.rmtree(folder / "inputs" / str(number), ignore_errors=True)
    kinds = {kind: {what: counts[what] for what in (READ, REFUSED, WRONG)} for kind, counts in table.items()}
    return {"kinds": kinds, "wrong": wrong, "peak_mib": round(peak), "limit_mib": LIMIT_MIB}


def count_full_disks(folder: pathlib.Path) -> dict[str, Any]:
    """Command -> the points at which its disk filled up, and in words where that went wrong."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.experiments.full_disk", str(folder)]
    environment = os.environ | {"BTJAX_TESTS_LONG": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    table: dict[str, Any] = {}
    for one in read(done.stdout):
        row = table.setdefault(one.command, {"points": [], "wrong": []})
        row["points"].append(one.point)
        if not one.survived:
            row["wrong"].append(str(one))
            print(one, flush=True)
    return table


def main() -> None:
    """Parses the flags, attacks, and prints what became of it."""
    parser = argparse.ArgumentParser(prog="scripts/attack", description=__doc__)
    parser.add_argument("--workdir", required=True, type=pathlib.Path, help="attack.json is written there")
    parser.add_argument("--inputs", type=int, default=1000, help="bad inputs")
    parser.add_argument("--flips", type=int, default=200, help="bits flipped in files of a run and of its caches")
    parser.add_argument("--full_disks", type=int, default=1, help="0 leaves out the disks that fill up")
    parser.add_argument("--kills", type=int, default=100, help="trainings, each killed twice")
    parser.add_argument("--other_kills", type=int, default=20, help="kills of each other command")
    parser.add_argument("--commands", default=",".join(COMMANDS), help="which commands are killed")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    flags.workdir.mkdir(parents=True, exist_ok=True)
    path = flags.workdir / "attack.json"
    found = read_json(path) if path.exists() else {"schema": 1, "kills": {}}
    with tempfile.TemporaryDirectory() as folder:
        top = pathlib.Path(folder)
        if flags.inputs:
            found["inputs"] = {"seed": flags.seed, **count_inputs(top, flags.inputs, flags.seed)}
            write_json(path, found)
        if flags.flips:
            found["flips"] = {"seed": flags.seed, **count_flips(top / "flips", flags.flips, flags.seed)}
            write_json(path, found)
        if flags.full_disks:
            found["full_disks"] = count_full_disks(top / "full_disks")
            write_json(path, found)
        stage = Stage(top / "stage") if flags.kills or flags.other_kills else None
        for name in flags.commands.split(","):
            count, kills = (flags.kills, 2) if name == "train" else (flags.other_kills, 1)
            if stage is not None and count:
                wrong = count_kills(stage, name, count, flags.seed, kills)
                found["kills"][name] = {"count": count, "kills": kills, "wrong": wrong}
                write_json(path, found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
