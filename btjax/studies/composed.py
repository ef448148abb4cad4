"""Models composed from a trained autoencoder and a trained encoder classifier, beside their runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from btjax.base.checkpoints import Checkpoints
from btjax.base.digests import content_digest
from btjax.base.errors import InputError
from btjax.base.keys import random_key
from btjax.models.compose import compose_final, compose_left, compose_right
from btjax.models.unet import RightModel
from btjax.runs.folder import RunFolder
from btjax.runs.run import Run, restore
from btjax.studies.origins import forget, record

if TYPE_CHECKING:
    import pathlib

    from flax import linen as nn

    from btjax.systems.unet import StageConfig

AUTOENCODER, CLASSIFIER, COMPOSED = "autoencoder", "classifier", "composed"


def compose(folder: pathlib.Path, stages: StageConfig, seed: int) -> dict[str, dict[str, str]]:
    """Composes the final, the left and the right model and saves them under `folder`/composed.

    A model that is there already with the same values is left as it is: a full disk or a kill costs a finished
    experiment nothing.

    Args:
      folder: the experiment's folder, with the runs autoencoder and classifier.
      stages: whose `latent` and `right_colorer` are used.
      seed: of what is fresh in the left and right models.

    Returns:
      model -> path of each leaf -> autoencoder, classifier or fresh; also in composed/origins.json. What they are made
      from stands in composed/.made_of.json.

    Raises:
      InputError: a missing run, or parts that do not fit.
    """
    autoencoder, classifier = restore(folder / AUTOENCODER), restore(folder / CLASSIFIER)
    composed = {
        "final": compose_final(autoencoder.variables, classifier.variables, stages.latent),
        "left": compose_left(autoencoder.variables, fresh_variables(autoencoder, autoencoder.model, seed)),
        "right": compose_right(autoencoder.variables, fresh_right(autoencoder, seed), stages.right_colorer),
    }
    checkpoints = Checkpoints(folder / COMPOSED)
    if changed := {name: variables for name, (variables, _) in composed.items() if not _holds(folder, name, variables)}:
        forget(folder / COMPOSED)
        for name, variables in changed.items():
            checkpoints.save(name, variables, 0, {})
    origins = {name: found for name, (_, found) in composed.items()}
    RunFolder(folder / COMPOSED).write_json("origins.json", origins)
    record(folder / COMPOSED, {AUTOENCODER: autoencoder, CLASSIFIER: classifier})
    return origins


def _holds(folder: pathlib.Path, name: str, variables: dict[str, Any]) -> bool:
    """Whether a composed model is there, whole, with these values."""
    try:
        return content_digest(load_composed(folder, name)) == content_digest(variables)
    except InputError:
        return False


def load_composed(folder: pathlib.Path, name: str) -> dict[str, Any]:
    """The variables of a composed model, "final", "left" or "right"; InputError where there is none."""
    autoencoder = Run(folder / AUTOENCODER)
    model = right_model(autoencoder) if name == "right" else autoencoder.model
    shapes = jax.eval_shape(lambda: fresh_variables(autoencoder, model, 0))
    return Checkpoints(folder / COMPOSED).load(name, shapes)[0]


def right_model(autoencoder: Run) -> RightModel:
    """The right model that goes with an autoencoder."""
    model: Any = autoencoder.model
    return RightModel(colorer_size=model.colorer_size, dtype=model.dtype)


def fresh_right(autoencoder: Run, seed: int, draw: int = 0) -> dict[str, Any]:
    """Fresh variables of the right model; each draw of a seed is another."""
    return fresh_variables(autoencoder, right_model(autoencoder), seed, draw)


def fresh_variables(autoencoder: Run, model: nn.Module, seed: int, draw: int = 0) -> dict[str, Any]:
    """Fresh variables of a model on the autoencoder's inputs, from another key than training began with."""
    size, channels = autoencoder.config.data.image_size, autoencoder.config.preprocessing.channels
    key = random_key(jax.random.key(seed), "composed", draw)
    variables = model.init(key, jnp.zeros((1, size, size, channels)))
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}
