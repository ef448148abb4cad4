import dataclasses

import pytest

from btjax.base.errors import InputError
from btjax.base.options import from_dict, to_dict


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
        ({"size": 10**400}, "here: size is a whole number of 401 digits, expected at least 1 and at most 9"),
        (
            {"shape": (10**20,)},
            "shape is a whole number of 21 digits, expected at least 1 and at most 2147483647",
        ),
        ({"share": float("inf")}, "here: share is inf, expected a finite number"),
        ({"share": 10**400}, "here: share is a whole number of 401 digits, expected at most 2147483647"),
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
