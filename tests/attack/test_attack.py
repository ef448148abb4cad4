"""A part of the attack: bad inputs of every kind, no use of the network, and that the attack tells right from wrong."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

import btjax
from btjax.base.errors import foreign
from btjax.commands.saliency import saliency
from btjax.studies.subject import SaliencyConfig
from tests.attack.__main__ import small_run, timed
from tests.attack.inputs import attacks
from tests.attack.kills import left
from tests.attack.outcome import READ, REFUSED, WRONG, Attack, damage, outcome
from tests.readers import forms

pytestmark = pytest.mark.usefixtures("standard_promotion")

ROOT = pathlib.Path(__file__).resolve().parents[2]
COUNT = 10_000 if os.environ.get("BTJAX_TESTS_LONG") else 207

_watched: list[str] | None = None


def _watch(event: str, arguments: tuple) -> None:
    if _watched is not None and event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system"):
        _watched.append(f"{event} {arguments}")


sys.addaudithook(_watch)


@pytest.mark.timeout(7200)
def test_no_bad_input_ends_in_anything_but_sound_slices_or_one_line(tmp_path):
    # In a process of its own, whose memory is that of the inputs alone.
    others = [f"--{name}=0" for name in ("flips", "full_disks", "kills", "other_kills")]
    flags = [f"--workdir={tmp_path}", f"--inputs={COUNT}", "--seed=1", *others]
    command = [sys.executable, "-W", "ignore", "-m", "tests.attack", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=7000)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "attack.json").read_text())["inputs"]
    assert found["wrong"] == []
    assert found["peak_mib"] < found["limit_mib"]
    assert len(found["kinds"]) == 9
    assert sum(sum(counts.values()) for counts in found["kinds"].values()) == COUNT
    assert sum(counts[REFUSED] for counts in found["kinds"].values()) > COUNT // 2


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda: None, (READ, "")),
        (lambda: forms.find_source("/nowhere/at/all"), REFUSED),
        (lambda: [][0], (WRONG, "IndexError: list index out of range")),
    ],
)
def test_what_became_of_an_input_is_told_apart(act, expected):
    found = outcome(Attack("kind", "name", act))
    assert found == expected if isinstance(expected, tuple) else found[0] == expected


def test_the_memory_of_an_input_is_measured_also_where_freed_memory_could_serve_it():
    def act():
        np.ones(100 << 17).sum()  # 100 MiB of float64

    pieces = [bytes(1000) for _ in range(300_000)]
    last = pieces.pop()  # keeps the allocator from giving the freed pieces back by itself
    del pieces
    *_, memory = timed(Attack("kind", "name", act))
    assert 90 < memory < 200, len(last)


def test_an_input_that_takes_too_long_is_wrong_also_within_another_library(monkeypatch):
    def act():
        with foreign("scan.png", "an image"):
            time.sleep(20)

    monkeypatch.setattr("tests.attack.__main__.SECONDS", 1)
    assert timed(Attack("kind", "name", act))[:2] == (WRONG, "TooLong: not done after 1 s")


def test_damage_changes_what_it_says(tmp_path):
    data = bytes(range(256)) * 4
    for seed in range(40):
        changed, how = damage(data, np.random.default_rng(seed))
        same = {"cut": data.startswith(changed), "longer": changed[: len(data)] == data, "twice": changed == data * 2}
        assert same.get(how, changed != data), how


def test_the_same_seed_makes_the_same_inputs(tmp_path):
    run = small_run(tmp_path / "made")
    names = [[attack.name for attack in attacks(tmp_path / str(n), run, 18, seed=3)] for n in range(2)]
    assert names[0] == names[1]


def test_nothing_reaches_the_network_or_starts_a_program_unasked(tmp_path):
    global _watched
    _watched = []
    try:
        run = small_run(tmp_path)
        forms.write_classes(tmp_path / "images", forms.make_slices(4))
        btjax.predict_into(run, tmp_path / "images", tmp_path / "predicted", explain=("gradient",))
        few = SaliencyConfig(methods=("gradient",), checked_slices=3)
        saliency(run.folder, tmp_path / "saliency", few, cache_dir=tmp_path / "cache")
    finally:
        seen, _watched = _watched, None
    assert seen == []


def test_what_a_command_left_is_compared_without_times_and_places(tmp_path):
    run = small_run(tmp_path)
    before = left(run.folder)
    copy = pathlib.Path(shutil.copytree(run.folder, tmp_path / "copy"))
    assert left(copy) == before
    assert {"report.json", "predictions.npz", "metrics.jsonl", "weights"} <= {
        name.rpartition("/")[2] for name in before
    }
    rows = (copy / "metrics.jsonl").read_text().replace('"epoch": 1', '"epoch": 2')
    (copy / "metrics.jsonl").write_text(rows)
    assert left(copy) != before
