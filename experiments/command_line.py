"""Flags: one for every option of a system's config, the few that say how to run it, and --help by groups."""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from absl import flags

from btjax.base.errors import InputError, foreign
from btjax.base.files import expanded
from btjax.base.options import check_option, option_type, options
from btjax.systems.config import Config, config_groups
from btjax.systems.presets import preset_path

if TYPE_CHECKING:
    import dataclasses
    from collections.abc import Iterable, Iterator, Sequence

_DEFINE = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}

FLAGS = flags.FLAGS

_GROUPS: dict[str, list[str]] = {}
"""Heading of --help -> names of flags, in order."""


def define_flags(system: str) -> None:
    """Defines the flags of a run: how it is made, and every option of its system's config."""
    define_run_flags()
    define_process_flags()
    define_options(system)


def define_options(system: str) -> None:
    """Defines a flag for every option of a system's config alone."""
    for group, kind in config_groups(system).items():
        define_group(kind, f"{group} ({kind.__name__})")
    if "devices" in FLAGS:
        flags.DEFINE_alias("mesh", "devices")


def define_run_flags() -> None:
    """The flags that say where and how a run is made."""
    with heading("run"):
        flags.DEFINE_string("workdir", None, "folder for the run: config, metrics, checkpoints, report, figures")
        flags.DEFINE_bool("resume", False, "continue the run in workdir from its last checkpoint")
        flags.DEFINE_bool(
            "eval_only", False, "train nothing: evaluate workdir's best checkpoint and write predictions and report"
        )
        help_text = "seed of the parameters, the data order, the augmentation, the dropout; of the split: --split_seed"
        flags.DEFINE_integer("seed", 0, help_text, lower_bound=0, upper_bound=2**32 - 1)
        flags.DEFINE_bool("all_folds", False, "train every fold of the protocol in one program: workdir/fold_0 ...")
        flags.DEFINE_list("seeds", [], "train these seeds in one program, comma-separated: workdir/seed_0 and so on")
        flags.DEFINE_bool(
            "stream",
            None,
            "read slices from their prepared copy while training goes on, with the same result; by default where "
            "training would take more than half of the memory for them",
        )
        define_cache_flag()


def define_cache_flag() -> None:
    """Where prepared slices are kept."""
    flags.DEFINE_string("cache_dir", None, "folder for prepared slices; default $BTJAX_CACHE, else ~/.cache/btjax")


def define_process_flags() -> None:
    """The flags of several processes that train one run."""
    with heading("several processes"):
        flags.DEFINE_string(
            "coordinator",
            "",
            "HOST:PORT of the first of several processes that train one run, with one --workdir that all of them see; "
            "auto where Slurm, Open MPI or a cloud's environment tells it",
        )
        flags.DEFINE_integer("processes", 0, "how many processes train the run", lower_bound=0)
        flags.DEFINE_integer("process", 0, "which of them this is, from 0", lower_bound=0)


@contextlib.contextmanager
def heading(title: str) -> Iterator[None]:
    """Context in which flags are defined that --help shows under a heading."""
    before = set(FLAGS)
    yield
    _GROUPS.setdefault(title, []).extend(name for name in FLAGS if name not in before)


def define_group(kind: type, title: str) -> None:
    """Defines a flag for every option of a group."""
    with heading(title):
        for name, field in options(kind).items():
            _define_flag(kind, name, field)


def _define_flag(kind: type, name: str, field: dataclasses.Field) -> None:
    value_type, element_type = option_type(kind, name)
    help_text, choices = field.metadata["help"], field.metadata["choices"]
    if choices is not None:
        flags.DEFINE_enum(name, str(field.default), list(choices), help_text)
    elif element_type is not None:
        default: Any = field.default
        flags.DEFINE_list(name, [str(element) for element in default], help_text + ", comma-separated")
    else:
        _DEFINE[value_type](name, field.default, help_text)


def asked_for_help(arguments: Iterable[str]) -> bool:
    """Whether --help stands among a command's arguments."""
    return bool({"--help", "-help", "-h", "--helpfull", "--helpshort"} & set(arguments))


def help_text(command: str, description: str) -> str:
    """What --help prints: the command, and its own flags by group with their defaults."""
    lines = [f"python -m experiments.{command}", "", description.strip()]
    for title, names in _GROUPS.items():
        lines += ["", f"{title}:"]
        for name in sorted(set(names), key=names.index):
            flag: Any = FLAGS[name]
            default = flag.default
            shown = ",".join(map(str, default)) if isinstance(default, list) else default
            prefix = f"  --[no]{name}" if flag.boolean else f"  --{name}"
            choices = f" one of {', '.join(values)};" if (values := getattr(flag.parser, "enum_values", None)) else ""
            text = f"{flag.help}.{choices} Default: {'none' if shown in (None, '') else shown}"
            lines += [prefix, *textwrap.wrap(text, 112, initial_indent="      ", subsequent_indent="      ")]
    lines += ["", "Also --flagfile=FILE, which reads flags from a file, one a line; flags that are typed win over it."]
    return "\n".join(lines)


