"""A search for hyper-parameters: its space, its trials, what it reports, and how it goes on."""

import dataclasses
import json
import os
from types import SimpleNamespace

import optuna
import pytest

import btjax
from btjax.base.errors import InputError, Unwritable
from btjax.commands import search as command
from btjax.commands.search import SearchPlan, run_search
from btjax.studies.search import Dimension, read_space
from btjax.systems.presets import flag_lines, preset, with_flags
from tests.experiments import commands

pytestmark = pytest.mark.usefixtures("standard_promotion")

TINY = """
--system=cnn --data_dir=phantom --phantom_patients=6 --phantom_slices=3 --image_size=32 --protocol=patient
--colour=grey --widths=2,4 --pools=2 --dense=4 --batch_size=8 --epochs=2 --select=validation_accuracy
""".split()
SPACE = "# small\n--widths=2 --pools=1 | --widths=2,4 --pools=2\n--learning_rate=0.001..0.1 log\n--dense=2..6\n"


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "tiny.space"
    path.write_text(SPACE)
    return path


@pytest.fixture
def config():
    return with_flags(preset("cnn_demo"), [flag for flag in TINY if "--system" not in flag], "here")


def test_a_space_is_ranges_and_choices_of_flags_that_vary_together(space):
    assert read_space(space) == (
        Dimension("widths+pools", ("--widths=2 --pools=1", "--widths=2,4 --pools=2")),
        Dimension("learning_rate", low=0.001, high=0.1, log=True),
        Dimension("dense", low=2, high=6, whole=True),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no dimension, expected lines such as"),
        ("--epochs=3", "line 1 is '--epochs=3', expected a range --NAME=LOW..HIGH or two or more choices"),
        ("--dropout=0.5..0.1", "expected a lower end below the upper one"),
        ("--dropout=0..0.1 log", "expected a lower end below the upper one, above 0"),
        ("--dense=2|3\n--dense=2..6", "line 2: --dense varies in an earlier line too"),
        ("dense = 3 | 4", "expected a range"),
    ],
)
def test_a_space_that_is_none_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "some.space"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        read_space(path)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_the_command_finds_the_best_point_and_writes_a_flags_file_that_trains(tmp_path, space):
    folder = tmp_path / "search"
    done = commands.run(os.environ, "search", *TINY, f"--space={space}", "--trials=4", f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    page, report = (folder / "search.html").read_text(), command_report(folder)
    assert len(report["trials"]) == 4 and f"best: trial {report['best']}" in done.stdout
    best = max(row["value"] for row in report["trials"] if row["state"] == "complete")
    found = next(row for row in report["trials"] if row["number"] == report["best"])
    assert found["value"] == best and "The test slices were not looked at" in page
    for trial in (folder / "trials").iterdir():
        assert not (trial / "report.json").exists() and not (trial / "predictions.npz").exists()
    run = btjax.train(preset(str(folder / "best.flags")).replace("data.data_dir", "phantom"), tmp_path / "best")
    assert max(row["validation_accuracy"] for row in run.history) == pytest.approx(best)


def command_report(folder):
    return json.loads((folder / "search.json").read_text())


def stop_in_the_second(monkeypatch):
    """Stops the second trial, once, when an epoch of it is complete."""
    trained, stopped = command._Search._train, []

    def train(self, config, folder, observer):
        if not stopped and folder.path.name == "0001":
            stopped.append(folder)
            epoch = observer.on_epoch

            def stop(progress):
                epoch(progress)
                raise KeyboardInterrupt

            observer.on_epoch = stop
        trained(self, config, folder, observer)

    monkeypatch.setattr(command._Search, "_train", train)


def train_nothing(monkeypatch):
    """Trials end at once, all equally good; gives the folder and the options of each that was begun."""
    begun = []

    def train(self, config, folder, observer):
        begun.append((folder.path.name, config))
        history = [{"epoch": 1, "validation_accuracy": 0.5}]
        folder.path.mkdir(parents=True, exist_ok=True)
        (folder.path / "metrics.jsonl").write_text(json.dumps(history[0]) + "\n")
        observer.on_epoch(SimpleNamespace(history=history))

    monkeypatch.setattr(command._Search, "_train", train)
    return begun


def test_a_search_that_is_stopped_goes_on_to_the_same_trials(tmp_path, space, config, monkeypatch):
    plan = SearchPlan(config, space, trials=3, pruner="none")
    whole = run_search(plan, tmp_path / "whole")
    stop_in_the_second(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run_search(plan, tmp_path / "stopped")
    report = run_search(plan, tmp_path / "stopped")
    assert [(row.flags, row.value) for row in report.trials] == [(row.flags, row.value) for row in whole.trials]
    with pytest.raises(InputError, match="holds results of search with"):
        run_search(dataclasses.replace(plan, sampler="random"), tmp_path / "stopped")


@pytest.fixture
def grid(tmp_path, config):
    path = tmp_path / "grid.space"
    path.write_text("--dense=2|4\n--dropout=0.0|0.5\n")
    return SearchPlan(config.replace("training.epochs", 1), path, 30, "grid", "none")


def test_every_point_of_a_grid_that_is_stopped_is_tried_once(tmp_path, grid, monkeypatch):
    stop_in_the_second(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run_search(grid, tmp_path / "grid")
    report = run_search(grid, tmp_path / "grid")
    assert len({row.flags for row in report.trials}) == len(report.trials) == 4
    assert {row.state for row in report.trials} == {"complete"}


def test_the_trial_that_was_stopped_goes_on_in_its_own_folder_and_no_other_does(tmp_path, grid, monkeypatch):
    begun = train_nothing(monkeypatch)
    stop_in_the_second(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run_search(grid, tmp_path / "grid")
    run_search(grid, tmp_path / "grid")
    assert len(begun) == 5 and len(dict(begun)) == 4
    assert [config for name, config in begun if name == "0001"] == [begun[1][1]] * 2


def test_a_grid_that_is_made_longer_goes_on_with_its_other_points(tmp_path, grid, monkeypatch):
    begun = train_nothing(monkeypatch)
    run_search(grid, tmp_path / "whole")
    whole = [config for _, config in begun]
    begun.clear()
    for trials in (1, 3, 30):
        report = run_search(dataclasses.replace(grid, trials=trials), tmp_path / "longer")
        assert len(report.trials) == min(trials, 4)
    assert [config for _, config in begun] == whole


def name_by_path(storage, folder):
    """Trials that run are known by the path of their folder, as those of earlier versions are."""
    database = optuna.storages.RDBStorage(storage)
    for study in database.get_all_studies():
        for trial in database.get_all_trials(study._study_id, states=(optuna.trial.TrialState.RUNNING,)):
            database.set_trial_user_attr(trial._trial_id, "workdir", str(folder))
    database.engine.dispose()


@pytest.mark.parametrize("earlier", [False, True])
def test_two_machines_whose_folders_have_the_same_path_leave_each_other_s_trials_alone(
    tmp_path, grid, monkeypatch, earlier
):
    plan = dataclasses.replace(grid, storage=f"sqlite:///{tmp_path}/search.db")
    begun = train_nothing(monkeypatch)
    train, machines = command._Search._train, [tmp_path / "first", tmp_path / "second"]

    def meanwhile_the_other_searches(self, config, folder, observer):
        train(self, config, folder, observer)
        if len(begun) == 1:
            if earlier:
                name_by_path(plan.storage, "search")
            monkeypatch.chdir(machines[1])
            run_search(dataclasses.replace(plan, trials=3), "search")
            monkeypatch.chdir(machines[0])

    monkeypatch.setattr(command._Search, "_train", meanwhile_the_other_searches)
    for machine in machines:
        machine.mkdir()
    monkeypatch.chdir(machines[0])
    report = run_search(plan, "search")
    assert [row.state for row in report.trials] == ["complete"] * 4 and len(begun) == 4
    assert [len(list((machine / "search" / "trials").iterdir())) for machine in machines] == [2, 2]


@pytest.mark.parametrize("earlier", [False, True])
def test_a_search_in_a_database_goes_on_in_its_folder_however_that_is_named(tmp_path, grid, monkeypatch, earlier):
    plan = dataclasses.replace(grid, storage=f"sqlite:///{tmp_path}/search.db")
    begun = train_nothing(monkeypatch)
    stop_in_the_second(monkeypatch)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_search(plan, "search")
    if earlier:
        name_by_path(plan.storage, tmp_path / "search")
        (tmp_path / "search" / command.ID).unlink()
    report = run_search(plan, tmp_path / "search")
    assert len(report.trials) == 4 and [name for name, _ in begun].count("0001") == 2


def lose_the_storage(patch, kind, name):
    """The first call of a method after a trial was asked for does not reach the storage."""
    called, asked, ask = getattr(kind, name), [], optuna.Study.ask

    def note_and_ask(self, *rest, **options):
        asked.append(None)
        return ask(self, *rest, **options)

    def call(self, *rest, **options):
        if asked:
            patch.undo()
            raise ConnectionError("the server is gone")
        return called(self, *rest, **options)

    patch.setattr(optuna.Study, "ask", note_and_ask)
    patch.setattr(kind, name, call)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (optuna.Trial, "set_user_attr"),
        (optuna.Study, "get_trials"),
        (optuna.Trial, "report"),
        (optuna.Trial, "should_prune"),
        (optuna.Study, "tell"),
    ],
)
def test_a_storage_that_is_lost_is_one_line_and_the_search_goes_on_to_every_point(
    tmp_path, grid, monkeypatch, kind, name
):
    train_nothing(monkeypatch)
    with pytest.MonkeyPatch.context() as patch:
        lose_the_storage(patch, kind, name)
        with pytest.raises(InputError, match=r"queue\.log: the server is gone, expected a journal"):
            run_search(grid, tmp_path / "grid")
    report = run_search(grid, tmp_path / "grid")
    assert len({row.flags for row in report.trials}) == len(report.trials) == 4
    assert {row.state for row in report.trials} == {"complete"}


def test_a_full_disk_is_no_fault_of_the_point_that_was_tried(tmp_path, grid, monkeypatch):
    begun = train_nothing(monkeypatch)
    run_search(grid, tmp_path / "whole")
    whole = begun.copy()
    begun.clear()
    with pytest.MonkeyPatch.context() as patch:

        def full(*_):
            raise Unwritable("config.json: cannot be written: no room")

        patch.setattr(command._Search, "_train", full)
        with pytest.raises(Unwritable, match="no room"):
            run_search(grid, tmp_path / "full")
    report = run_search(grid, tmp_path / "full")
    assert {str(config) for _, config in begun} == {str(config) for _, config in whole}
    assert [row.state for row in report.trials] == ["complete"] * len(whole)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_trial_that_is_stopped_before_its_point_is_kept_is_tried_at_the_same_point(
    tmp_path, config, space, monkeypatch, sampler
):
    begun, plan = train_nothing(monkeypatch), SearchPlan(config, space, 12, sampler, "none")
    run_search(plan, tmp_path / "whole")
    whole = begun.copy()
    begun.clear()
    with pytest.MonkeyPatch.context() as patch:
        lose_the_storage(patch, optuna.Trial, "set_user_attr")
        with pytest.raises(InputError):
            run_search(plan, tmp_path / "stopped")
    run_search(plan, tmp_path / "stopped")
    assert [config for _, config in begun] == [config for _, config in whole]


def test_points_that_cannot_be_are_told_and_a_space_of_them_alone_is_refused(tmp_path, config):
    path = tmp_path / "bad.space"
    path.write_text("--pools=3|4\n")
    with pytest.raises(
        InputError, match=r"none of 2 points could be trained; the last: .*--pools=[34]: expected at most"
    ):
        run_search(SearchPlan(config, path, 30, "grid"), tmp_path / "bad")


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("--nonsense=1|2", {}, "--nonsense is no option of cnn"),
        ("--dense=0|2", {}, "--dense is 0, expected at least 1"),
        (
            "--dense=2|4",
            {"data.refit": True, "training.select": "last_epoch"},
            "--refit: a search chooses on validation",
        ),
        ("--dropout=0.1..0.5", {"sampler": "grid"}, "--sampler=grid: --dropout is a range, expected choices"),
        ("--dense=2|4", {"storage": "nonsense://"}, "--storage=nonsense://"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_it_trains(tmp_path, config, text, changes, message):
    path = tmp_path / "some.space"
    path.write_text(text)
    own = {name: changes.pop(name) for name in ("sampler", "storage") if name in changes}
    for name, value in changes.items():
        config = config.replace(name, value)
    with pytest.raises(InputError) as refused:
        run_search(SearchPlan(config, path, **own), tmp_path / "search")
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_the_lines_of_a_config_are_read_back_to_it(tmp_path):
    for name in ("cnn_cpu", "vgg16_paper", "joint_cpu", "cnn_irmak_cpu"):
        path = tmp_path / f"{name}.flags"
        path.write_text("\n".join(flag_lines(preset(name))))
        assert preset(str(path)) == preset(name)
