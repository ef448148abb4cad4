"""What people import: quick, lazy, complete, and as the README says."""

import doctest
import inspect
import pathlib
import re
import subprocess
import sys

import pytest

import btjax

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_everything_that_btjax_names_is_there():
    for name in btjax.__all__:
        assert getattr(btjax, name) is not None, name
    assert set(btjax.__all__) <= set(dir(btjax))


def test_every_function_of_the_face_has_an_example_that_runs():
    for name in btjax.__all__:
        thing = getattr(btjax, name)
        if inspect.isfunction(thing):
            (*_, found) = doctest.DocTestFinder(recurse=False).find(thing, name, globs={})
            assert any(not example.options.get(doctest.SKIP) for example in found.examples), name


def loaded_after(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = ("sklearn", "scipy.stats", "matplotlib", "tensorflow_datasets", "skimage", "tensorboardX")


@pytest.mark.parametrize("statement", ["import btjax", "from btjax import Config, Slices, make_split, preset, restore"])
def test_heavy_libraries_come_when_they_are_used(statement):
    assert not {name for name in HEAVY if name in loaded_after(statement)}


def test_importing_btjax_takes_no_longer_than_importing_jax_and_flax():
    program = """
import time
began = time.perf_counter(); import btjax; own = time.perf_counter() - began
began = time.perf_counter(); import jax, flax; peers = time.perf_counter() - began
assert own < 1.3 * (own + peers), (own, peers)
assert own < peers, (own, peers)
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_the_notebook_of_the_readme_runs(tmp_path, monkeypatch, capsys, standard_promotion):
    """Its ten lines, on synthetic heads in the place of the real slices."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"## From Python\n\n```python\n(.*?)```", text, re.DOTALL)[1]
    assert len([line for line in block.splitlines() if line.strip()]) <= 10
    small = {
        '"data.data_dir", "data/cheng"': '"data.data_dir", "phantom"',
        'btjax.preset("cnn_cpu")': 'small(btjax.preset("cnn_cpu"))',
        '"runs/cnn_family"': f'"{tmp_path}/run"',
        'btjax.load("data/cheng", image_size=config.data.image_size)': "btjax.make_phantom(8, 4, 32)",
    }
    for there, here in small.items():
        assert there in block
        block = block.replace(there, here)

    def shrink(config):
        options = {
            "data.image_size": 32,
            "data.phantom_patients": 8,
            "data.phantom_slices": 4,
            "model.widths": (4, 8),
            "model.pools": 2,
            "model.dense": 8,
            "training.epochs": 1,
        }
        for name, value in options.items():
            config = config.replace(name, value)
        return config

    monkeypatch.setenv("BTJAX_CACHE", str(tmp_path))
    names = {"small": shrink}
    exec(block, names)
    assert names["maps"].shape == (4, 32, 32)
    assert re.search(r"accuracy 0\.\d+, 95% interval \(", capsys.readouterr().out)
