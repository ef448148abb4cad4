"""Keras's layouts, as Keras writes them (where it is installed) and as its versions did."""

import contextlib
import json
import pathlib
import zipfile

import h5py
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from btjax.base.errors import InputError
from btjax.models.vgg16 import CONVOLUTIONS, TOP
from btjax.weights import vgg16
from btjax.weights.keras import read_keras

CLASSES = ["Conv2D", "BatchNormalization", "DepthwiseConv2D", "Conv2D", "SeparableConv2D", "Dense", "Unheard"]
NAMES = ["stem", "bn", "dw", "a_conv", "sep", "pred", "odd"]
KINDS = ["conv2d", "batch_normalization", "depthwise_conv2d", "conv2d_1", "separable_conv2d", "dense", "unheard"]
VARIABLES = [
    ["kernel", "bias"], ["gamma", "beta", "moving_mean", "moving_variance"], ["kernel"], ["kernel", "bias"],
    ["depthwise_kernel", "pointwise_kernel", "bias"], ["kernel", "bias"], ["0", "1"],
]  # fmt: skip


def value(layer: int, variable: int) -> np.ndarray:
    return np.full((layer + 1, variable + 1), 10 * layer + variable, np.float32)


def write_numbered(target, named: bool, container: str = "layers", prefix: str = "") -> None:
    """The layout of Keras 3: without names as 3.0 to 3.5 wrote it."""
    with h5py.File(target, "w") as file:
        for index, kind in enumerate(KINDS):
            group = file.create_group(f"{prefix}{container}/{kind}/vars")
            for place in range(len(VARIABLES[index])):
                group[str(place)] = value(index, place)
            if named:
                group.attrs["name"] = NAMES[index]
        file.create_group(f"{container}/max_pooling2d/vars")
        file.create_group("optimizer/vars")["0"] = np.zeros(3)
        file.create_group("vars")


def write_archive(path: pathlib.Path, named: bool) -> pathlib.Path:
    write_numbered(path.with_suffix(".h5"), named)
    layers = [{"class_name": kind, "config": {"name": name}} for kind, name in zip(CLASSES, NAMES, strict=True)]
    layers.insert(2, {"class_name": "MaxPooling2D", "config": {"name": "pool"}})
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(path.with_suffix(".h5"), "model.weights.h5")
        archive.writestr("config.json", json.dumps({"class_name": "Functional", "config": {"layers": layers}}))
    return path


def assert_holds(layers, names) -> None:
    assert set(layers) == set(names)
    for index, name in enumerate(names):
        assert list(layers[name]) == VARIABLES[index]
        for place, variable in enumerate(VARIABLES[index]):
            np.testing.assert_array_equal(layers[name][variable], value(index, place))


@pytest.mark.parametrize("container", ["layers", "_layer_checkpoint_dependencies"])
def test_a_file_with_names_gives_layers_by_name(tmp_path, container):
    write_numbered(tmp_path / "m.weights.h5", True, container)
    found = read_keras(tmp_path / "m.weights.h5")
    assert found.named
    assert_holds(found.layers, NAMES)


def test_a_file_without_names_gives_kind_and_number_and_takes_a_networks_names_in_turn(tmp_path):
    write_numbered(tmp_path / "m.weights.h5", False)
    found = read_keras(tmp_path / "m.weights.h5")
    assert not found.named
    assert_holds(found.layers, KINDS)
    kinds = {"conv2d": ["stem", "a_conv"], "batch_normalization": ["bn"], "dense": ["pred"]}
    assert_holds(
        found.by_name(kinds), ["stem", "bn", "depthwise_conv2d", "a_conv", "separable_conv2d", "pred", "unheard"]
    )
    assert list(found.by_name({"conv2d": ["first"]})).count("conv2d_1") == 1


@pytest.mark.parametrize("named", [True, False])
def test_an_archive_gives_names_and_order_by_its_config(tmp_path, named):
    found = read_keras(write_archive(tmp_path / "m.keras", named))
    assert found.named
    assert_holds(found.layers, NAMES)
    assert list(found.layers) == NAMES


