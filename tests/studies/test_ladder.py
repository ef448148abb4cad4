import dataclasses

import numpy as np
import pytest

import btjax
from btjax.base.errors import InputError
from btjax.data.phantom import make_phantom
from btjax.studies.data import split_of
from btjax.studies.ladder import MATCHED, Cell, check_slices, load_plan, make_plan, save_plan


@pytest.fixture(scope="module")
def slices():
    return make_phantom(10, 4, 32)


@pytest.fixture(scope="module")
def config():
    return btjax.preset("linear_cpu").replace("data.image_size", 32).replace("data.folds", 5)


def test_a_plan_has_every_fold_of_every_protocol_with_every_seed_once(slices, config):
    plan = make_plan(config, slices, ["slice", "patient"], [0, 3], matched=False)
    expected = {(rung, fold, seed) for rung in ("slice", "patient") for fold in range(5) for seed in (0, 3)}
    assert {(cell.rung, cell.fold, cell.seed) for cell in plan.cells} == expected
    assert len(plan.cells) == len(expected)


def test_the_matched_rung_trains_on_as_many_random_slices_as_the_other_protocols_do(slices, config):
    plan = make_plan(config, slices, ["slice", "patient", "family"], [0], matched=True)
    sizes = {}
    for cell in plan.cells:
        split = split_of(slices, plan.config_of(cell, "phantom"))
        assert split.protocol == cell.protocol
        sizes[cell.rung, cell.fold] = len(split.train)
    for fold in range(5):
        others = (sizes["patient", fold] + sizes["family", fold]) / 2
        assert abs(sizes[MATCHED, fold] - others) <= 0.5
        assert sizes[MATCHED, fold] < sizes["slice", fold]


@pytest.mark.parametrize("protocols", [["slice"], ["patient", "family"]])
def test_without_a_leak_to_compare_there_is_no_matched_rung(slices, config, protocols):
    assert MATCHED not in {cell.rung for cell in make_plan(config, slices, protocols, [0], matched=True).cells}


def test_cells_differ_from_the_plans_config_in_protocol_fold_and_seed_alone(slices, config):
    plan = make_plan(config, slices, ["patient"], [7], matched=False)
    told = plan.config_of(Cell("patient", 2, 7), "elsewhere").to_json()
    for name, value in (("protocol", "slice"), ("fold", 0), ("data_dir", config.data.data_dir)):
        told["data"][name] = value
    assert told | {"seed": 0} == config.with_classes(slices.classes).to_json()


def test_refitted_cells_take_the_last_epoch(slices, config):
    plan = make_plan(config.replace("data.refit", True), slices, ["patient"], [0], matched=False)
    cell = plan.config_of(plan.cells[0], "phantom")
    assert cell.training.select == "last_epoch"
    assert len(split_of(slices, cell).validation) == 0


def test_a_plan_grows_by_protocols_and_seeds_and_keeps_the_cells_it_had(slices, config, tmp_path):
    first = save_plan(tmp_path / "plan.json", make_plan(config, slices, ["slice"], [0], matched=True))
    more = make_plan(config, slices, ["patient", "slice"], [0, 1], matched=True)
    grown = save_plan(tmp_path / "plan.json", more)
    assert grown.cells[: len(first.cells)] == first.cells
    assert set(grown.cells) == set(more.cells)
    assert load_plan(tmp_path / "plan.json") == grown


def test_a_matched_cell_keeps_the_size_it_was_begun_with(slices, config, tmp_path):
    first = save_plan(tmp_path / "plan.json", make_plan(config, slices, ["slice", "patient"], [0], matched=True))
    sizes = {cell.name: cell.train_slices for cell in first.cells if cell.rung == MATCHED}
    other = dataclasses.replace(
        first, cells=tuple(dataclasses.replace(cell, train_slices=10 * bool(cell.train_slices)) for cell in first.cells)
    )
    kept = save_plan(tmp_path / "plan.json", other)
    assert {cell.name: cell.train_slices for cell in kept.cells if cell.rung == MATCHED} == sizes


def test_a_plan_of_other_options_is_refused_with_the_first_that_differs(slices, config, tmp_path):
    save_plan(tmp_path / "plan.json", make_plan(config, slices, ["slice"], [0], matched=False))
    other = make_plan(config.replace("training.epochs", 31), slices, ["slice"], [0], matched=False)
    with pytest.raises(InputError, match=r"plan\.json: the ladder there has training\.epochs=60, now .*=31"):
        save_plan(tmp_path / "plan.json", other)


def test_a_plan_of_other_slices_is_refused(slices, config, tmp_path):
    plan = save_plan(tmp_path / "plan.json", make_plan(config, slices, ["slice"], [0], matched=False))
    fewer = slices.take(np.arange(100))
    with pytest.raises(InputError, match="expected the same data set"):
        check_slices(tmp_path / "plan.json", plan, fewer)
    with pytest.raises(InputError, match="expected the same data set"):
        save_plan(tmp_path / "plan.json", make_plan(config, fewer, ["slice"], [0], matched=False))


@pytest.mark.parametrize(
    ("protocols", "seeds", "message"),
    [
        (["slice", "people"], [0], "--protocols: 'people' is none"),
        (["slice", "slice"], [0], "--protocols=slice,slice: names one twice"),
        ([], [0], "--protocols: names none"),
        (["slice"], [1, 1], "--seeds=1,1: names one twice"),
        (["given"], [0], "no division of its own"),
    ],
)
def test_what_cannot_be_planned_is_refused(slices, config, protocols, seeds, message):
    with pytest.raises(InputError, match=message):
        make_plan(config, slices, protocols, seeds, matched=True)


def test_official_needs_the_authors_folds(slices, config):
    with pytest.raises(InputError, match="no cvind folds"):
        make_plan(config, dataclasses.replace(slices, folds=None), ["official"], [0], matched=False)


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 99}', '{"schema": 1, "cells": 3}'])
def test_a_damaged_plan_is_one_line_that_names_it(tmp_path, text):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"plan\.json: "):
        load_plan(path)
