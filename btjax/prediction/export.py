"""A trained run as one file that needs no btjax: StableHLO, ONNX or safetensors, and for other libraries.

StableHLO and ONNX take uint8 slices [B, S, S] of any B and give the calibrated probabilities and, where the run's own
slices tell it, how strange each slice is; preprocessing and temperature are inside. What stands before it, from a file
to a slice of S x S pixels, is in the metadata's words, and so is the strangeness above which no class should be named.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from btjax.base.errors import InputError, foreign
from btjax.base.files import write_json, write_whole
from btjax.evaluation.typical import NEIGHBOURS
from btjax.nn.portable import portable
from btjax.prediction.answers import calibration_of
from btjax.prediction.metadata import metadata
from btjax.prediction.plain import (
    require_package,
    require_plain,
    save_tensors,
    told,
    torch_plan,
    write_keras_vgg16,
    write_torch,
)
from btjax.runs.seen import look_of
from btjax.systems.system import find_system

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from btjax.evaluation.typical import Typical
    from btjax.runs.run import Run

FORMS = ("stablehlo", "onnx", "safetensors", "torch", "keras")
GRAPHS = ("stablehlo", "onnx")
"""Forms that hold the computation, of a classifier alone."""

PLATFORMS = ("cpu", "cuda", "tpu")
METADATA = "model.json"

_ONNX = "jax2onnx onnx onnxruntime"

LOADER = """# Runs model.stablehlo without btjax: needs jax, numpy and pillow.
import json, pathlib, sys, jax.export, numpy as np
from PIL import Image, ImageOps
here = pathlib.Path(__file__).parent
about = json.loads((here / "model.json").read_text())
model, size = jax.export.deserialize(bytearray((here / "model.stablehlo").read_bytes())), (about["image_size"],) * 2
if about["head_mask"]:
    sys.exit("load.py: the network takes slices that are black outside the head; --head_mask of btjax makes them so")
