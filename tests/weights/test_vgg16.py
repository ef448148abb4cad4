"""Weight files of every layout, and those that are wrong."""

import re

import h5py
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.models.vgg16 import TOP
from btjax.weights import vgg16
from tests.weights.files import random_leaves, torchvision_state, write_keras3, write_legacy


@pytest.fixture(scope="module")
def leaves():
    return random_leaves()


def assert_holds(weights, leaves):
    assert sum(map(len, weights.params.values())) == len(leaves)
    for name, leaf in leaves.items():
        layer, kind = name.split("/")
        found = weights.params[layer][kind]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, leaf, err_msg=name)


@pytest.mark.parametrize("inside", [None, "model_weights"])
def test_the_legacy_layout_is_read_leaf_by_leaf(tmp_path, leaves, inside):
    weights = vgg16.load(write_legacy(tmp_path / "vgg16.h5", leaves, inside))
    assert_holds(weights, leaves)
    assert weights.scale == "caffe"


def test_the_layout_of_keras_3_is_read_leaf_by_leaf(tmp_path, leaves):
    assert_holds(vgg16.load(write_keras3(tmp_path / "vgg16.weights.h5", leaves)), leaves)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of NumPy, in Keras
def test_what_keras_saves_is_read(tmp_path, keras, leaves):
    model = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    model.save_weights(tmp_path / "vgg16.weights.h5")
    saved = {f"{layer.name}/{kind}": np.asarray(getattr(layer, kind)) for layer in model.layers[1:] if layer.weights
             for kind in ("kernel", "bias")}  # fmt: skip
    assert_holds(vgg16.load(tmp_path / "vgg16.weights.h5"), saved)


def test_torchvisions_state_has_its_own_layouts_and_its_own_scale(leaves):
    weights = vgg16.from_torchvision(torchvision_state(leaves), "state")
    assert_holds(weights, leaves)
    assert weights.scale == "torch"


def test_torchvisions_first_dense_layer_reads_channels_first():
    kernel = np.arange(2 * 512 * 49, dtype=np.float32).reshape(2, 512 * 49)
    ours = vgg16._from_torch("fc1", kernel)
    features = np.random.default_rng(0).standard_normal((512, 7, 7)).astype(np.float32)
    np.testing.assert_allclose(features.transpose(1, 2, 0).reshape(-1) @ ours, kernel @ features.reshape(-1), rtol=1e-4)


def test_a_converted_checkpoint_needs_its_source_no_more(tmp_path, leaves):
    path = write_legacy(tmp_path / "vgg16.h5", leaves)
    vgg16.save(vgg16.load(path), tmp_path / "converted")
    path.unlink()
    weights = vgg16.load(tmp_path / "converted")
    assert_holds(weights, leaves)
    assert weights.scale == "caffe"


def test_the_file_with_the_top_works_where_the_base_is_wanted(tmp_path, leaves):
    path = write_legacy(tmp_path / "full.h5", leaves)
    shapes = {name: shape for name, shape in vgg16.expected_shapes(top=True).items() if name not in leaves}
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = np.array([*file.attrs["layer_names"], *TOP], "S")
        for layer in TOP:
            names = [f"{layer}_W_1:0", f"{layer}_b_1:0"]
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, kind in zip(names, ("kernel", "bias"), strict=True):
                group.create_dataset(name, shapes[f"{layer}/{kind}"], np.float32, fillvalue=0)
    weights = vgg16.load(path)
    assert set(weights.base["params"]) == set(dict.fromkeys(name.split("/")[0] for name in leaves))
    assert weights.variables["params"]["fc1"]["kernel"].shape == (25088, 4096)
    assert weights.base["batch_stats"] == weights.variables["batch_stats"] == {}


