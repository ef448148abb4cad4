"""Flags: one for every option of an experiment's config, and the few that say how to run it."""

from __future__ import annotations

import dataclasses
from typing import Any

from absl import flags

from btjax.base.errors import InputError
from btjax.base.options import check_option, option_type, options
from btjax.systems.config import Config, config_groups

_DEFINE = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}

FLAGS = flags.FLAGS


def define_flags(experiment: str) -> None:
    """Defines a flag for every option of the experiment's config, with its default and its help."""
    for kind in config_groups(experiment).values():
        define_group(kind)
    flags.DEFINE_alias("mesh", "devices")
    flags.DEFINE_string(
        "coordinator",
        "",
        "HOST:PORT of the first of several processes that train one run, with one --workdir that all of them see; auto "
        "where Slurm, Open MPI or a cloud's environment tells it",
    )
    flags.DEFINE_integer("processes", 0, "how many processes train the run", lower_bound=0)
    flags.DEFINE_integer("process", 0, "which of them this is, from 0", lower_bound=0)
    help_text = "seed of the split, the parameters, the data order, the augmentation, the dropout"
    flags.DEFINE_integer("seed", 0, help_text, lower_bound=0, upper_bound=2**32 - 1)
    flags.DEFINE_string("workdir", None, "folder for the run: config, metrics, checkpoints, report, figures")
    flags.DEFINE_bool("resume", False, "continue the run in workdir from its last checkpoint")
    flags.DEFINE_bool("eval_only", False, "train nothing: evaluate workdir's best checkpoint and write the report anew")
    flags.DEFINE_bool("all_folds", False, "train every fold of the protocol in one program: workdir/fold_0 and so on")
    flags.DEFINE_list("seeds", [], "train these seeds in one program, comma-separated: workdir/seed_0 and so on")
    flags.DEFINE_string("cache_dir", None, "folder for prepared slices; default $BTJAX_CACHE, else ~/.cache/btjax")


def define_group(kind: type) -> None:
    """Defines a flag for every option of a group."""
    for name, field in options(kind).items():
        _define_flag(kind, name, field)


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
    groups = {group: group_from_flags(kind) for group, kind in config_groups(experiment).items()}
    return Config(experiment=experiment, seed=FLAGS.seed, **groups)


def several_configs(config: Config) -> dict[str, Config]:
    """The runs that --all_folds and --seeds ask for, each by its folder's name; empty where neither is given.

    Raises:
      InputError: --seeds that are no different numbers from 0 to 2**32 - 1.
    """
    seeds = [int(text) if text.strip().isdecimal() else -1 for text in FLAGS.seeds]
    if len(set(seeds)) < len(seeds) or not all(0 <= seed < 2**32 for seed in seeds):
        raise InputError(f"--seeds={','.join(FLAGS.seeds)}: expected different integers from 0 on, comma-separated")
    configs = {"": config}
    if seeds:
        configs = {f"seed_{seed}": dataclasses.replace(config, seed=seed) for seed in seeds}
    if FLAGS.all_folds:
        configs = {
            f"{name}/fold_{fold}".lstrip("/"): dataclasses.replace(one, data=dataclasses.replace(one.data, fold=fold))
            for name, one in configs.items()
            for fold in range(one.data.folds)
        }
    return {name: one for name, one in configs.items() if name}


def group_from_flags(kind: type) -> Any:
    """The group of options that the parsed flags say; InputError as in `config_from_flags`."""
    return kind(**{name: _flag_value(kind, name) for name in options(kind)})


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