def test_more_than_ten_layers_of_a_kind_come_in_the_order_of_their_numbers(tmp_path):
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        for index in range(12):
            file[f"layers/conv2d{f'_{index}' if index else ''}/vars/0"] = np.full(1, index)
    found = read_keras(tmp_path / "m.weights.h5")
    assert [int(held["kernel"][0]) for held in found.layers.values()] == list(range(12))


def test_layers_of_nested_models_are_found_in_both_layouts(tmp_path):
    write_numbered(tmp_path / "m.weights.h5", False, prefix="layers/functional/")
    assert_holds(read_keras(tmp_path / "m.weights.h5").layers, [f"functional/{kind}" for kind in KINDS])
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["layer_names0"], file.attrs["layer_names1"] = (
            [b"input"],
            ["base", "deep", "dense"],
        )  # cut, as where long
        file.create_group("input").attrs["weight_names"] = []
        names = {
            "base": ["stem/kernel:0", "stem/bias:0", "bn/gamma:0"],
            "deep": ["whole/deep/stem/kernel", "whole/deep/inner/kernel"],
            "dense": ["dense_3/kernel:0", "dense_3/bias:0"],
        }
        for group, own in names.items():
            file.create_group(group).attrs["weight_names"] = own
            for name in own:
                file[group][name] = np.zeros(2)
    found = read_keras(tmp_path / "m.h5").layers
    assert {layer: list(held) for layer, held in found.items()} == {
        "stem": ["kernel", "bias"],
        "bn": ["gamma"],
        "deep/stem": ["kernel"],
        "inner": ["kernel"],
        "dense": ["kernel", "bias"],
    }


