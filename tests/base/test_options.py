import dataclasses

import pytest

from btjax.base.errors import InputError
from btjax.base.options import from_dict, option_type, options, to_dict
from btjax.models import MODELS
from btjax.systems.config import Config, config_groups


def default_config(experiment: str) -> Config:
    groups = {name: kind() for name, kind in config_groups(experiment).items()}
    return Config(experiment=experiment, seed=0, **groups)


@pytest.mark.parametrize("experiment", MODELS)
def test_a_config_survives_json(experiment):
    import json

    config = default_config(experiment)
    again = Config.from_json(json.loads(json.dumps(config.to_json())), "config.json")
    assert again.to_json() == config.to_json()
    assert again.model == config.model


@pytest.mark.parametrize("experiment", MODELS)
def test_every_option_has_help_a_known_type_and_a_name_of_its_own(experiment):
    seen = {}
    for kind in config_groups(experiment).values():
        for name, field in options(kind).items():
            value_type, element_type = option_type(kind, name)
            assert value_type in (bool, int, float, str, tuple), name
            assert (element_type is not None) == (value_type is tuple)
            assert isinstance(field.default, value_type), name
            assert len(field.metadata["help"]) > 10
            assert name not in seen, f"{name} is an option of {seen[name]} and {kind}"
            seen[name] = kind


@dataclasses.dataclass(frozen=True)
class _Group:
    from btjax.base.options import option

    size: int = option(3, "how many of them", minimum=1, maximum=9)
    shape: tuple[int, ...] = option((1, 2), "shape of something", minimum=1)
    share: float = option(0.5, "some share of it")
    colour: str = option("red", "which colour it has", choices=("red", "blue"))


def test_tuples_become_lists_and_come_back():
    assert to_dict(_Group()) == {"size": 3, "shape": [1, 2], "share": 0.5, "colour": "red"}
    assert from_dict(_Group, to_dict(_Group(shape=(4,))), "here") == _Group(shape=(4,))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x": 1}, "here: unknown options for _Group: x"),
        ({"colour": "grey"}, "here: colour is 'grey', expected one of red, blue"),
        ({"size": 0}, "here: size is 0, expected at least 1 and at most 9"),
        ({"size": 10}, "here: size is 10, expected at least 1 and at most 9"),
        ({"size": "3"}, "here: size is '3', expected int"),
        ({"size": True}, "here: size is True, expected int"),
        ({"share": float("nan")}, "here: share is nan, expected a finite number"),
        ({"shape": []}, "here: shape: empty"),
        ({"shape": [1, 0]}, "here: shape is 0, expected at least 1"),
        ([], "here: found list, expected options by name"),
    ],
)
def test_what_does_not_fit_is_named(values, message):
    with pytest.raises(InputError, match=message):
        from_dict(_Group, values, "here")
