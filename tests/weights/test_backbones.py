"""Weight files of backbones: those that are read leaf by leaf, and those that are refused in one line."""

import h5py
import jax
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.models.efficientnet import EfficientNet
from btjax.models.inception import Inception
from btjax.models.resnet import ResNet
from btjax.weights.backbone_names import source_of
from btjax.weights.backbones import expected_leaves, from_torch, load
from btjax.weights.official import OFFICIAL
from tests.models.backbones import SIZES, tiny
from tests.weights.backbone_files import keras_leaves
from tests.weights.files import write_legacy

MODEL = tiny("efficientnet")
LEAVES = keras_leaves(MODEL)
NORMALISATION = {
    "normalization/mean": np.float32([0.485, 0.456, 0.406]),
    "normalization/variance": np.square(np.float32([0.229, 0.224, 0.225])),
    "normalization/count": np.int32(0),
}


def test_a_legacy_file_is_read_leaf_by_leaf(tmp_path):
    weights = load(write_legacy(tmp_path / "w.h5", LEAVES | NORMALISATION), MODEL)
    assert weights.scale == "torch" and not weights.folded
    assert sum(leaf.size for leaf in jax.tree.leaves(weights.base)) == sum(leaf.size for leaf in LEAVES.values())
    block = weights.base["params"]["block2a"]
    np.testing.assert_array_equal(block["dwconv"]["kernel"][:, :, 0], LEAVES["block2a_dwconv/kernel"][..., 0])
    np.testing.assert_array_equal(block["bn"]["bias"], LEAVES["block2a_bn/beta"])
    found = weights.base["batch_stats"]["top"]["bn"]["var"]
    np.testing.assert_array_equal(found, LEAVES["top_bn/moving_variance"])


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ({"variance": np.float32([0.229, 0.224, 0.225])}, "torch"),
        ({"mean": np.zeros(3, np.float32), "variance": np.ones(3, np.float32)}, "unit"),
        ({"mean": np.float32([1, 2, 3])}, None),
    ],
    ids=["as Keras publishes it", "none", "another"],
)
def test_the_inputs_normalisation_is_the_scale(tmp_path, values, scale):
    held = NORMALISATION | {f"normalization/{name}": leaf for name, leaf in values.items()}
    path = write_legacy(tmp_path / "w.h5", LEAVES | held)
    if scale is None:
        with pytest.raises(InputError, match=r"inputs are normalised by the means .*expected ImageNet's or none"):
            load(path, MODEL)
    else:
        assert load(path, MODEL).scale == scale


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"top_bn/gamma": None}, "not the weights of EfficientNet-B0: top_bn/gamma is missing"),
        ({"block9a_bn/gamma": np.ones(3, np.float32)}, "block9a_bn/gamma is none of its layers'"),
        ({"stem_conv/kernel": np.ones((3, 3, 3, 40), np.float32)}, r"is \(3, 3, 3, 40\), expected \(3, 3, 3, 32\)"),
        (
            {"block2a_dwconv/kernel": np.ones((3, 3, 16, 1), np.float32)},
            r"is \(3, 3, 16, 1\), expected \(5, 5, 16, 1\)",
        ),
        ({"predictions/kernel": np.ones((1280, 7), np.float32)}, "without its top, or with ImageNet's"),
        ({"stem_bn/beta": np.full(32, np.nan, np.float32)}, "stem_bn/beta holds 32 NaN"),
    ],
    ids=["missing", "extra", "version", "kernel", "top", "nan"],
)
def test_files_of_other_networks_are_refused_in_one_line(tmp_path, changes, words):
    leaves = {name: leaf for name, leaf in (LEAVES | changes).items() if leaf is not None}
    with pytest.raises(InputError, match=words) as raised:
        load(write_legacy(tmp_path / "w.h5", leaves), MODEL)
    assert "\n" not in str(raised.value) and str(tmp_path / "w.h5") in str(raised.value)


