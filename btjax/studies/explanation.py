"""What a saliency experiment explains: a trained classifier's decisions on its test slices, and the maps of them."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from btjax.base.errors import InputError
from btjax.base.files import read_json
from btjax.base.keys import random_key
from btjax.base.options import option
from btjax.data.slices import Slices
from btjax.data.splits import Split
from btjax.runs.run import Restored, Run, restore
from btjax.saliency.classifier import Classifier
from btjax.saliency.methods import Method, attribution_maps, find_methods
from btjax.saliency.unet import final_output, output_difference
from btjax.studies.unet import AUTOENCODER, COMPOSED, load_composed

_CAMS = ("grad_cam", "grad_cam_plus_plus", "layer_cam", "hires_cam", "score_cam")
_BLACK = ("integrated_gradients", "occlusion", "rise", "score_cam")
_BASELINES = 16

Maps = tuple[np.ndarray, np.ndarray]
"""Row numbers among the test slices, sorted, and their maps: int [n], float32 [n, S, S]."""


@dataclasses.dataclass(frozen=True)
class SaliencyConfig:
    """What is explained, and how much of it."""

    methods: tuple[str, ...] = option(("all",), "saliency methods by name, or all")
    layer: str = option("", "layer of the class activation maps; empty for the last convolution of at least 4x4")
    arithmetic: str = option(
        "as_trained",
        "type of the arithmetic of the explained network: what it was trained in, or float32 or bfloat16",
        choices=("as_trained", "float32", "bfloat16"),
    )
    samples: int = option(32, "noisy copies, steps or baselines of the methods that average gradients", minimum=1)
    rise_masks: int = option(1000, "masks of RISE for each slice", minimum=1)
    score_cam_channels: int = option(0, "channels of Score-CAM, those that vary most; 0 for all", minimum=0)
    sampled_slices: int = option(
        0, "test slices for methods of tens of passes, drawn by class; 0 for every one", minimum=0
    )
    costly_slices: int = option(48, "test slices for methods of hundreds of passes, drawn by class", minimum=3)
    checked_slices: int = option(24, "test slices for faithfulness and randomisation, drawn by class", minimum=3)
    batch_size: int = option(16, "slices at a time", minimum=1)
    saliency_seed: int = option(0, "seed of noise, masks, baselines and of the drawn slices", minimum=0)


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is explained.

    Attributes:
      restored: the classifier's run.
      classifier: its network.
      extra: attributions of the run's own, such as the final U-Net's output, by name.
      pictures: what the run's own models make of a slice, [B, S, S, C] -> [B, S, S, 3], by name.
      origins: of the composed models whose attributions are in `extra`, where each leaf came from.
      split: the run's.
      tested: the test slices.
      trained: the training slices.
      inputs: float32 [N, S, S, C], the network's inputs of the test slices.
      predicted: int [N], the class with the highest logit, which is what is explained.
      black: float32 [S, S, C], the network's input of a black slice.
    """

    restored: Restored
    classifier: Classifier
    extra: dict[str, Callable]
    pictures: dict[str, Callable]
    origins: dict[str, dict[str, str]]
    split: Split
    tested: Slices
    trained: Slices
    inputs: np.ndarray
    predicted: np.ndarray
    black: np.ndarray

    def drawn(self, count: int, seed: int) -> np.ndarray:
        """Row numbers of `count` test slices, drawn by class; a smaller count's are among a larger count's."""
        return stratified(self.tested.labels, count, seed)


