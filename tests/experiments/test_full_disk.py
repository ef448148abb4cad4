"""A disk that fills up at each point of writing: one line names the file; with room, the results are the same."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.experiments.full_disk import read

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMED = {
    "cache/brain_tumours/#px_#/incomplete": ["slices cannot be prepared there"],
    "cache/features/conv_#_#/#.npy": ["features"],
    # TensorBoard's events are written beside the metrics; whichever comes first is named.
    "metrics.jsonl": ["metrics.jsonl", "tensorboard"],
}


@pytest.mark.timeout(7200)
def test_a_full_disk_is_one_line_and_costs_nothing_that_was_there(tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "tests.experiments.full_disk", str(tmp_path / "top")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=7000)
    assert done.returncode == 0, done.stderr[-3000:]
    points = read(done.stdout)
    assert len(points) >= 8
    for one in points:
        assert one.survived, one
        if not os.environ.get("BTJAX_TESTS_LONG"):
            names = NAMED.get(one.point, [one.point])
            assert one.error and any(name in one.error for name in names), one
