"""Features computed once, and kept under a name that only their own inputs lead to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.data.preprocess import Augmentation, Preprocessing
from btjax.features.deep import compute_features, highest_frozen
from btjax.models.cnn import CNN
from btjax.training import features
from tests.training.blobs import make_blobs

MODEL = CNN(widths=(4, 8), pools=2, dense=16)


@pytest.fixture(scope="module")
def params():
    variables = MODEL.init(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))
    return jax.tree.map(np.asarray, variables["params"])


@pytest.fixture
def images() -> np.ndarray:
    return make_blobs(count=150).images


def compute(params, images, folder, layer="pool_1", **changes):
    settings = {"model": MODEL, "preprocessing": Preprocessing("grey")} | changes
    return compute_features(params=params, layer=layer, images=images, cache_dir=folder, **settings)


def copies(folder) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()}


def test_features_are_the_layers_output_for_every_slice(tmp_path, params, images):
    found = compute(params, images, tmp_path)
    inputs = Preprocessing("grey")(jnp.asarray(images))
    np.testing.assert_allclose(found, MODEL.apply({"params": params}, inputs, stop="pool_1"), atol=1e-6)
    assert found.shape == (150, 8, 8, 4) and found.dtype == np.float32


def test_a_kept_copy_is_read_and_not_computed_again(tmp_path, params, images, monkeypatch):
    first = compute(params, images, tmp_path)
    monkeypatch.setattr(features, "_compute", None)
    np.testing.assert_array_equal(compute(params, images, tmp_path), first)


CHANGES = {
    "weights": lambda s: s | {"params": s["params"] | {"conv_1": jax.tree.map(lambda x: x + 1, s["params"]["conv_1"])}},
    "one slice": lambda s: s | {"images": np.where(np.arange(150)[:, None, None] == 9, 255 - s["images"], s["images"])},
    "size": lambda s: s | {"images": s["images"][:, :12, :12]},
    "number of slices": lambda s: s | {"images": s["images"][:149]},
    "scale": lambda s: s | {"preprocessing": Preprocessing("grey", "signed")},
    "colour map": lambda s: s | {"preprocessing": Preprocessing("viridis"), "params": s["three"], "model": MODEL},
    "layer": lambda s: s | {"layer": "conv_1"},
    "dtype": lambda s: s | {"model": MODEL.clone(dtype="bfloat16")},
    "augmentation": lambda s: s | {"augmentation": Augmentation(flip=True)},
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_the_features_gives_another_copy(tmp_path, params, images, change):
    three = MODEL.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    settings = {"params": params, "images": images, "folder": tmp_path, "three": jax.tree.map(np.asarray, three)}
    changed = CHANGES[change](settings)
    for each in (settings, changed):
        each.pop("three")
    compute(**settings)
    before = copies(tmp_path)
    compute(**changed)
    assert len(copies(tmp_path)) == len(before) + 1


def test_weights_above_the_layer_do_not_count(tmp_path, params, images):
    compute(params, images, tmp_path)
    compute(params | {"logits": jax.tree.map(lambda x: x + 1, params["logits"])}, images, tmp_path)
    assert len(copies(tmp_path)) == 1


def test_augmented_copies_differ_by_seed_and_come_back_the_same(tmp_path, params, images):
    augmentation = Augmentation(flip=True, shift=0.2)
    one, two = (compute(params, images, tmp_path, augmentation=augmentation, seed=seed) for seed in (1, 2))
    assert not np.allclose(one, two)
    again = compute(params, images, tmp_path / "elsewhere", augmentation=augmentation, seed=1)
    np.testing.assert_array_equal(one, again)


def test_the_computation_goes_on_from_a_lower_layer_that_is_kept(tmp_path, params, images):
    compute(params, images, tmp_path, layer="pool_1")
    blank = MODEL.clone()
    seen = []
    original = features._compute

    def observed(folder, run, source, *rest):
        seen.append(source.shape)
        return original(folder, run, source, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "_compute", observed)
        found = compute(params, images, tmp_path, layer="pool_2", model=blank)
    assert seen == [(150, 8, 8, 4)]
    direct = compute(params, images, tmp_path / "elsewhere", layer="pool_2")
    np.testing.assert_allclose(found, direct, atol=1e-6)


def test_an_interrupted_computation_goes_on_with_what_it_had(tmp_path, params, images):
    def interrupt(what, done, total):
        if done > 130:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute(params, images, tmp_path, progress=interrupt)
    assert all(name.endswith(".part") for name in copies(tmp_path))
    done = []
    found = compute(params, images, tmp_path, progress=lambda what, rows, total: done.append(rows))
    assert done == [144, 150]  # the first 128 rows were kept
    np.testing.assert_array_equal(found, compute(params, images, tmp_path / "elsewhere"))


def test_a_cache_that_cannot_be_written_is_named(tmp_path, params, images):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot keep anything there"):
        compute(params, images, tmp_path / "file")


def test_the_cut_lies_below_the_lowest_layer_that_trains():
    trained = {"dense": {}, "logits": {}}
    assert highest_frozen(MODEL, trained) == "flatten"
    assert highest_frozen(MODEL, trained | {"conv_2": {}}) == "pool_1"
    assert highest_frozen(MODEL, trained | {"conv_1": {}}) is None
