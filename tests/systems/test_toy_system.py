"""A system that nobody else's file knows: one network, one record, one flags file, and everything works with it."""

import os
import pathlib
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import btjax
from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.nn.chain import run_chain
from btjax.nn.network import check_network
from btjax.runs.report import ClassifierReport

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Toy(nn.Module):
    """One convolution with batch normalisation, its mean, and the logits."""

    width: int = option(4, "filters of the convolution", minimum=1)
    classes: int = 3
    activation: object = nn.relu
    layers = ("conv", "mean", "logits")
    composite = ("conv",)
    frozen = ()

    @nn.compact
    def __call__(self, inputs, *, train=False, counted=None, start=None, stop=None):
        class Conv(nn.Module):
            width: int
            activation: object

            @nn.compact
            def __call__(self, hidden, train, counted):
                hidden = nn.Conv(self.width, (3, 3), (2, 2))(hidden)
                mask = None if counted is None else counted[:, None, None, None]
                return self.activation(nn.BatchNorm(use_running_average=not train)(hidden, mask=mask))

        stages = [
            ("conv", lambda hidden: Conv(self.width, self.activation, name="conv")(hidden, train, counted)),
            ("mean", lambda hidden: hidden.mean(axis=(1, 2))),
            ("logits", lambda hidden: nn.Dense(self.classes, name="logits")(hidden)),
        ]
        return run_chain(stages, inputs, start, stop)

    def check(self, image_size):
        if image_size < 8:
            raise InputError(f"--image_size={image_size}: expected at least 8")

    def penalty(self, params):
        return jnp.float32(0)


TOY = btjax.System("toy", "Toy", "a test of btjax", Toy)
FLAGS = """
--system=toy
--data_dir=phantom
--phantom_patients=6
--phantom_slices=3
--image_size=32
--protocol=patient
--colour=grey
--width=6
--batch_size=8
--epochs=3
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    (folder / "toy.flags").write_text(FLAGS)
    btjax.register(TOY)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        config = btjax.preset(str(folder / "toy.flags"))
        return config, btjax.train(config, folder / "run", cache_dir=folder / "cache")


@pytest.fixture(autouse=True)
def lenient():
    """The toy is written as people write networks; only btjax's own code promises strict promotion."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_the_toy_keeps_the_protocol():
    check_network(Toy(), 32, 1)


def test_its_options_are_its_fields_and_its_preset_sets_them(trained):
    config, _ = trained
    assert config.model.width == 6 and config.system == "toy" and config.model.classes == 3


def test_it_reports_with_intervals_and_keeps_its_predictions(trained):
    _, run = trained
    report = run.report
    assert isinstance(report, ClassifierReport) and report.title == "Toy"
    assert report.test.accuracy_ci95 is not None and report.test.slices == len(run.predictions.side("test"))
    assert run.predictions.side("test").accuracy == pytest.approx(report.test.accuracy)
    assert (run.folder / "report.html").read_text().count("Toy") >= 1


def test_it_is_restored_and_predicts_what_it_kept(trained):
    config, run = trained
    slices = load(config)
    again = btjax.restore(run.folder)
    np.testing.assert_allclose(again.logits(slices.images), run.predictions.logits, rtol=1e-4, atol=1e-5)
    assert again.variables["batch_stats"]["conv"]


def test_it_resumes_to_the_same_predictions(trained, tmp_path):
    config, run = trained
    btjax.train(config.replace("training.epochs", 1), tmp_path / "short", cache_dir=tmp_path)
    with pytest.raises(InputError, match=r"seed=\d+, now seed=77"):
        btjax.train(config.replace("seed", 77), tmp_path / "short", resume=True, cache_dir=tmp_path)
    extended = btjax.train(config, tmp_path / "short", resume=True, cache_dir=tmp_path)
    assert np.array_equal(extended.predictions.logits, run.predictions.logits)

    class Stop(btjax.Observer):
        def on_epoch(self, progress):
            if progress.epoch == 1:
                os.kill(os.getpid(), 15)

    from btjax.training.progress import Interrupted

    with pytest.raises(Interrupted):
        btjax.train(config, tmp_path / "run", observer=Stop(), cache_dir=tmp_path)
    resumed = btjax.train(config, tmp_path / "run", resume=True, cache_dir=tmp_path)
    assert np.array_equal(resumed.predictions.logits, run.predictions.logits)


def test_it_is_evaluated_again_with_the_same_numbers(trained):
    _config, run = trained
    before = run.report.test
    assert btjax.evaluate(run).test == before


@pytest.mark.parametrize("method", ["gradient", "grad_cam", "integrated_gradients", "occlusion", "guided_backprop"])
def test_it_is_explained(trained, method):
    config, run = trained
    slices = load(config)
    maps = btjax.explain(run, slices.images[:2], method)
    assert maps.shape == (2, 32, 32) and np.isfinite(maps).all() and np.any(maps)


def test_relevance_propagation_refuses_it_and_names_the_stage(trained):
    config, run = trained
    slices = load(config)
    with pytest.raises(InputError, match="'conv'"):
        btjax.explain(run, slices.images[:1], "lrp_epsilon")


def test_the_command_line_trains_a_system_of_another_file(tmp_path):
    """`experiments.train` finds what a module registered before it runs."""
    (tmp_path / "toy.flags").write_text(FLAGS)
    program = textwrap.dedent(
        """
        import sys
        from tests.systems.test_toy_system import TOY
        import btjax
        btjax.register(TOY)
        from experiments.train import run_system
        run_system(None, "toy")
        """
    )
    arguments = [f"--flagfile={tmp_path / 'toy.flags'}", f"--workdir={tmp_path / 'run'}", "--epochs=1"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, f"--cache_dir={tmp_path}"],
        cwd=ROOT, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout


def load(config):
    from btjax.data.dataset import load_data

    return load_data(config.data).slices
