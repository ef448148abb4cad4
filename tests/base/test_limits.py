import pytest

from btjax.base.errors import InputError
from btjax.base.limits import LIMITS, check_limit, limit_of


def test_a_size_at_the_limit_passes_and_one_above_it_is_refused_with_the_way_to_raise_it():
    most = LIMITS["image_side"].most
    check_limit("image_side", most, "x")
    with pytest.raises(InputError, match=rf"x: found {most + 1} pixels a side, .*\$BTJAX_LIMIT_IMAGE_SIDE raises it"):
        check_limit("image_side", most + 1, "x")


def test_the_environment_puts_another_limit_in_place(monkeypatch):
    monkeypatch.setenv("BTJAX_LIMIT_FRAMES", "3")
    assert limit_of("frames") == 3
    with pytest.raises(InputError, match="found 4 frames"):
        check_limit("frames", 4, "x")


@pytest.mark.parametrize("text", ["", "0", "-1", "1e9", "\uff11", "9" * 19])
def test_a_limit_that_is_no_positive_number_is_refused(monkeypatch, text):
    monkeypatch.setenv("BTJAX_LIMIT_FRAMES", text)
    with pytest.raises(InputError, match="BTJAX_LIMIT_FRAMES"):
        limit_of("frames")
