"""The presets: options that belong together, kept as the experiments' flags files."""

from __future__ import annotations

import dataclasses
import pathlib
from importlib import resources
from typing import TYPE_CHECKING, Any

from btjax.base.errors import InputError, foreign
from btjax.base.files import expanded
from btjax.base.options import check_option, option_type, options
from btjax.systems.config import Config, config_groups

if TYPE_CHECKING:
    from collections.abc import Sequence


def preset(name: str) -> Config:
    """The config of a preset.

    Args:
      name: of a flags file of the experiments, such as "cnn_cpu", or the path of another.

    Raises:
      InputError: there is none, or a line in it that is no option of its system.

    Example:
      >>> preset("cnn_cpu").training.epochs
      24
    """
    path = preset_path(name)
    texts = _read_flags(path)
    if "system" not in texts:
        raise InputError(f"{path}: names no --system, so it is no preset to train")
    return _config(texts.pop("system"), texts, path)


def preset_path(name: str) -> pathlib.Path:
    """The flags file of a preset: that of its name among the experiments', or the one at that path.

    Raises:
      InputError: there is none.
    """
    path = expanded(name)
    if path.suffix != ".flags":
        path = pathlib.Path(str(resources.files("experiments").joinpath("flags", f"{name}.flags")))
    if not path.is_file():
        known = ", ".join(preset_names())
        raise InputError(f"preset {name!r}: not found, expected one of {known}, or the path of a .flags file")
    return path


def preset_names() -> tuple[str, ...]:
    """The presets that name a system."""
    folder = pathlib.Path(str(resources.files("experiments").joinpath("flags")))
    return tuple(sorted(path.stem for path in folder.glob("*.flags") if "system" in _read_flags(path)))


def _read_flags(path: pathlib.Path, including: tuple[pathlib.Path, ...] = ()) -> dict[str, str]:
    """Name -> text of every line `--name=value`; `--name` and `--noname` of switches are told by the option.

    As for the commands, a line `--flagfile=PATH` stands for the lines of that file, over which a file's own lines win.
    """
    if path in including:
        raise InputError(f"{including[-1]}: --flagfile={path} names itself")
    texts, named = {}, {}
    with foreign(str(path), "a text file with flags, one a line"):
        lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line or line.startswith(("#", "//")):
            continue
        if not line.startswith("--"):
            raise InputError(f"{path}: line {number} is {line!r}, expected --name=value")
        name, separator, text = line[2:].partition("=")
        if name == "flagfile":
            named |= _read_flags(expanded(text), (*including, path))
        else:
            texts[name] = text if separator else "true"
    return named | texts


def with_flags(config: Config, flags: Sequence[str], where: str) -> Config:
    """A config with some options changed together.

    Args:
      config: the options to begin with.
      flags: such as "--dropout=0.2", "--flip", "--noflip".
      where: names in errors what the flags come from.

    Raises:
      InputError: a flag that its system does not have, a value that it does not take, options that do not go together.

    Example:
      >>> with_flags(preset("cnn_cpu"), ["--epochs=3", "--noflip"], "here").training.epochs
      3
    """
    values, seed = check_flags(config.system, flags, where)
    try:
        for group, chosen in values.items():
            if group == "model" and chosen:
                config = dataclasses.replace(config, model=config.model.clone(**chosen))
            elif chosen:
                config = dataclasses.replace(config, **{group: dataclasses.replace(getattr(config, group), **chosen)})
        return config if seed is None else config.replace("seed", seed)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def check_flags(system: str, flags: Sequence[str], where: str) -> tuple[dict[str, dict[str, Any]], Any]:
    """The values of flags by group and option, and of --seed or None; InputError where one alone is wrong."""
    texts = {}
    for flag in flags:
        name, separator, text = flag.removeprefix("--").partition("=")
        texts[name] = text if separator else "true"
    return _values(system, texts, where)


def _config(system: str, texts: dict[str, str], path: pathlib.Path) -> Config:
    values, seed = _values(system, texts, str(path))
    kinds, seed = config_groups(system), 0 if seed is None else seed
    try:
        groups = {group: kind(**values[group]) for group, kind in kinds.items()}
        return Config(system, 0, **groups).replace("seed", seed)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _values(system: str, texts: dict[str, str], where: str) -> tuple[dict[str, dict[str, Any]], Any]:
    """The values of flags by group and option, each checked by itself, and that of --seed or None."""
    kinds = config_groups(system)
    places = {name: group for group, kind in kinds.items() for name in options(kind)}
    values: dict[str, dict[str, Any]] = {group: {} for group in kinds}
    seed = None
    for name, text in texts.items():
        if name.startswith("no") and name[2:] in places and text == "true":
            name, text = name[2:], "false"
        if name == "seed":
            seed = int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else text
        elif name not in places:
            raise InputError(f"{where}: --{name} is no option of {system}")
        else:
            kind = kinds[places[name]]
            value = _parsed(kind, name, text, where)
            check_option(kind, name, value, f"{where}: --{name}")
            values[places[name]][name] = value
    return values, seed


def _parsed(kind: type, name: str, text: str, where: str) -> Any:
    value_type, element_type = option_type(kind, name)
    try:
        if value_type is tuple and element_type is not None:
            return tuple(element_type(part.strip()) for part in text.split(","))
        if value_type is bool:
            return {"true": True, "false": False}[text.lower()]
        return value_type(text)
    except (ValueError, KeyError):
        raise InputError(f"{where}: --{name}={text}: expected {(element_type or value_type).__name__}") from None


def flag_lines(config: Config) -> list[str]:
    """The lines of a flags file for a config: its system, and every option that is not at its default.

    The folder of the data is left out.

    Example:
      >>> flag_lines(Config.default("cnn").replace("training.epochs", 3))
      ['--system=cnn', '--epochs=3']
    """
    default, lines = Config.default(config.system), [f"--system={config.system}"]
    lines += [f"--seed={config.seed}"] if config.seed else []
    for group, kind in config_groups(config.system).items():
        for name in options(kind):
            value = getattr(getattr(config, group), name)
            if value == getattr(getattr(default, group), name) or name == "data_dir":
                continue
            if isinstance(value, bool):
                lines.append(f"--{'' if value else 'no'}{name}")
            else:
                shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
                lines.append(f"--{name}={shown}")
    return lines