WRONG = {
    "missing": (lambda leaves: leaves.pop("block3_conv2/bias"), "block3_conv2/bias is absent, expected (256,)"),
    "extra": (
        lambda leaves: leaves.update({"block5_conv4/kernel": np.zeros((3, 3, 512, 512), np.float32)}),
        "block5_conv4/kernel is (3, 3, 512, 512), expected absent",
    ),
    "transposed": (
        lambda leaves: leaves.update({"block4_conv1/kernel": leaves["block4_conv1/kernel"].swapaxes(2, 3)}),
        "block4_conv1/kernel is (3, 3, 512, 256), expected (3, 3, 256, 512)",
    ),
    "misshaped": (
        lambda leaves: leaves.update({"block1_conv1/bias": np.zeros(32, np.float32)}),
        "block1_conv1/bias is (32,), expected (64,)",
    ),
}


@pytest.mark.parametrize(
    ("layout", "fault"),
    [(write_legacy, fault) for fault in WRONG] + [(write_keras3, "transposed"), (write_keras3, "misshaped")],
)
def test_a_leaf_too_few_too_many_or_of_another_shape_is_named(tmp_path, leaves, fault, layout):
    changed = dict(leaves)
    change, message = WRONG[fault]
    change(changed)
    with pytest.raises(InputError, match=re.escape(message)):
        vgg16.load(layout(tmp_path / "vgg16.h5", changed))


def test_torchvisions_leaves_are_counted_too(leaves):
    state = torchvision_state(leaves)
    with pytest.raises(InputError, match=r"state: features\.1\.weight is none of VGG16's"):
        vgg16.from_torchvision(state | {"features.1.weight": np.zeros(64)}, "state")
    state.pop("features.28.bias")
    with pytest.raises(InputError, match="block5_conv3/bias is absent"):
        vgg16.from_torchvision(state, "state")


def test_files_that_are_no_weights_are_called_what_they_are(tmp_path, leaves):
    page = tmp_path / "page.h5"
    page.write_text("<!DOCTYPE html><html>not found</html>")
    with pytest.raises(InputError, match=r"page\.h5: found an HTML page, expected Keras's VGG16"):
        vgg16.load(page)
    whole = write_legacy(tmp_path / "vgg16.h5", leaves).read_bytes()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.h5: found a damaged file"):
        vgg16.load(cut)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["image"] = np.zeros(3)
    with pytest.raises(InputError, match=r"data\.h5: found no layer with weights, expected Keras's VGG16"):
        vgg16.load(tmp_path / "data.h5")
    other = write_legacy(tmp_path / "other.h5", {"conv1/kernel": np.zeros((7, 7, 3, 64), np.float32)})
    with pytest.raises(InputError, match="not VGG16's weights: block1_conv1/kernel is absent"):
        vgg16.load(other)
    with pytest.raises(InputError, match=r"none\.h5: not found"):
        vgg16.load(tmp_path / "none.h5")
    (tmp_path / "vgg16.pth").write_bytes(b"")
    with pytest.raises(InputError, match="scripts/convert_vgg16"):
        vgg16.load(tmp_path / "vgg16.pth")
    with pytest.raises(InputError, match="no converted weights there"):
        vgg16.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda kernel: kernel * np.nan, "block1_conv1/kernel holds 1728 NaN or infinite numbers"),
        (lambda kernel: kernel + np.inf, "block1_conv1/kernel holds 1728 NaN or infinite numbers"),
        (lambda kernel: kernel.astype(np.float64) + 1e300, "block1_conv1/kernel holds 1728 NaN or infinite numbers"),
        (lambda kernel: kernel.astype(np.int32), "block1_conv1/kernel is of int32, expected floating-point"),
        (lambda kernel: kernel * 1j, "block1_conv1/kernel is of complex64, expected floating-point"),
        (lambda kernel: np.full(kernel.shape, b"abc"), "is of texts or references, expected numbers"),
    ],
)
def test_leaves_that_are_no_weights_are_refused(tmp_path, leaves, change, words):
    path = write_legacy(tmp_path / "w.h5", leaves | {"block1_conv1/kernel": change(leaves["block1_conv1/kernel"])})
    with pytest.raises(InputError, match=rf"w\.h5: .*{words}"):
        vgg16.load(path)