def test_a_depthwise_kernel_has_one_name_in_every_layout(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["layer_names"] = ["dw", "sep"]
        for layer, own in (("dw", ["depthwise_kernel"]), ("sep", ["depthwise_kernel", "pointwise_kernel"])):
            file.create_group(layer).attrs["weight_names"] = [f"{layer}/{name}:0" for name in own]
            for name in own:
                file[layer][f"{layer}/{name}:0"] = np.zeros(2)
    found = read_keras(tmp_path / "m.h5").layers
    assert {layer: list(held) for layer, held in found.items()} == {
        "dw": ["kernel"],
        "sep": ["depthwise_kernel", "pointwise_kernel"],
    }


def test_what_is_no_weights_is_one_line(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(InputError, match=r"m\.keras: found a damaged file .*model\.weights\.h5"):
        read_keras(tmp_path / "m.keras")
    write_numbered(tmp_path / "n.h5", True)
    with zipfile.ZipFile(tmp_path / "n.keras", "w") as archive:  # without a config that names layers
        archive.writestr("config.json", "{}")
        archive.write(tmp_path / "n.h5", "model.weights.h5")
    assert_holds(read_keras(tmp_path / "n.keras").layers, NAMES)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["layers/dense/vars/x"] = np.zeros(2)
    with pytest.raises(InputError, match="found a damaged file or one of another kind"):
        read_keras(tmp_path / "m.h5")
    (tmp_path / "p.h5").write_text("  <html>")
    with pytest.raises(InputError, match=r"--weights=.*p\.h5: found an HTML page"):
        read_keras(tmp_path / "p.h5", "--weights=")
    with pytest.raises(InputError, match="No such file"):
        read_keras(tmp_path / "none.h5")


def small_leaves(top: bool) -> dict[str, np.ndarray]:
    """Leaves of VGG16's shapes that take no memory until they are written."""
    return {
        name: np.broadcast_to(np.float32(index), shape)
        for index, (name, shape) in enumerate(vgg16.expected_shapes(top).items())
    }


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("top", [True, False])
def test_vgg16_with_and_without_its_top_is_loaded_from_numbered_files(tmp_path, named, top):
    with h5py.File(tmp_path / "v.weights.h5", "w") as file:
        for kind, layers in (("conv2d", CONVOLUTIONS), ("dense", TOP if top else ())):
            for index, layer in enumerate(layers):
                group = file.create_group(f"layers/{kind}{f'_{index}' if index else ''}/vars")
                for place, leaf in enumerate(("kernel", "bias")):
                    array = small_leaves(top)[f"{layer}/{leaf}"]
                    group.create_dataset(str(place), array.shape, np.float32, fillvalue=array.flat[0])
                if named:
                    group.attrs["name"] = layer
    found = vgg16.load(tmp_path / "v.weights.h5").params
    for name, array in small_leaves(top).items():
        layer, leaf = name.split("/")
        assert found[layer][leaf].shape == array.shape and found[layer][leaf].flat[-1] == array.flat[0], name


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("ending", [".weights.h5", ".keras", ".h5"])
def test_what_keras_saves_of_many_kinds_of_layers_is_read(tmp_path, keras, ending):
    k = keras.layers
    inside = keras.Sequential(
        [k.Conv2D(2, 1, name="inner"), k.BatchNormalization(scale=False, name="inner_bn")], name="base"
    )
    layers = [
        keras.Input((8, 8, 3)), k.Normalization(name="norm"), k.Conv2D(4, 3, name="z"), k.DepthwiseConv2D(3, name="dw"),
        k.BatchNormalization(name="bn"), k.SeparableConv2D(4, 3, name="sep"), k.Conv2D(4, 1, name="a"), inside,
        k.Flatten(), k.Dense(2, name="pred"),
    ]  # fmt: skip
    model = keras.Sequential(layers)
    random = np.random.default_rng(0)
    model.set_weights([random.random(array.shape).astype(array.dtype) for array in model.get_weights()])
    path = tmp_path / f"m{ending}"
    model.save_weights(path) if ending == ".weights.h5" else model.save(path)
    found = read_keras(path).layers
    flat = [*model.layers[:6], *inside.layers, *model.layers[7:]]
    for layer in flat:
        for variable in layer.weights:
            if layer.name == "norm" and variable.name not in ("mean", "variance"):
                continue
            np.testing.assert_array_equal(found[layer.name][variable.name], np.asarray(variable), err_msg=variable.path)
    assert found.keys() == {layer.name for layer in flat if layer.weights}


def set_names(value):
    return lambda file: file.attrs.__setitem__("layer_names", value)


def declare(file):
    file.create_dataset("dense/w:0", (1500, 1000, 1000), np.float32, chunks=(1, 1000, 1000), compression="gzip")
    file["dense"].attrs["weight_names"] = ["w:0"]
    file.attrs["layer_names"] = ["dense"]


def hold_itself(file):
    group = file.create_group("layers/dense")
    group["dense"] = group


def link_out(file):
    file["layers/dense/vars/0"] = h5py.ExternalLink("other.h5", "/x")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (set_names(5), "found an attribute of shape .* layer_names, expected a list of texts"),
        (set_names(np.array([b"\xff"])), "found layer_names of .* that is no text"),
        (set_names(["dense"]), "found nothing at dense, expected a layer"),
        (lambda file: file.__setitem__("model_weights", 3), "found a dataset at model_weights, expected a group"),
        (declare, "found 6000000000 bytes, expected at most"),
        (hold_itself, "holds itself or lies too deep"),
        (link_out, "found an external link at 0"),
    ],
)
def test_odd_layouts_are_refused_in_one_line(tmp_path, make, words):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        make(file)
    with pytest.raises(InputError, match=rf"--weights=.*w\.h5: .*{words}"):
        read_keras(tmp_path / "w.h5", "--weights=")


def test_a_dataset_in_the_place_of_a_layer_is_refused(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["dense"] = np.zeros(3)
        file.attrs["layer_names"] = ["dense"]
    with pytest.raises(InputError, match="found a dataset at dense, expected a layer"):
        read_keras(tmp_path / "w.h5")


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(
    places=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=4),
    cut=st.none() | st.integers(0, 1 << 20),
)
def test_damaged_files_give_weights_or_one_line(tmp_path_factory, places, cut):
    path = tmp_path_factory.mktemp("damaged") / "w.h5"
    write_numbered(path, True)
    data = bytearray(path.read_bytes())
    for place, value in places:
        data[place % len(data)] ^= value
    path.write_bytes(data if cut is None else data[: cut % len(data)])
    with contextlib.suppress(InputError):
        assert read_keras(path).layers
