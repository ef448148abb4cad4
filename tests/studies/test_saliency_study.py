"""A saliency study in this process: what its programs and passes are shared by."""

import numpy as np
import pytest

import btjax
from btjax.commands.saliency import saliency
from btjax.saliency.maps import maps_of_batch
from btjax.studies import maps as maps_module
from btjax.studies import saliency as study
from btjax.studies.subject import SaliencyConfig

FAMILY = ("smooth_grad", "smooth_grad_squared", "var_grad")
FEW = {"samples": 4, "sampled_slices": 5, "costly_slices": 3, "checked_slices": 3, "batch_size": 3}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = btjax.preset("cnn_demo").replace("training.epochs", 1).replace("data.phantom_patients", 8)
    return btjax.train(config.replace("data.image_size", 32), tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def explained(run, tmp_path_factory):
    """The maps of the family beside another method's, and how many programs the study held when it let them go."""
    held, folder = [], tmp_path_factory.mktemp("explained")
    with pytest.MonkeyPatch.context() as patch:
        for module in (maps_module, study):
            patch.setattr(module, "let_programs_go", lambda: held.append(maps_of_batch._cache_size()))
        maps_of_batch.clear_cache()
        report = saliency(run.folder, folder, SaliencyConfig(methods=("gradient", *FAMILY), **FEW))
    return folder, report, held


def kept(folder, name):
    return np.load(folder / "maps" / f"{name}.npy")


def test_a_family_is_explained_as_each_of_its_methods_alone(run, explained, tmp_path):
    folder, report, _ = explained
    for name in FAMILY:
        saliency(run.folder, tmp_path / name, SaliencyConfig(methods=(name,), **FEW))
        alone = kept(tmp_path / name, name)
        np.testing.assert_allclose(kept(folder, name), alone, rtol=1e-3, atol=1e-5 * alone.max(), err_msg=name)
    told = {row.method for row in report.faithfulness.rows if row.score == "max_sensitivity"}
    assert told == {"gradient", *FAMILY}


def test_what_is_kept_of_a_family_is_not_computed_again(run, explained, tmp_path):
    folder, _, _ = explained
    first = SaliencyConfig(methods=(FAMILY[0],), **FEW)
    saliency(run.folder, tmp_path / "maps", first)
    stamp = (tmp_path / "maps" / "maps" / f"{FAMILY[0]}.npy").stat().st_mtime_ns
    saliency(run.folder, tmp_path / "maps", SaliencyConfig(methods=("gradient", *FAMILY), **FEW))
    assert (tmp_path / "maps" / "maps" / f"{FAMILY[0]}.npy").stat().st_mtime_ns == stamp
    for name in FAMILY:
        expected = kept(folder, name)
        np.testing.assert_allclose(kept(tmp_path / "maps", name), expected, rtol=1e-3, atol=1e-5 * expected.max())


def test_random_networks_share_the_program_of_a_methods_maps(explained):
    _, report, held = explained
    stages = [row.layer for row in report.randomisation.rows if row.method == "gradient"]
    assert stages == ["trained", "logits", "dense", "conv_4", "conv_3", "conv_2", "conv_1"]
    # Held after the maps and after the sensitivity of both, and after the cascade of the gradient, which adds none.
    assert len(held) == 5 and held[4] == held[3]
