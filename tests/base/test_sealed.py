import json

import pytest

from btjax.base.errors import InputError
from btjax.base.files import read_json, write_json
from btjax.base.sealed import sealed

VALUES = {
    "seed": 1,
    "test": {"accuracy": 0.123456789, "seconds": 2.5},
    "names": ["a", "é"],
    "none": None,
    "epochs": {3: 1},
}


def test_what_is_written_comes_back_without_its_checksum(tmp_path):
    write_json(tmp_path / "a.json", VALUES)
    assert read_json(tmp_path / "a.json") == json.loads(json.dumps(VALUES))
    assert json.loads((tmp_path / "a.json").read_text()).keys() - VALUES.keys() == {"sha256"}


def test_no_flipped_bit_changes_a_value_in_silence(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, VALUES)
    whole, expected, refused = path.read_bytes(), read_json(path), 0
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            found = read_json(path)
        except InputError:
            refused += 1
            continue
        if isinstance(found, dict):  # of a flip in the name of the checksum itself: one key too many
            found = {name: value for name, value in found.items() if name in expected}
        assert found == expected
    assert refused > 0.8 * 8 * len(whole)


def test_a_file_without_a_checksum_is_read_as_it_is(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, VALUES, seal=False)
    assert read_json(path) == json.loads(json.dumps(VALUES)) == json.loads(path.read_text())
    write_json(path, [1, 2])
    assert read_json(path) == [1, 2]


def test_values_that_were_changed_by_hand_are_refused_with_a_way_out(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, VALUES)
    values = json.loads(path.read_text()) | {"seed": 2}
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"a\.json: damaged, or changed by hand.* take 'sha256' out of it"):
        read_json(path)
    del values["sha256"]
    path.write_text(json.dumps(values))
    assert read_json(path)["seed"] == 2


def test_the_checksum_of_results_does_not_depend_on_the_time_that_they_took():
    slow = VALUES | {"test": VALUES["test"] | {"seconds": 9.0}}
    other = VALUES | {"test": VALUES["test"] | {"accuracy": 0.2}}
    contents = [sealed(values)["sha256"]["content"] for values in (VALUES, slow, other)]
    assert contents[0] == contents[1] != contents[2]
    assert sealed(VALUES)["sha256"]["seconds"] != sealed(slow)["sha256"]["seconds"]