def prepared(path):
    image = ImageOps.exif_transpose(Image.open(path))
    grey = np.asarray(image if image.mode[0] in "IF" else image.convert("L"), float)
    low, high = np.percentile(grey, about["levels"])
    low, high = (low, high) if low < high else (grey.min(), max(grey.max(), grey.min() + 1e-9))
    grey = np.uint8(np.rint((np.clip(grey, low, high) - low) / (high - low) * 255))
    side = max(grey.shape)
    grey = np.pad(grey, [((side - length) // 2, (side - length + 1) // 2) for length in grey.shape])
    return Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR)
outputs = model.call(np.stack([prepared(path) for path in sys.argv[1:]]))
limit = (about["not_answered"] or {}).get("above") or np.inf
for path, row, *strange in zip(sys.argv[1:], *map(np.asarray, outputs)):
    print(path, "not answered" if strange and strange[0] > limit else dict(zip(about["classes"], row.tolist())))
"""


def predictor(run: Run, typical: Typical | None = None) -> Callable[[jax.Array], tuple[jax.Array, ...]]:
    """The function from uint8 [B, S, S] to what is said of slices, the variables inside it.

    Args:
      run: a classifier's, with a network as its head.
      typical: how its training slices look to it, or None.

    Returns:
      A function to calibrated probabilities float32 [B, C] and, with `typical`, strangeness float32 [B].
    """
    variables = jax.tree.map(np.asarray, run.variables)
    temperature, look = np.float32(calibration_of(run)[0]), look_of(run, typical is not None)

    def predict(images: jax.Array) -> tuple[jax.Array, ...]:
        logits, deep, wide = look(variables, images)
        probabilities = jax.nn.softmax(logits.astype(jnp.float32) / temperature, axis=-1)
        if typical is None:
            return (probabilities,)
        return probabilities, _strangeness(typical, logits.astype(jnp.float32), deep, wide)

    return predict


def _strangeness(typical: Typical, logits: jax.Array, deep: jax.Array, wide: jax.Array) -> jax.Array:
    """`Typical.strangeness` in JAX, float32 [B]."""
    scale = (1 / typical.spread.astype(np.float64)).astype(np.float32)  # 0 for what never varies
    centre = np.where(scale > 0, typical.centre, np.float32(0))
    known = typical.neighbours.astype(np.float32)
    white = ((wide - jnp.expand_dims(centre, 0)) * jnp.expand_dims(scale, 0)) @ typical.whitening
    length = jnp.sqrt(jnp.square(deep).sum(axis=1, keepdims=True))
    cosines = (deep / jnp.maximum(length, np.float32(1e-12))) @ known.T
    nearest = jax.lax.top_k(cosines, min(NEIGHBOURS, len(known)))[0][:, -1]
    highest = logits.max(axis=1)
    energy = -(highest + jnp.log(jnp.exp(logits - highest[:, None]).sum(axis=1)))
    parts = jnp.stack([jnp.square(white).sum(axis=1), 1 - nearest, energy], axis=1)
    low, high = typical.low.astype(np.float32), typical.high.astype(np.float32)
    return ((parts - jnp.expand_dims(low, 0)) / jnp.expand_dims(high - low, 0)).max(axis=1)


def check_forms(run: Run, forms: Sequence[str]) -> None:
    """Checks that a run has a network that can be written in some forms, and that their packages are there.

    Raises:
      InputError: an unknown form, a run that is no network or of another task, or a package that is missing.
    """
    for form in forms:
        if form not in FORMS:
            raise InputError(f"--to={form}: expected some of {', '.join(FORMS)}")
    if find_system(run.config.system).fitted or run.head is not None:
        raise InputError(f"{run.folder}: its classifier is no network, which no exported form holds")
    for form in forms:
        if form in GRAPHS:
            run.require_classifier()
        if form in ("torch", "keras"):
            require_plain(run, form)
    packages = {"stablehlo": ("flatbuffers",), "onnx": ("jax2onnx", "onnx"), "safetensors": ("safetensors",)}
    for form in forms:
        for package in packages.get(form, ()):
            require_package(package, form, _ONNX if form == "onnx" else "btjax[export]")


def permitted_forms(run: Run) -> list[str]:
    """The forms that a run's network can be written in with the packages that are there."""
    found = []
    for form in FORMS:
        try:
            check_forms(run, [form])
        except InputError:
            continue
        found.append(form)
    return found


def export_run(
    run: Run, folder: pathlib.Path, forms: Sequence[str], typical: Typical | None = None
) -> dict[str, pathlib.Path]:
    """Writes a run's network in some of `FORMS`, and model.json, into a folder that exists.

    Args:
      run: a finished one, with a network as its head.
      folder: takes the files.
      forms: of `FORMS`.
      typical: how its training slices look to it, or None where nothing tells when not to answer.

    Returns:
      The path of each form.

    Raises:
      InputError: see `check_forms`; a run without a report.
    """
    check_forms(run, forms)
    about = metadata(run, typical)
    written = about | ({"torch": torch_plan(run)} if "torch" in forms else {})
    write_json(folder / METADATA, written)
    paths = {}
    for form in forms:
        if form in GRAPHS:
            write = _write_stablehlo if form == "stablehlo" else _write_onnx
            paths[form] = write(predictor(run, typical), folder, about)
        else:
            writers = {"safetensors": _write_safetensors, "torch": write_torch, "keras": write_keras_vgg16}
            paths[form] = writers[form](run, folder, about)
    return paths


Predict = Callable[[jax.Array], tuple[jax.Array, ...]]


def _write_stablehlo(predict: Predict, folder: pathlib.Path, about: dict[str, Any]) -> pathlib.Path:
    from jax import export

    size = about["image_size"]
    (batch,) = export.symbolic_shape("b")
    with portable(), _nameless():
        exported = export.export(jax.jit(predict), platforms=PLATFORMS)(
            jax.ShapeDtypeStruct((batch, size, size), jnp.uint8)
        )
    path = folder / "model.stablehlo"
    write_whole(path, lambda beside: beside.write_bytes(exported.serialize()))
    write_whole(folder / "load.py", lambda beside: beside.write_text(LOADER, encoding="utf-8"))
    return path


@contextlib.contextmanager
def _nameless() -> Iterator[None]:
    """Within it no traced operation keeps the source file that it comes from: a path of this machine."""
    held = jax.config.jax_traceback_in_locations_limit  # type: ignore[attr-defined]
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", held)


def _write_onnx(predict: Predict, folder: pathlib.Path, about: dict[str, Any]) -> pathlib.Path:
    size, path = about["image_size"], folder / "model.onnx"
    for name in ("jax2onnx", "onnx_ir"):  # they warn of every plugin and type that they leave out
        logging.getLogger(name).setLevel(logging.ERROR)
    with (
        portable(),
        jax.numpy_rank_promotion("allow"),  # jax2onnx's own forms of Flax's layers need both
        jax.numpy_dtype_promotion("standard"),
        foreign(f"--to=onnx: jax2onnx under jax {jax.__version__}", "a jax that it supports, such as 0.10"),
    ):
        # By name, since neither package goes with every version of Python and jax that btjax takes.
        onnx, jax2onnx = importlib.import_module("onnx"), importlib.import_module("jax2onnx")
        model: Any = jax2onnx.to_onnx(predict, [jax.ShapeDtypeStruct(("B", size, size), jnp.uint8)], model_name="btjax")
    for name, value in told(about).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value
    write_whole(path, lambda beside: onnx.save(model, str(beside)))
    return path


def _write_safetensors(run: Run, folder: pathlib.Path, about: dict[str, Any]) -> pathlib.Path:
    arrays = {name: np.asarray(leaf) for name, leaf in traverse_util.flatten_dict(run.variables, sep="/").items()}
    return save_tensors(folder / "model.safetensors", arrays, about)