def open_subject(
    folder: pathlib.Path, slices: Slices, split: Split, restored: Restored, arithmetic: str = "as_trained"
) -> Subject:
    """Makes a run ready to be explained.

    Args:
      folder: the run's folder; for the U-Net's classifier the composed final model beside it gives two more methods.
      slices: the data set.
      split: the run's split.
      restored: the run's model.
      arithmetic: see `SaliencyConfig`.
    """
    prepare = jax.jit(restored.config.preprocessing)
    tested = slices.take(split.test)
    model = restored.model if arithmetic == "as_trained" else restored.model.clone(dtype=arithmetic)
    extra, pictures, origins = {}, {}, {}
    composed = folder.parent / COMPOSED / "origins.json"
    if composed.exists():
        origins = read_json(composed)
        autoencoder = restore(folder.parent / AUTOENCODER)
        unet, final = autoencoder.model, load_composed(folder.parent, "final")
        extra["final_output"] = final_output(unet, final)
        extra["final_difference"] = output_difference(unet, final, autoencoder.variables)
        pictures["U-Net's output"] = functools.partial(unet.apply, autoencoder.variables)
        pictures["final U-Net's output"] = functools.partial(unet.apply, final)
    return Subject(
        restored=restored,
        classifier=Classifier(model, _filled(restored.variables)),
        extra=extra,
        pictures=pictures,
        origins=origins,
        split=split,
        tested=tested,
        trained=slices.take(split.train),
        inputs=np.asarray(prepare(tested.images)),
        predicted=dataclasses.replace(restored, model=model).outputs(tested.images).argmax(axis=1),
        black=np.asarray(prepare(np.zeros_like(tested.images[:1])))[0],
    )


@dataclasses.dataclass(frozen=True)
class Permuted:
    """A network that was trained on permuted labels.

    Attributes:
      classifier: the network.
      train_accuracy: the share of its training slices that it came to call by their permuted labels, 0 to 1.
    """

    classifier: Classifier
    train_accuracy: float


def open_permuted(subject: Subject, folder: pathlib.Path) -> Permuted:
    """Makes a run that was trained on permuted labels ready to have its maps compared with the subject's.

    Raises:
      InputError: no run there, another model, preprocessing or split, labels that were not permuted, or an epoch that
        was chosen by true labels.
    """
    other, own = restore(folder), subject.restored
    if other.config.preprocessing != own.config.preprocessing:
        raise InputError(
            f"--permuted_checkpoint={folder}: {other.config.preprocessing}, expected {own.config.preprocessing}"
        )
    if _shapes(other.variables) != _shapes(own.variables):
        raise InputError(f"--permuted_checkpoint={folder}: another model than the one that is explained")
    held = read_json(folder / "config.json").get("split")
    if held != subject.split.fingerprint:
        raise InputError(f"--permuted_checkpoint={folder}: its split is {held}, expected {subject.split.fingerprint}")
    training = other.config.training
    if not training.permuted_labels or training.select != "last_epoch":
        raise InputError(
            f"--permuted_checkpoint={folder}: permuted_labels={training.permuted_labels}, select={training.select}; "
            "expected a run with --permuted_labels --select=last_epoch"
        )
    row = Run(folder).checkpoints.progress("best")["best"]
    classifier = dataclasses.replace(subject.classifier, variables=_filled(other.variables))
    return Permuted(classifier, row["train_accuracy"])


def _filled(variables: dict) -> dict:
    """The collections that hold something: what the model itself would make."""
    return {name: tree for name, tree in variables.items() if tree}


def _shapes(variables: dict) -> dict:
    return jax.tree.map(jnp.shape, variables)


def chosen_methods(config: SaliencyConfig, subject: Subject) -> tuple[list[Method], dict[str, str]]:
    """The methods, bound to the run: what stands for "nothing there" is its input of a black slice.

    Returns:
      The methods; and by name why others were left out, under "all", since they do not fit the model.

    Raises:
      InputError: an unknown method or layer, or a method that was named and does not fit the model.
    """
    binding = _binding(config, subject)
    shapes = jax.ShapeDtypeStruct((1, *subject.inputs.shape[1:]), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.int32)
    chosen, left_out = [], {}
    for method in find_methods(config.methods):
        bound = method.bind(**binding[method.name]) if method.name in binding else method
        try:
            jax.eval_shape(functools.partial(bound.attribute, subject.classifier), *shapes, jax.random.key(0))
        except InputError as error:
            if "all" not in config.methods or (config.layer and method.name in _CAMS):
                raise
            left_out[method.name] = str(error)
            continue
        chosen.append(bound)
    own = [Method(name, attribute, "the composed U-Net's", "the paper") for name, attribute in subject.extra.items()]
    return chosen + (own if "all" in config.methods else []), left_out


