"""The presets: options that belong together, kept as the experiments' flags files."""

from __future__ import annotations

import pathlib
from importlib import resources
from typing import Any

from btjax.base.errors import InputError, foreign
from btjax.base.files import expanded
from btjax.base.options import check_option, option_type, options
from btjax.systems.config import Config, config_groups


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


def _config(system: str, texts: dict[str, str], path: pathlib.Path) -> Config:
    kinds = config_groups(system)
    places = {name: group for group, kind in kinds.items() for name in options(kind)}
    values: dict[str, dict[str, Any]] = {group: {} for group in kinds}
    seed = 0
    for name, text in texts.items():
        if name.startswith("no") and name[2:] in places and text == "true":
            name, text = name[2:], "false"
        if name == "seed":
            seed = int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else text
        elif name not in places:
            raise InputError(f"{path}: --{name} is no option of {system}")
        else:
            kind = kinds[places[name]]
            value = _parsed(kind, name, text, path)
            check_option(kind, name, value, f"{path}: --{name}")
            values[places[name]][name] = value
    try:
        groups = {group: kind(**values[group]) for group, kind in kinds.items()}
        return Config(system, 0, **groups).replace("seed", seed)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _parsed(kind: type, name: str, text: str, path: pathlib.Path) -> Any:
    value_type, element_type = option_type(kind, name)
    try:
        if value_type is tuple and element_type is not None:
            return tuple(element_type(part.strip()) for part in text.split(","))
        if value_type is bool:
            return {"true": True, "false": False}[text.lower()]
        return value_type(text)
    except (ValueError, KeyError):
        raise InputError(f"{path}: --{name}={text}: expected {(element_type or value_type).__name__}") from None
