"""Maps of a subject's test slices, computed once and kept; and those of anybody's images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from btjax.base.arrays import load_array, save_array
from btjax.base.batches import in_batches
from btjax.base.digests import content_digest
from btjax.base.errors import InputError, foreign
from btjax.base.keys import random_key
from btjax.runs.run import Run
from btjax.saliency.classifier import Classifier
from btjax.saliency.maps import attribution_maps, joint_maps
from btjax.saliency.methods import Joint, Method, find_methods, jointly
from btjax.studies.subject import (
    SaliencyConfig,
    Subject,
    explained_rows,
    placed,
    predicted_classes,
    require_network,
)

if TYPE_CHECKING:
    import os
    import pathlib
    from collections.abc import Sequence

    from btjax.base.progress import ProgressCallback

Maps = tuple[np.ndarray, np.ndarray]
"""Row numbers among the test slices, sorted, and their maps: int [n], float32 [n, S, S]."""


def explain(
    run: Run | str | os.PathLike,
    images: np.ndarray,
    method: str = "gradient",
    *,
    targets: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Saliency maps of what a run predicts, or of the classes that are asked for.

    Args:
      run: a classifier's, or its folder.
      images: uint8 [N, S, S], grey, S the run's `config.data.image_size`.
      method: a name of `btjax.saliency.methods.METHODS`, with its default options; what is removed becomes black.
      targets: int [N], 0 to C - 1, the class whose logit is explained; None for the predicted one.
      seed: of random methods.

    Returns:
      float32 [N, S, S], signed where the method is, not normalised.

    Raises:
      InputError: no such method, one that does not fit the network, or a run without a network to explain.
      ValueError: images or targets of another type, shape or range.

    Example:
      >>> import btjax, tempfile
      >>> config = btjax.preset("cnn_demo").replace("training.epochs", 1).replace("data.phantom_patients", 8)
      >>> run = btjax.train(config.replace("data.image_size", 32), tempfile.mkdtemp() + "/run")
      >>> btjax.explain(run, btjax.make_phantom(1, 1, 32).images, "grad_cam").shape
      (3, 32, 32)
    """
    run = run if isinstance(run, Run) else Run(run)
    require_network(run)
    run.check_images(images)
    if method == "all":
        raise InputError("method 'all': expected one method")
    (chosen,) = find_methods([method])
    if chosen.needs_options:
        raise InputError(f"method {method!r} needs training slices: python -m experiments.saliency computes its maps")
    prepare = jax.jit(run.config.preprocessing)
    inputs = in_batches(prepare, 32, images)
    classifier = Classifier(run.model, placed(run.variables))
    if targets is None:
        targets = predicted_classes(classifier, inputs)
    baselines = np.asarray(run.config.preprocessing.black(jnp.asarray(images))) if chosen.takes_baseline else None
    return attribution_maps(classifier, inputs, targets, jax.random.key(seed), chosen, baselines=baselines)


def compute_all_maps(
    config: SaliencyConfig,
    subject: Subject,
    methods: Sequence[Method],
    folder: pathlib.Path,
    progress: ProgressCallback,
) -> dict[str, Maps]:
    """`compute_maps` of every method, in the methods' order; `progress` is told of "maps" as they are done."""
    found: dict[str, Maps] = {}
    for joint in jointly(methods):
        found |= compute_maps(config, subject, joint, folder)
        progress("maps", len(found), len(methods))
    return {method.name: found[method.name] for method in methods}


def compute_maps(config: SaliencyConfig, subject: Subject, joint: Joint, folder: pathlib.Path) -> dict[str, Maps]:
    """The maps of methods by name, of their `explained_rows`; kept in `folder`.

    Raises:
      InputError: those that are kept are not what was written, or they cannot be written.
    """
    rows = explained_rows(config, subject, joint.methods[0])
    inputs, targets = subject.inputs[rows], subject.predicted[rows]
    digest, found = content_digest((inputs, targets)), {}
    for name in joint.names:
        path = folder / f"{name}.npy"
        if path.exists():
            with foreign(str(path), "the maps that were kept; remove that file, and they are computed anew"):
                found[name] = load_array(path, f"{name} of {digest}")
    for rest in jointly(method for method in joint.methods if method.name not in found):
        computed = joint_maps(
            subject.classifier,
            inputs,
            targets,
            # Of the family: a method's maps are the same alone and beside others.
            random_key(jax.random.key(config.saliency_seed), rest.name),
            rest,
            batch_size=config.batch_size,
            baselines=subject.baselines(config)[rows] if rest.takes_baseline else None,
        )
        for name, maps in computed.items():
            save_array(folder / f"{name}.npy", maps, f"{name} of {digest}")
        found |= computed
        let_programs_go()
    return {name: (rows, found[name]) for name in joint.names}


def let_programs_go() -> None:
    """Drops all compiled programs once a method is done with its own.

    The programs of every method together, for a network as large as VGG16, take more memory mappings than Linux grants
    a process (65530), and the compiler would crash.
    """
    jax.clear_caches()


def maps_of(maps: Maps, rows: np.ndarray) -> np.ndarray:
    """The maps of some of the explained rows: float32 [len(rows), S, S]."""
    known, values = maps
    return values[np.searchsorted(known, rows)]
