"""The network of CONTRIBUTING.md is what it says: complete."""

import importlib.util
import pathlib
import re
import sys

import jax
import pytest

import btjax
from btjax.nn.network import check_network
from btjax.systems import system as records

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def blocks():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    python = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    flags = re.findall(r"```\n(#.*?)```", text, re.DOTALL)
    assert len(python) == 2 and len(flags) == 1
    return *python, *flags


def test_the_three_files_of_the_guide_make_a_system_that_trains(blocks, tmp_path, monkeypatch):
    network, record, flags = blocks
    for name, source in (("btjax.models.tiny", network), ("btjax.systems.tiny", record)):
        path = tmp_path / f"{name.split('.')[-2]}_tiny.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
    monkeypatch.setitem(records._REGISTERED, "tiny", sys.modules["btjax.systems.tiny"].SYSTEM)
    (tmp_path / "tiny_cpu.flags").write_text(flags)
    config = btjax.preset(str(tmp_path / "tiny_cpu.flags"))
    for name, value in {
        "data.data_dir": "phantom",
        "data.phantom_patients": 8,
        "data.phantom_slices": 2,
        "data.image_size": 32,
        "training.epochs": 1,
        "preprocessing.colour": "grey",
    }.items():
        config = config.replace(name, value)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        check_network(config.model, 32, 1)
        run = btjax.train(config, tmp_path / "run", cache_dir=tmp_path)
        assert run.report.title == "Tiny"
        slices = btjax.make_phantom(1, 1, 32)
        assert btjax.explain(run, slices.images, "lrp_epsilon").shape == (3, 32, 32)
