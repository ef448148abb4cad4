"""A trained run as one file that needs no btjax: StableHLO, ONNX or safetensors.

StableHLO and ONNX take uint8 slices [B, S, S] of any B and give the calibrated probabilities; preprocessing and
temperature are inside. What stands before it, from a file to a slice of S x S pixels, is in the metadata's words.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from btjax.base.errors import InputError, foreign
from btjax.base.files import write_json, write_whole
from btjax.nn.portable import portable
from btjax.prediction.answers import calibration_of
from btjax.prediction.metadata import metadata
from btjax.systems.system import find_system

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Sequence

    from btjax.runs.run import Run

FORMS = ("stablehlo", "onnx", "safetensors")
PLATFORMS = ("cpu", "cuda", "tpu")
METADATA = "model.json"

LOADER = """# Runs model.stablehlo without btjax: needs jax, numpy and pillow.
import json, pathlib, sys, jax.export, numpy as np
from PIL import Image, ImageOps
here = pathlib.Path(__file__).parent
about = json.loads((here / "model.json").read_text())
model, size = jax.export.deserialize(bytearray((here / "model.stablehlo").read_bytes())), (about["image_size"],) * 2
slices = [ImageOps.autocontrast(Image.open(path).convert("L")) for path in sys.argv[1:]]
slices = [ImageOps.pad(one, (max(one.size),) * 2).resize(size, Image.Resampling.BILINEAR) for one in slices]
for path, row in zip(sys.argv[1:], np.asarray(model.call(np.stack([np.asarray(one) for one in slices])))):
    print(path, dict(zip(about["classes"], row.round(4).tolist())))
"""


def predictor(run: Run) -> Callable[[jax.Array], jax.Array]:
    """The function from uint8 [B, S, S] to calibrated probabilities float32 [B, C], the variables inside it."""
    variables = jax.tree.map(np.asarray, run.variables)
    model, preprocessing, (temperature, _) = run.model, run.config.preprocessing, calibration_of(run)

    def predict(images: jax.Array) -> jax.Array:
        logits = model.apply(variables, preprocessing(images))
        return jax.nn.softmax(logits.astype(jnp.float32) / np.float32(temperature), axis=-1)

    return predict


def export_run(run: Run, folder: pathlib.Path, forms: Sequence[str]) -> dict[str, pathlib.Path]:
    """Writes a run's network in some of `FORMS`, and model.json, into a folder that exists.

    Args:
      run: a classifier's, with a network as its head.
      folder: takes the files.
      forms: of `FORMS`.

    Returns:
      The path of each form.

    Raises:
      InputError: an unknown form, a run that is no network, or a package that is missing.
    """
    for form in forms:
        if form not in FORMS:
            raise InputError(f"--to={form}: expected some of {', '.join(FORMS)}")
    run.require_classifier()
    if find_system(run.config.system).fitted or run.head is not None:
        raise InputError(f"{run.folder}: its classifier is no network, which no exported form holds")
    about = metadata(run)
    write_json(folder / METADATA, about)
    writers = {"stablehlo": _write_stablehlo, "onnx": _write_onnx, "safetensors": _write_safetensors}
    return {form: writers[form](run, folder, about) for form in forms}


def _write_stablehlo(run: Run, folder: pathlib.Path, about: dict[str, Any]) -> pathlib.Path:
    if importlib.util.find_spec("flatbuffers") is None:
        raise InputError("--to=stablehlo: needs flatbuffers: pip install btjax[export]")
    from jax import export

    size = about["image_size"]
    (batch,) = export.symbolic_shape("b")
    with portable():
        exported = export.export(jax.jit(predictor(run)), platforms=PLATFORMS)(
            jax.ShapeDtypeStruct((batch, size, size), jnp.uint8)
        )
    path = folder / "model.stablehlo"
    write_whole(path, lambda beside: beside.write_bytes(exported.serialize()))
    write_whole(folder / "load.py", lambda beside: beside.write_text(LOADER, encoding="utf-8"))
    return path


def _write_onnx(run: Run, folder: pathlib.Path, about: dict[str, Any]) -> pathlib.Path:
    for package in ("jax2onnx", "onnx"):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"--to=onnx: needs {package}: pip install jax2onnx onnxruntime")
    size, path = about["image_size"], folder / "model.onnx"
    with (
        portable(),
        foreign(f"--to=onnx: jax2onnx under jax {jax.__version__}", "a jax that it supports, such as 0.10"),
    ):
        # By name, since neither package goes with every version of Python and jax that btjax takes.
        onnx, jax2onnx = importlib.import_module("onnx"), importlib.import_module("jax2onnx")
        model: Any = jax2onnx.to_onnx(
            predictor(run), [jax.ShapeDtypeStruct(("B", size, size), jnp.uint8)], model_name="btjax"
        )
    for name, value in about.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value if isinstance(value, str) else json.dumps(value)
    write_whole(path, lambda beside: onnx.save(model, str(beside)))
    return path


def _write_safetensors(run: Run, folder: pathlib.Path, about: dict[str, Any]) -> pathlib.Path:
    if importlib.util.find_spec("safetensors") is None:
        raise InputError("--to=safetensors: needs safetensors: pip install btjax[export]")
    save_file = importlib.import_module("safetensors.numpy").save_file
    arrays = {name: np.asarray(leaf) for name, leaf in traverse_util.flatten_dict(run.variables, sep="/").items()}
    told = {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}
    path = folder / "model.safetensors"
    write_whole(path, lambda beside: save_file(arrays, str(beside), told))
    return path