def test_imagenets_top_is_left_out(tmp_path):
    top = {"predictions/kernel": np.ones((1280, 1000), np.float32), "predictions/bias": np.ones(1000, np.float32)}
    assert "predictions" not in load(write_legacy(tmp_path / "w.h5", LEAVES | top), MODEL).base["params"]


def test_another_form_another_kind_and_no_file_are_refused_in_one_line(tmp_path):
    path = write_legacy(tmp_path / "w.h5", LEAVES)
    with pytest.raises(InputError, match=r"--form=torch: the weights in .*w.h5 expect --form=keras"):
        load(path, MODEL.clone(form="torch"))
    with pytest.raises(InputError, match=r"none\.h5: not found, expected EfficientNet-B0's weights"):
        load(tmp_path / "none.h5", MODEL)
    (tmp_path / "w.pth").write_bytes(b"no tensors")
    with pytest.raises(InputError, match=r"--form=keras: the weights in .* expect --form=torch"):
        load(tmp_path / "w.pth", MODEL)
    with pytest.raises(InputError, match=r"w\.pth"):
        load(tmp_path / "w.pth", MODEL.clone(form="torch"))
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(InputError, match=r"text\.h5"):
        load(tmp_path / "text.h5", MODEL)
    with h5py.File(tmp_path / "old.weights.h5", "w") as file:  # of Keras before 3.6, which kept no names
        file.create_group("layers/conv2d/vars")["0"] = LEAVES["stem_conv/kernel"]
    with pytest.raises(InputError, match="its layers have no names"):
        load(tmp_path / "old.weights.h5", MODEL)


@pytest.mark.parametrize("family", SIZES)
def test_every_leaf_has_a_name_of_its_own_in_each_kind_of_file(family):
    for form in ("keras", "torch"):
        # InceptionV3's files are numbered or named as its eleven blocks follow each other.
        model = Inception(form=form) if family == "inception" else tiny(family, form=form)
        layers = sorted({path[1:3] for path in expected_leaves(model)})
        source = source_of(model)
        for names in (source.keras(model, layers, ()), source.torch(model, layers)):
            assert names.keys() == set(layers) and len(set(names.values())) == len(layers)


def test_of_torchvisions_state_only_counters_may_be_left_over():
    model = tiny("resnet", form="torch")
    names = source_of(model).torch(model, sorted({path[1:3] for path in expected_leaves(model)}))
    kinds = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var", "bias": "bias"}
    state = {}
    for path, shape in expected_leaves(model).items():
        shape = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape
        state[f"{names[path[1:3]]}.{kinds[path[-1]]}"] = np.ones(shape, np.float32)
    state["bn1.num_batches_tracked"] = np.int64(7)
    assert from_torch(state, model, "state").scale == "torch"
    with pytest.raises(InputError, match=r"layer9\.weight is none of its layers'"):
        from_torch(state | {"layer9.weight": np.ones(3)}, model, "state")


def test_where_keras_publishes_its_files_is_known_by_checksum():
    assert {"efficientnet_b0", "efficientnet_b7", "resnet50", "inception"} <= OFFICIAL.keys()
    assert all(file.md5 and len(file.md5) == 32 and file.url.endswith(file.name) for file in OFFICIAL.values())


@pytest.mark.parametrize(
    ("model", "name", "scale", "folded"),
    [
        (EfficientNet(), "efficientnetb0_notop.h5", "torch", True),
        (ResNet(), "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", "caffe", False),
    ],
    ids=["b0", "resnet50"],
)
def test_genuine_files_are_read_whole(model, name, scale, folded, weights_folder):
    path = weights_folder / name
    if not path.exists():
        pytest.skip(f"no {name}: $BTJAX_WEIGHTS names no folder with it")
    weights = load(path, model)
    assert (weights.scale, weights.folded) == (scale, folded)
    with pytest.raises(InputError, match="not the weights of ResNet50"):
        load(path, ResNet(counts=(3, 4, 6, 4)))
