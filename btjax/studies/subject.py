"""What a saliency study explains: a trained classifier's decisions on its test slices."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from btjax.base.batches import in_batches
from btjax.base.errors import InputError
from btjax.base.files import read_json
from btjax.base.options import option
from btjax.runs.folder import RunFolder
from btjax.runs.run import Run
from btjax.saliency.classifier import Classifier
from btjax.saliency.inputs import BASELINES, mean_baseline
from btjax.saliency.methods import Method, find_methods
from btjax.saliency.unet import final_output, output_difference
from btjax.studies.composed import AUTOENCODER, COMPOSED, load_composed
from btjax.studies.data import Divided

if TYPE_CHECKING:
    import pathlib

    from btjax.readers.slices import Slices

_CAMS = ("grad_cam", "grad_cam_plus_plus", "layer_cam", "hires_cam", "score_cam")
_REFERENCES = 16  # training slices from which expected gradients draw


@dataclasses.dataclass(frozen=True)
class SaliencyConfig:
    """What is explained, and how much of it."""

    methods: tuple[str, ...] = option(("all",), "saliency methods by name, or all")
    layer: str = option("", "layer of the class activation maps; empty for the last convolution of at least 4x4")
    baseline: str = option(
        "black",
        "what stands for a pixel that is removed: black as each slice's own scaling has it, or the slice's mean",
        choices=BASELINES,
    )
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
    batch_size: int = option(12, "slices at a time", minimum=1, maximum=65_536)
    saliency_seed: int = option(
        0, "seed of noise, masks, baselines and of the drawn slices", minimum=0, maximum=2**32 - 1
    )


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is explained.

    Attributes:
      run: the classifier's run.
      classifier: its network.
      extra: attributions of the run's own, such as the final U-Net's output, by name.
      pictures: outputs of the run's own models, [B, S, S, C] -> [B, S, S, 3], by name.
      origins: of the composed models whose attributions are in `extra`, where each leaf came from.
      data: slices and split.
      inputs: float32 [N, S, S, C], the network's inputs of the test slices.
      predicted: int [N], the class with the highest logit, which is what is explained.
    """

    run: Run
    classifier: Classifier
    extra: dict[str, Callable]
    pictures: dict[str, Callable]
    origins: dict[str, dict[str, str]]
    data: Divided
    inputs: np.ndarray
    predicted: np.ndarray

    @functools.cached_property
    def tested(self) -> Slices:
        """The test slices."""
        return self.data.tested

    @functools.cached_property
    def trained(self) -> Slices:
        """The training slices."""
        return self.data.trained

    @property
    def labels(self) -> np.ndarray:
        """int32 [N]: the true classes of the test slices."""
        labels = self.tested.labels
        if labels is None:
            raise ValueError("a saliency study needs labelled slices")
        return labels

    @property
    def clusters(self) -> np.ndarray:
        """Str [N]: what the intervals go by, patients, or slices where the data set does not know them."""
        return self.tested.ids if self.tested.patients is None else self.tested.patients

    def drawn(self, count: int, seed: int) -> np.ndarray:
        """Row numbers of `count` test slices, drawn by class; a smaller count's are among a larger count's."""
        return stratified(self.labels, count, seed)

    def baselines(self, config: SaliencyConfig) -> np.ndarray:
        """float32 [N, 1, 1, C]: what stands for a removed pixel of each test slice."""
        return self.baselines_of(config, self.tested.images, self.inputs)

    def baselines_of(self, config: SaliencyConfig, images: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """float32 [n, 1, 1, C]: the same of any slices, uint8 [n, S, S], and the network's inputs of them."""
        if config.baseline == "mean":
            return mean_baseline(inputs)
        return np.asarray(jax.jit(self.run.config.preprocessing.black)(images))


def open_subject(run: Run, data: Divided, arithmetic: str = "as_trained") -> Subject:
    """Makes a run ready to be explained.

    Args:
      run: a classifier's; for the U-Net's encoder the composed final model beside it gives two more methods.
      data: slices and split of the run.
      arithmetic: see `SaliencyConfig`.

    Raises:
      InputError: a run whose head is no network, or of no classifier.
    """
    require_network(run)
    tested = data.tested
    model = run.model if arithmetic == "as_trained" else run.model.clone(dtype=arithmetic)
    classifier = Classifier(model, placed(run.variables))
    extra, pictures, origins = {}, {}, {}
    parent = run.folder.parent
    if (parent / COMPOSED / "origins.json").exists():
        origins = read_json(parent / COMPOSED / "origins.json")
        autoencoder = Run(parent / AUTOENCODER)
        unet, final = autoencoder.model, load_composed(parent, "final")
        extra["final_output"] = final_output(unet, final)
        extra["final_difference"] = output_difference(unet, final, autoencoder.variables)
        pictures["U-Net's output"] = functools.partial(unet.apply, autoencoder.variables)
        pictures["final U-Net's output"] = functools.partial(unet.apply, final)
    inputs = np.asarray(jax.jit(run.config.preprocessing)(tested.images))
    predicted = predicted_classes(classifier, inputs)
    return Subject(run, classifier, extra, pictures, origins, data, inputs, predicted)


def require_network(run: Run, where: str = "") -> None:
    """Raises InputError, which begins with `where`, for a run of no classifier and for one with a classical head."""
    where, task = where or str(run.folder), run.config.task()
    if task.name != "classification":
        beside = ", such as the one beside it" if task.name == "reconstruction" else ""
        raise InputError(f"{where}: {task.trains}; expected a classifier{beside}")
    if run.head is not None:
        raise InputError(f"{where}: its head is {run.head.name}, which has no gradient; expected --head=dense")


def predicted_classes(classifier: Classifier, inputs: np.ndarray, batch_size: int = 32) -> np.ndarray:
    """int64 [N]: the class with the highest logit of each of the network's inputs."""
    logits = in_batches(functools.partial(_logits, classifier), batch_size, inputs)
    return logits.argmax(axis=1)


@jax.jit
def _logits(classifier: Classifier, inputs: jax.Array) -> jax.Array:
    return classifier(inputs)


@dataclasses.dataclass(frozen=True)
class Permuted:
    """A network that was trained on permuted labels.

    Attributes:
      classifier: the network.
      train_accuracy: its accuracy on the permuted labels of its training slices, 0 to 1.
    """

    classifier: Classifier
    train_accuracy: float


def open_permuted(subject: Subject, folder: pathlib.Path) -> Permuted:
    """Makes a run that was trained on permuted labels ready to have its maps compared with the subject's.

    Raises:
      InputError: no run there, another model, preprocessing or split, labels that were not permuted, or an epoch that
        was chosen by true labels.
    """
    flag = f"--permuted_checkpoint={folder}"
    other, own = Run(folder), subject.run
    if other.config.preprocessing != own.config.preprocessing:
        raise InputError(f"{flag}: {other.config.preprocessing}, expected {own.config.preprocessing}")
    require_network(other, flag)
    if other.model != own.model:
        raise InputError(f"{flag}: another model than the one that is explained")
    RunFolder(folder).check_data(own.config, subject.data.split, subject.data.slices.fingerprint, flag)
    training = other.config.training
    if not training.permuted_labels or training.select != "last_epoch":
        raise InputError(
            f"{flag}: permuted_labels={training.permuted_labels}, select={training.select}; "
            "expected a run with --permuted_labels --select=last_epoch"
        )
    row = other.checkpoints.progress("best")["best"]
    classifier = dataclasses.replace(subject.classifier, variables=placed(other.variables))
    return Permuted(classifier, row["train_accuracy"])


def filled(variables: dict[str, Any]) -> dict[str, Any]:
    """The collections that hold something: those that the model itself initialises."""
    return {name: tree for name, tree in variables.items() if tree}


def placed(variables: dict[str, Any]) -> dict[str, Any]:
    """The `filled` collections on this process's first device.

    JAX compiles a program again where some arrays are bound to a device, as restored ones are, and others are not.
    """
    return jax.device_put(filled(variables), jax.local_devices()[0])


def chosen_methods(config: SaliencyConfig, subject: Subject) -> tuple[list[Method], dict[str, str]]:
    """The methods with their options for this run.

    Returns:
      The methods; and by name why others were left out, under "all", since they do not fit the model.

    Raises:
      InputError: an unknown method or layer, or a method that was named and does not fit the model; no method at all.
    """
    binding = _binding(config, subject)
    shapes = jax.ShapeDtypeStruct((1, *subject.inputs.shape[1:]), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.int32)
    chosen, left_out = [], {}
    extra = {
        name: Method(name, attribute, "the composed U-Net's", "the paper") for name, attribute in subject.extra.items()
    }
    for method in find_methods(name for name in config.methods if name not in extra):
        bound = method.bind(**binding[method.name]) if method.name in binding else method
        try:
            jax.eval_shape(functools.partial(bound.attribute, subject.classifier), *shapes, jax.random.key(0))
        except InputError as error:
            if "all" not in config.methods or (config.layer and method.name in _CAMS):
                raise
            left_out[method.name] = str(error)
            continue
        chosen.append(bound)
    chosen += [method for name, method in extra.items() if {"all", name} & {*config.methods}]
    if not chosen:
        raise InputError(f"--methods={','.join(config.methods)}: none fits the model")
    return chosen, left_out


def _binding(config: SaliencyConfig, subject: Subject) -> dict[str, dict[str, Any]]:
    """Options of the methods that do not run by their defaults."""
    random = np.random.default_rng(config.saliency_seed)
    rows = random.choice(len(subject.trained), min(_REFERENCES, len(subject.trained)), replace=False)
    references = jax.jit(subject.run.config.preprocessing)(subject.trained.images[rows])
    binding: dict[str, dict[str, Any]] = {
        name: {"samples": config.samples} for name in ("smooth_grad", "smooth_grad_squared", "var_grad")
    }
    binding["expected_gradients"] = {"samples": config.samples, "baselines": references}
    binding["integrated_gradients"] = {"steps": config.samples}
    binding["rise"] = {"samples": config.rise_masks}
    binding["score_cam"] = {"channels": config.score_cam_channels}
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
