"""Features computed once, and kept under a name that only their own inputs lead to."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.data.augment import Augmentation
from btjax.data.preprocess import Preprocessing
from btjax.features import deep
from btjax.features.deep import FrozenPart, compute_features, highest_cut, highest_frozen
from btjax.models.cnn import CNN
from tests.nn.networks import Inception, Residual
from tests.training.blobs import make_blobs

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = CNN(widths=(4, 8), pools=2, dense=16)
GREY = Preprocessing("grey")


def variables_of(model, channels=1):
    """Variables that are random in every leaf: running statistics are at work."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 16, 16, channels)))
    random = np.random.default_rng(0)
    return {"batch_stats": {}} | jax.tree.map(
        lambda leaf: random.uniform(0.1, 0.5, leaf.shape).astype(leaf.dtype), dict(shapes)
    )


VARIABLES = variables_of(MODEL)


@pytest.fixture
def images() -> np.ndarray:
    return make_blobs(count=150).images


def compute(images, folder, layer="pool_1", model=MODEL, variables=VARIABLES, preprocessing=GREY, **settings):
    return compute_features(FrozenPart(model, variables, layer), preprocessing, images, folder, **settings)


def copies(folder) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()}


def test_features_are_the_layers_output_for_every_slice(tmp_path, images):
    found = compute(images, tmp_path)
    expected = MODEL.apply(VARIABLES, GREY(jnp.asarray(images)), stop="pool_1")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.shape == (150, 8, 8, 4) and found.dtype == np.float32


def test_features_under_batch_normalisation_are_those_of_its_running_statistics(tmp_path, images):
    model, variables = Residual(), variables_of(Residual())
    found = compute(images[:40], tmp_path, "block", model, variables)
    expected = model.apply(variables, GREY(jnp.asarray(images[:40])), stop="block")
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    statistics = jax.tree.map(lambda leaf: leaf * 2, variables["batch_stats"])
    other = compute(images[:40], tmp_path, "block", model, variables | {"batch_stats": statistics})
    assert len(copies(tmp_path)) == 2 and not np.allclose(found, other)


def test_a_kept_copy_is_read_and_not_computed_again(tmp_path, images, monkeypatch):
    first = compute(images, tmp_path)
    monkeypatch.setattr(deep, "_compute", None)
    np.testing.assert_array_equal(compute(images, tmp_path), first)


def changed_leaf(layer):
    params = VARIABLES["params"]
    return VARIABLES | {"params": params | {layer: jax.tree.map(lambda leaf: leaf + 1, params[layer])}}


