"""A disk that fills up at each point of writing: one line names the file; with room, the results are the same."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMED = {
    "/contents/": ["contents"],
    "incomplete": ["slices cannot be prepared there"],
    "features": ["features"],
    # TensorBoard's events are written beside the metrics; whichever comes first is named.
    "metrics.jsonl.part": ["metrics.jsonl", "tensorboard"],
}


@pytest.mark.timeout(1600)
def test_a_full_disk_is_one_line_and_costs_nothing_that_was_there(tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "tests.experiments.full_disk", str(tmp_path)]
    # Without the tests' own folder of compiled programs, which the full disk would cut off as well.
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    points = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(points) >= 7
    for point in points:
        assert point["reached"], point
        assert point["error"] is not None and "\n" not in point["error"], point
        names = NAMED.get(point["name"], [point["name"].removesuffix(".part").strip("/")])
        assert any(name in point["error"] for name in names), point
