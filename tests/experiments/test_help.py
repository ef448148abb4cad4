"""What --help shows: an experiment's own flags by group, with their defaults, and nothing else."""

import os

import pytest

from tests.experiments.commands import run, start


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("cnn", ["--widths", "--epochs", "--[no]resume", "--data_dir", "--split_seed"]),
        ("cnn", ["--intensity_range", "--[no]head_mask", "--class_weights", "--intensity"]),
        ("vgg16", ["--weights", "--head", "--layer_rates"]),
        ("unet", ["--stage", "--skip_dropout", "--classifier_epochs"]),
        ("saliency", ["--methods", "--baseline", "--checkpoint"]),
        ("regions", ["--texture", "--radius", "--stages", "--outlines"]),
        ("retrieval", ["--gaussians", "--variants", "--networks", "--[no]refit"]),
    ],
)
def test_help_lists_the_experiments_own_flags_by_group(command, flags):
    done = run(os.environ, command, "--help")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"python -m experiments.{command}"
    for flag in flags:
        assert f"  {flag}" in lines, flag
    assert "--[no]pdb" not in done.stdout and "--logtostderr" not in done.stdout
    assert sum("Default: " in line for line in lines) > 5
    assert max(map(len, lines)) <= 120
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings[0] in ("system:", "stages:", "run:") and "run:" in headings


def test_the_general_command_shows_the_flags_of_the_system_that_is_named():
    done = start(os.environ, "train", "--system=vgg16", "--help")
    assert done.returncode == 0 and "  --weights" in done.stdout.splitlines()
    assert run(os.environ, "train", "--system=vgg16", "--help").stdout == done.stdout
    done = run(os.environ, "train", "--flagfile=experiments/flags/cnn_demo.flags", "--help")
    assert done.returncode == 0 and "  --widths" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "train: --system is missing: expected one of cheng2015"),
        (["train", "--system=resnet"], "train: system 'resnet': expected one of cheng2015"),
        (["cnn", "--flagfile=experiments/flags/vgg16_paper.flags"], "cnn: --system=vgg16: this command"),
        (["cnn", "--flagfile=nowhere.flags"], "nowhere.flags"),
    ],
)
def test_a_system_that_is_not_the_commands_is_one_line(arguments, message):
    done = run(os.environ, *arguments)
    assert done.returncode == 2
    assert message in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
