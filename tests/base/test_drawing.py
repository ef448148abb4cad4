"""Figures are drawn whatever a notebook or a settings file says of Matplotlib."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DRAW = """
import os, sys
from btjax.figures import style
import matplotlib
from matplotlib.figure import Figure
from btjax.reports.page import data_uri

@style.plain_text
def draw():
    figure = Figure(figsize=(1, 1))
    figure.subplots().set_title("a $ b_c $")
    return figure

figure = draw()
style.save_png(figure, sys.argv[1], 50)
pyplot = "matplotlib.pyplot" in sys.modules
print(os.environ["MPLBACKEND"], matplotlib.rcParams["backend"], data_uri(figure)[:18], pyplot)
"""


def draw(tmp_path, backend, settings="") -> list[str]:
    (tmp_path / "matplotlibrc").write_text(settings)
    program = DRAW
    environment = os.environ | {"MPLBACKEND": backend, "MATPLOTLIBRC": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, str(tmp_path / "x.png")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("backend", "kept"),
    [("inline", None), ("no-such-backend", "agg"), ("module://no_such.backend", "module://no_such.backend"),
     ("TkAgg", "tkagg")],
)  # fmt: skip
def test_a_backend_that_is_not_there_breaks_nothing_and_one_that_is_known_stays(tmp_path, backend, kept):
    variable, found, kind, pyplot = draw(tmp_path, backend)
    assert (variable, kind, pyplot) == (backend, "data:image/svg+xml", "False")
    assert kept is None or found.lower() == kept


def test_settings_of_the_user_do_not_change_the_figures(tmp_path):
    draw(tmp_path, "agg")
    plain = (tmp_path / "x.png").read_bytes()
    draw(tmp_path, "agg", "text.usetex: True\naxes.facecolor: black\nsavefig.bbox: tight\n")
    assert (tmp_path / "x.png").read_bytes() == plain