CHANGES = {
    "weights": {"variables": changed_leaf("conv_1")},
    "one slice": {"images": lambda images: np.where(np.arange(150)[:, None, None] == 9, 255 - images, images)},
    "size": {"images": lambda images: images[:, :12, :12]},
    "number of slices": {"images": lambda images: images[:149]},
    "scale": {"preprocessing": Preprocessing("grey", "signed")},
    "colour map": {"preprocessing": Preprocessing("viridis"), "variables": variables_of(MODEL, 3)},
    "layer": {"layer": "conv_1"},
    "dtype": {"model": MODEL.clone(dtype="bfloat16")},
    "padding of the convolutions": {"model": MODEL.clone(padding="valid")},
    "activation": {"model": MODEL.clone(activation=nn.elu)},
    "augmentation": {"augmentation": Augmentation(flip=True)},
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_the_features_gives_another_copy(tmp_path, images, change):
    compute(images, tmp_path)
    settings = dict(CHANGES[change])
    compute(settings.pop("images", lambda images: images)(images), tmp_path, **settings)
    assert len(copies(tmp_path)) == 2


@pytest.mark.parametrize(
    "change",
    [{"variables": changed_leaf("logits")}, {"model": MODEL.clone(dropout=0.9, l2=1.0)}],
    ids=["weights above", "options of training"],
)
def test_what_does_not_change_the_features_does_not_count(tmp_path, images, change):
    compute(images, tmp_path)
    compute(images, tmp_path, **change)
    assert len(copies(tmp_path)) == 1


NAME = """
import pathlib, sys
import numpy as np
from tests.features.test_deep import Residual, compute, variables_of
compute(np.zeros((4, 16, 16), np.uint8), pathlib.Path(sys.argv[1]), "block", Residual(), variables_of(Residual()))
"""


def test_every_process_gives_a_copy_the_same_name(tmp_path):
    for number in "12":
        environment = os.environ | {"PYTHONHASHSEED": number, "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-c", NAME, str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
    assert len(copies(tmp_path)) == 1


def test_features_are_taken_where_one_array_leaves_a_stage(tmp_path, images):
    model, variables = Inception(), variables_of(Inception())
    with pytest.raises(ValueError, match="the output of branches is a tuple"):
        compute(images, tmp_path, "branches", model, variables)
    found = compute(images[:20], tmp_path, "join", model, variables)
    expected = model.apply(variables, GREY(jnp.asarray(images[:20])), stop="join")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    inputs = jax.ShapeDtypeStruct((1, 16, 16, 1), jnp.float32)
    assert highest_cut(model, variables, inputs, "branches") is None
    assert highest_cut(model, variables, inputs, "join") == "join"


def test_augmented_copies_differ_by_seed_and_come_back_the_same(tmp_path, images):
    augmentation = Augmentation(flip=True, shift=0.2)
    one, two = (compute(images, tmp_path, augmentation=augmentation, seed=seed) for seed in (1, 2))
    assert not np.allclose(one, two)
    again = compute(images, tmp_path / "elsewhere", augmentation=augmentation, seed=1)
    np.testing.assert_array_equal(one, again)


def test_the_computation_goes_on_from_a_lower_layer_that_is_kept(tmp_path, images):
    compute(images, tmp_path, layer="pool_1")
    blank = MODEL.clone()
    seen = []
    original = deep._compute

    def observed(folder, run, source, *rest):
        seen.append(source.shape)
        return original(folder, run, source, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deep, "_compute", observed)
        found = compute(images, tmp_path, layer="pool_2", model=blank)
    assert seen == [(150, 8, 8, 4)]
    direct = compute(images, tmp_path / "elsewhere", layer="pool_2")
    np.testing.assert_allclose(found, direct, atol=1e-6)


def test_an_interrupted_computation_goes_on_with_what_it_had(tmp_path, images):
    def interrupt(what, done, total):
        if done > 130:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute(images, tmp_path, progress=interrupt)
    assert all(name.endswith(".part") for name in copies(tmp_path))
    done = []
    found = compute(images, tmp_path, progress=lambda what, rows, total: done.append(rows))
    assert done == [144, 150]  # the first 128 rows were kept
    np.testing.assert_array_equal(found, compute(images, tmp_path / "elsewhere"))


def test_a_cache_that_cannot_be_written_is_named(tmp_path, images):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot keep anything there"):
        compute(images, tmp_path / "file")


def test_the_cut_lies_below_the_lowest_layer_that_trains():
    trained = {"dense": {}, "logits": {}}
    assert highest_frozen(MODEL, trained) == "flatten"
    assert highest_frozen(MODEL, trained | {"conv_2": {}}) == "pool_1"
    assert highest_frozen(MODEL, trained | {"conv_1": {}}) is None


def swapped(first, second):
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def flipped(first, second):
    content = bytearray(second.read_bytes())
    content[len(content) // 2] ^= 4
    second.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        swapped,
        flipped,
        lambda first, second: second.unlink(),
        lambda first, second: os.truncate(first, 500),
        lambda first, second: np.save(first, np.load(first)[::-1]),
    ],
    ids=["swapped", "flipped", "missing", "cut", "replaced"],
)
def test_a_damaged_copy_is_made_anew_from_what_is_whole(tmp_path, images, damage):
    expected = compute(images, tmp_path)
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    first, second = sorted(folder.iterdir())
    damage(first, second)
    np.testing.assert_array_equal(compute(images, tmp_path), expected)
    assert sorted(folder.iterdir()) == [first, second]
    np.testing.assert_array_equal(compute(images, tmp_path), expected)


def test_a_lower_stage_that_is_damaged_is_not_gone_on_from(tmp_path, images):
    compute(images, tmp_path, "conv_1")
    (folder,) = copies(tmp_path)
    flipped(*sorted((tmp_path / folder).iterdir()))
    np.testing.assert_array_equal(compute(images, tmp_path), compute(images, tmp_path / "other"))
