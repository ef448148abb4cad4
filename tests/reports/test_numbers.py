"""Numbers as pages and tables write them."""

from btjax.reports import numbers


def test_percents_below_one_never_round_up_to_hundred():
    assert [numbers.percent(value) for value in (1, 0.99999, 0.9994, 0.0)] == ["100.0%", "99.9%", "99.9%", "0.0%"]
    assert numbers.interval((0.5, 0.9999)) == "50.0 to 99.9"


def test_what_is_none_is_a_dash_or_what_the_table_wants():
    forms = (numbers.percent, numbers.number, numbers.signed)
    assert [form(None) for form in forms] == [numbers.UNDEFINED] * 3
    assert [form(None, undefined="") for form in forms] == [""] * 3
    assert numbers.interval(None) == numbers.number_interval(None) == ""
    assert numbers.amount(None) == "not known"


def test_an_interval_follows_its_value():
    assert numbers.percent_with_interval(0.5, (0.25, 0.75)) == "50.0% (25.0 to 75.0)"
    assert numbers.percent_with_interval(0.5, None) == "50.0%"
    assert numbers.number_with_interval(28.06, (27, 29), 1) == "28.1 (27.0 to 29.0)"
    assert numbers.number_with_interval(None, None, undefined="") == ""


def test_durations_are_told_in_their_unit():
    told = [numbers.duration(seconds) for seconds in (4.4, 59, 59.7, 90, 3599, 3723)]
    assert told == ["4 s", "59 s", "1 min", "2 min", "1 h 0 min", "1 h 2 min"]