def _binding(config: SaliencyConfig, subject: Subject) -> dict[str, dict]:
    """Options of the methods that do not run by their defaults."""
    random = np.random.default_rng(config.saliency_seed)
    rows = random.choice(len(subject.trained), min(_BASELINES, len(subject.trained)), replace=False)
    baselines = jax.jit(subject.restored.config.preprocessing)(subject.trained.images[rows])
    binding: dict[str, dict] = {name: {"baseline": jnp.asarray(subject.black)} for name in _BLACK}
    for name in ("smooth_grad", "smooth_grad_squared", "var_grad"):
        binding[name] = {"samples": config.samples}
    binding["expected_gradients"] = {"samples": config.samples, "baselines": baselines}
    binding["integrated_gradients"]["steps"] = config.samples
    binding["rise"]["samples"] = config.rise_masks
    binding["score_cam"]["channels"] = config.score_cam_channels
    for name in _CAMS if config.layer else ():
        binding.setdefault(name, {})["layer"] = config.layer
    return binding


def stratified(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Row numbers, sorted: `count` in all (or all there are), as equally from each label as its rows allow.

    The rows of a smaller count are among those of a larger one.
    """
    random = np.random.default_rng(seed)
    queues = [list(random.permutation(np.flatnonzero(labels == label))) for label in np.unique(labels)]
    taken = []
    while len(taken) < min(count, len(labels)):
        taken += [queue.pop() for queue in queues if queue]
    return np.sort(np.array(taken[:count], np.int64))


def explained_rows(config: SaliencyConfig, subject: Subject, method: Method) -> np.ndarray:
    """The test slices that a method explains, by row number: all, or a drawn part for one of many passes."""
    counts = {"tens": config.sampled_slices or len(subject.tested), "hundreds": config.costly_slices}
    return subject.drawn(counts.get(method.passes, len(subject.tested)), config.saliency_seed)


def checked_rows(config: SaliencyConfig, subject: Subject) -> np.ndarray:
    """Test slices that every method explains, for the checks that cost many passes."""
    count = min(config.checked_slices, config.costly_slices, config.sampled_slices or config.checked_slices)
    return subject.drawn(count, config.saliency_seed)


def compute_maps(config: SaliencyConfig, subject: Subject, method: Method, folder: pathlib.Path) -> Maps:
    """The maps of a method, of its `explained_rows`; kept in `folder`."""
    rows = explained_rows(config, subject, method)
    path = folder / f"{method.name}.npy"
    if path.exists():
        return rows, np.load(path)
    key = random_key(jax.random.key(config.saliency_seed), method.name)
    maps = attribution_maps(
        subject.classifier, subject.inputs[rows], subject.predicted[rows], key, method, config.batch_size
    )
    beside = path.with_suffix(".part")
    with open(beside, "wb") as file:
        np.save(file, maps)
    beside.replace(path)
    let_programs_go()
    return rows, maps


def let_programs_go() -> None:
    """Drops all compiled programs, when a method's own have served.

    Those of every method together, for a network as large as VGG16, take more memory mappings than Linux grants a
    process (65530): the compiler then ends it.
    """
    jax.clear_caches()


def maps_of(maps: Maps, rows: np.ndarray) -> np.ndarray:
    """The maps of some of the explained rows: float32 [len(rows), S, S]."""
    known, values = maps
    return values[np.searchsorted(known, rows)]
