"""Flags: one for every option of an experiment's config, and the few that say how to run it."""

from __future__ import annotations

import dataclasses

from absl import flags

from btjax.config import Config, config_groups
from btjax.errors import InputError
from btjax.options import check_option, option_type, options

_DEFINE = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}

FLAGS = flags.FLAGS


def define_flags(experiment: str) -> None:
    """Defines a flag for every option of the experiment's config, with its default and its help."""
    for kind in config_groups(experiment).values():
        for name, field in options(kind).items():
            _define_flag(kind, name, field)
    help_text = "seed of the split, the parameters, the data order, the augmentation, the dropout"
    flags.DEFINE_integer("seed", 0, help_text, lower_bound=0, upper_bound=2**32 - 1)
    flags.DEFINE_string("workdir", None, "folder for the run: config, metrics, checkpoints, report, figures")
    flags.DEFINE_bool("resume", False, "continue the run in workdir from its last checkpoint")
    flags.DEFINE_bool("eval_only", False, "train nothing: evaluate workdir's best checkpoint and write the report anew")
    flags.DEFINE_string("cache_dir", None, "folder for prepared slices; default $BTJAX_CACHE, else ~/.cache/btjax")


def _define_flag(kind: type, name: str, field: dataclasses.Field) -> None:
    value_type, element_type = option_type(kind, name)
    help_text, choices = field.metadata["help"], field.metadata["choices"]
    if choices is not None:
        flags.DEFINE_enum(name, field.default, list(choices), help_text)
    elif element_type is not None:
        flags.DEFINE_list(name, [str(element) for element in field.default], help_text + ", comma-separated")
    else:
        _DEFINE[value_type](name, field.default, help_text)


def config_from_flags(experiment: str) -> Config:
    """The config that the parsed flags say.

    Raises:
      InputError: a value that does not parse or is out of its range.
    """
    groups = {}
    for group, kind in config_groups(experiment).items():
        values = {name: _flag_value(kind, name) for name in options(kind)}
        groups[group] = kind(**values)
    return Config(experiment=experiment, seed=FLAGS.seed, **groups)


def _flag_value(kind: type, name: str):
    value = FLAGS[name].value
    _, element_type = option_type(kind, name)
    if element_type is not None:
        try:
            value = tuple(element_type(element) for element in value)
        except ValueError:
            message = f"--{name}={','.join(value)}: expected {element_type.__name__} values, comma-separated"
            raise InputError(message) from None
    check_option(kind, name, value, f"--{name}")
    return value
