"""btjax: brain tumours in MRI slices, classified in JAX under honest protocols.

Everything below is imported when it is first used, so that `import btjax` is quick.

Example:
  >>> import btjax
  >>> btjax.preset("cnn_cpu").replace("data.protocol", "family").data.protocol
  'family'
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from btjax.base.bars import ProgressBar
    from btjax.base.errors import InputError
    from btjax.base.progress import Observer
    from btjax.commands.audit import audit_runs
    from btjax.commands.compare import compare_runs
    from btjax.commands.external import evaluate_on
    from btjax.commands.ladder import run_ladder
    from btjax.commands.predict import PredictOptions, predict, predict_into
    from btjax.commands.train import evaluate, train, train_several
    from btjax.data.builder import load
    from btjax.data.phantom import make_phantom
    from btjax.data.splits import PROTOCOLS, Split, make_split
    from btjax.readers.slices import CLASSES, Slices
    from btjax.runs.predictions import Predictions
    from btjax.runs.run import Run, restore
    from btjax.studies.maps import explain
    from btjax.systems.config import Config
    from btjax.systems.presets import preset
    from btjax.systems.system import System, find_system, register
    from btjax.training.progress import Interrupted

__all__ = [
    "CLASSES",
    "PROTOCOLS",
    "Config",
    "InputError",
    "Interrupted",
    "Observer",
    "PredictOptions",
    "Predictions",
    "ProgressBar",
    "Run",
    "Slices",
    "Split",
    "System",
    "audit_runs",
    "compare_runs",
    "evaluate",
    "evaluate_on",
    "explain",
    "find_system",
    "load",
    "make_phantom",
    "make_split",
    "predict",
    "predict_into",
    "preset",
    "register",
    "restore",
    "run_ladder",
    "train",
    "train_several",
]

_PLACES = {
    "base.bars": ["ProgressBar"],
    "base.errors": ["InputError"],
    "base.progress": ["Observer"],
    "commands.audit": ["audit_runs"],
    "commands.compare": ["compare_runs"],
    "commands.external": ["evaluate_on"],
    "commands.ladder": ["run_ladder"],
    "commands.predict": ["PredictOptions", "predict", "predict_into"],
    "commands.train": ["evaluate", "train", "train_several"],
    "data.builder": ["load"],
    "data.phantom": ["make_phantom"],
    "readers.slices": ["CLASSES", "Slices"],
    "data.splits": ["PROTOCOLS", "Split", "make_split"],
    "runs.predictions": ["Predictions"],
    "runs.run": ["Run", "restore"],
    "studies.maps": ["explain"],
    "systems.config": ["Config"],
    "systems.presets": ["preset"],
    "systems.system": ["System", "find_system", "register"],
    "training.progress": ["Interrupted"],
}

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_PLACES)
