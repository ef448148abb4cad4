"""The table of every system."""

import copy

import pytest

from btjax.systems.presets import preset
from experiments import results
from experiments.costs import measure
from experiments.tables.overview import HEAD, PROTOCOLS, overview_page, overview_rows, overview_table

LADDER = "ladder_vgg16_paper"


@pytest.fixture(scope="module")
def found():
    return results.all_results()


def cells_of(found, options):
    (line,) = [line for line in overview_table(found).splitlines() if f"| `{options}` |" in line]
    return dict(zip(HEAD, (cell.strip() for cell in line.strip("|").split("|")), strict=True))


def test_rows_stand_in_the_order_of_their_accuracy_under_family(found):
    accuracies = [row.family for row in overview_rows(found)]
    assert accuracies == sorted(accuracies, reverse=True) and accuracies[0] > 0 > accuracies[-1]


def test_a_number_is_that_of_its_results_file(found):
    rung = next(rung for rung in found[LADDER]["rungs"] if rung["name"] == "family")
    assert f"{100 * rung['scores']['accuracy']:.1f}%" in cells_of(found, "vgg16_paper")["`family` (95%)"]
    changed = copy.deepcopy(found)
    next(rung for rung in changed[LADDER]["rungs"] if rung["name"] == "family")["scores"]["accuracy"] = 0.123
    assert "12.3%" in cells_of(changed, "vgg16_paper")["`family` (95%)"]


def test_a_ladder_stands_before_single_runs_of_the_same_protocol(found):
    alone = {name: result for name, result in found.items() if name != LADDER}
    assert "5 folds, 3 seeds" in cells_of(found, "vgg16_paper")["`slice` (95%)"]
    assert "seed 0" in cells_of(alone, "vgg16_paper")["`slice` (95%)"]


def test_runs_of_other_options_than_the_presets_have_a_row_of_their_own_that_names_them(found):
    changed = copy.deepcopy(found[LADDER])
    changed["config"]["training"]["epochs"] = 4
    table = overview_table({LADDER: changed, "vgg16_paper": found["vgg16_paper"]})
    rows = [line for line in table.splitlines() if line.startswith("| VGG16 transfer | `vgg16_paper`")]
    assert [("`--epochs=4`" in line, "5 folds, 3 seeds" in line) for line in sorted(rows)] == [
        (True, True),
        (False, False),
    ]


def test_runs_without_validation_slices_have_a_row_of_their_own_and_its_empty_cells_their_flags(found):
    changed = copy.deepcopy(found[LADDER]) | {"refit": True}
    changed["config"]["data"]["refit"] = True
    changed["rungs"] = [rung for rung in changed["rungs"] if rung["name"] != "official"]
    table = overview_table({f"{LADDER}_refit": changed, LADDER: found[LADDER]})
    rows = [line for line in table.splitlines() if line.startswith("| VGG16 transfer | `vgg16_paper`")]
    assert len(rows) == 2
    (row,) = (row for row in rows if "`vgg16_paper` `--refit`" in row)
    assert "--preset=vgg16_paper --refit --protocols=official" in row


def test_an_empty_cell_comes_with_the_command_that_fills_it_and_is_never_guessed():
    cells = cells_of({}, "cnn_cpu")
    assert not any(cells[f"`{name}` (95%)"] for name in PROTOCOLS)
    assert f"--preset=cnn_cpu --protocols={','.join(PROTOCOLS)}" in cells["missing"]
    cost = {"parameters": 7, "flops": 2e9, "step_ms": 41.0, "batch_size": 32}
    cells = cells_of({"costs": {"costs": {"cnn_cpu": cost}}}, "cnn_cpu")
    assert cells["missing"].endswith(", 41 ms a step of 32") and (cells["parameters"], cells["GFLOP a slice"]) == (
        "7",
        "2",
    )


def test_the_page_has_the_tables_rows(found):
    page = overview_page(found)
    assert all(row.options in page for row in overview_rows(found)) and "`" not in page.split("<table")[1]


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
    ("system", "changes", "features"),
    [
        ("linear_cpu", {"data.image_size": 32, "model.side": 8}, None),
        ("vgg16_paper", {"data.image_size": 32, "training.batch_size": 2}, "flatten"),
    ],
)
def test_a_cost_counts_the_networks_parameters_and_knows_which_features_are_computed_once(system, changes, features):
    config = preset(system)
    for name, value in changes.items():
        config = config.replace(name, value)
    cost = measure(config, rounds=1)
    assert cost.features == features and cost.step_ms > 0 and cost.forward_ms > 0
    assert cost.parameters == {"linear_cpu": 3 * 8 * 8 + 3, "vgg16_paper": 14_714_688 + 513 * 128 + 129 * 3}[system]