def parse(arguments: Sequence[str]) -> list[str]:
    """Parses a command's arguments, the first of which is its name; gives what is no flag.

    Raises:
      InputError: an unknown flag, or a value that does not parse.
    """
    try:
        return FLAGS([arguments[0], *arranged(arguments[1:])])
    except (flags.Error, ValueError) as error:
        raise InputError(f"{' '.join(str(error).split())}; --help lists the flags") from None


def arranged(arguments: Sequence[str], including: tuple[str, ...] = ()) -> list[str]:
    """The arguments with the lines of every --flagfile first and what was typed last, for the last of a flag counts.

    So what is typed wins over a flag file, wherever --flagfile stands; of two files the later wins; and a file's own
    lines win over those of the files that it names.

    Args:
      arguments: as typed, or a file's lines.
      including: the files that these lines come from, outermost first.

    Raises:
      InputError: a file that cannot be read, or that names itself.
    """
    files, own, rest = [], [], list(arguments)
    while rest:
        text = rest.pop(0)
        name, separator, value = text.partition("=")
        if text == "--":
            own += [text, *rest]
            break
        if name not in ("--flagfile", "-flagfile"):
            own.append(text)
            continue
        if not separator and not rest:
            raise InputError("--flagfile: expected the path of a file with flags, one a line")
        files.append(value if separator else rest.pop(0))
    lines = [line for path in files for line in arranged(_lines(path, including), (*including, path))]
    return lines + own


def _lines(path: str, including: tuple[str, ...]) -> list[str]:
    if path in including:
        raise InputError(f"--flagfile={path}: names itself by way of {including[-1]}")
    with foreign(f"--flagfile={path}", "a text file with flags, one a line"):
        lines = [line.strip() for line in expanded(path).read_text(encoding="utf-8-sig").splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "//"))]


def flag_before_parsing(name: str, default: str, arguments: Sequence[str] | None = None) -> str:
    """The value of a flag, given directly or in a --flagfile, that decides which others there are."""
    given = arranged(sys.argv[1:] if arguments is None else arguments)
    values = [default]
    for text, following in itertools.zip_longest(given, given[1:], fillvalue=""):
        flag, separator, value = text.partition("=")
        if flag in (f"--{name}", f"-{name}"):
            values.append(value if separator else following)
    return values[-1]


def with_presets(arguments: Sequence[str]) -> list[str]:
    """The arguments with the flags file of a preset in the place of --preset=NAME.

    Raises:
      InputError: no preset of that name.
    """
    found = []
    for text in arguments:
        name, separator, value = text.partition("=")
        if name not in ("--preset", "-preset"):
            found.append(text)
        elif separator:
            found.append(f"--flagfile={preset_path(value)}")
        else:
            raise InputError("--preset: expected --preset=NAME")
    return found


def config_from_flags(system: str) -> Config:
    """The config that the parsed flags say.

    Raises:
      InputError: a value that does not parse or is out of its range.
    """
    groups = {group: group_from_flags(kind) for group, kind in config_groups(system).items()}
    return Config(system, FLAGS.seed if "seed" in FLAGS else 0, **groups)


def several_configs(config: Config) -> dict[str, Config]:
    """The runs that --all_folds and --seeds ask for, each by its folder's name; empty where neither is given.

    Raises:
      InputError: --seeds that are not different numbers from 0 to 2**32 - 1.
    """
    seeds = whole_numbers("seeds", FLAGS.seeds)
    configs = {"": config}
    if seeds:
        configs = {f"seed_{seed}": config.replace("seed", seed) for seed in seeds}
    if FLAGS.all_folds:
        configs = {
            f"{name}/fold_{fold}".lstrip("/"): one.replace("data.fold", fold)
            for name, one in configs.items()
            for fold in range(one.data.folds)
        }
    return {name: one for name, one in configs.items() if name}


def whole_numbers(flag: str, texts: Sequence[str]) -> list[int]:
    """The numbers of a flag; InputError where they are not different ones from 0 to 2**32 - 1."""
    numbers = [int(text) if re.fullmatch(r"\s*[0-9]{1,10}\s*", text, re.ASCII) else -1 for text in texts]
    if len(set(numbers)) < len(numbers) or not all(0 <= number < 2**32 for number in numbers):
        raise InputError(f"--{flag}={','.join(texts)}: expected distinct non-negative integers, comma-separated")
    return numbers


def group_from_flags(kind: type) -> Any:
    """The group of options that the parsed flags say; InputError as in `config_from_flags`."""
    return kind(**{name: _flag_value(kind, name) for name in options(kind)})


def _flag_value(kind: type, name: str) -> Any:
    value: Any = FLAGS[name].value
    _, element_type = option_type(kind, name)
    if element_type is not None:
        try:
            value = tuple(element_type(element) for element in value)
        except ValueError:
            message = f"--{name}={','.join(value)}: expected {element_type.__name__} values, comma-separated"
            raise InputError(message) from None
    check_option(kind, name, value, f"--{name}")
    return value
