import os
import pathlib
import subprocess
import sys
import time

import pytest

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"


def fake_python(folder: pathlib.Path, version: str, modules: bool) -> pathlib.Path:
    """An interpreter that says it is `version`, with or without venv; it can do nothing else."""
    path = folder / "python"
    supported = version in ("3.11", "3.12", "3.13")
    path.write_text(
        "#!/bin/sh\n"
        f'case "$*" in\n  *sys.exit*) exit {int(not supported)};;\n'
        f'  --version) echo "Python {version}.0";;\n  *version_info*) echo "({version})";;\n'
        f'  *"import venv"*) exit {int(not modules)};;\n  *) exit 9;;\nesac\n'
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("script", ["demo", "test", "download", "bench"])
@pytest.mark.parametrize(
    ("version", "modules", "message"),
    [
        ("3.8", True, "no supported Python: expected 3.11, 3.12 or 3.13, found Python 3.8.0"),
        ("3.12", False, "lacks venv: install it (Debian: apt install python3-venv)"),
    ],
)
def test_an_interpreter_that_will_not_do_is_one_clear_line(tmp_path, script, version, modules, message):
    environment = os.environ | {
        "PYTHON": str(fake_python(tmp_path, version, modules)),
        "BTJAX_VENV": str(tmp_path / "venv"),
    }
    done = subprocess.run([str(SCRIPTS / script)], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"{script}: ") and message in done.stderr
    assert not (tmp_path / "venv").exists()


def test_scripts_are_executable_and_explain_themselves():
    for path in SCRIPTS.iterdir():
        lines = path.read_text().splitlines()
        assert path.name == "environment" or (os.access(path, os.X_OK) and lines[0] == "#!/usr/bin/env bash")
        assert any(line.startswith("# ") for line in lines[:3]), path.name


def test_this_interpreter_is_one_that_the_scripts_accept():
    command = f". {SCRIPTS}/environment; PYTHON={sys.executable} find_python"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == sys.executable


def snapshot(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("script", ["demo", "test", "download", "bench", "convert_vgg16"])
@pytest.mark.parametrize("files", [["thesis.tex"], ["pyvenv.cfg", "bin/python"], [".hidden"], ["btjax-installed"]])
def test_a_folder_that_the_scripts_did_not_make_is_refused_and_stays_as_it_is(tmp_path, script, files):
    venv = tmp_path / "precious"
    for name in files:
        (venv / name).parent.mkdir(parents=True, exist_ok=True)
        (venv / name).write_text("mine")
    environment = os.environ | {"PYTHON": str(fake_python(tmp_path, "3.12", True)), "BTJAX_VENV": str(venv)}
    done = subprocess.run([str(SCRIPTS / script)], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == (
        f"{script}: BTJAX_VENV={venv}: is there and was not made by these scripts, expected a new folder or one of "
        "theirs\n"
    )
    assert snapshot(venv) == dict.fromkeys(files, b"mine")


def test_a_file_and_a_link_to_nothing_in_its_place_are_refused(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        command = f". {SCRIPTS}/environment; check_environment {tmp_path / name}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "was not made by these scripts" in done.stderr


def test_an_environment_is_made_anew_without_what_else_lies_in_it(tmp_path):
    venv = tmp_path / "venv"
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nmkdir -p "$3/bin" && echo new >"$3/pyvenv.cfg"\n')
    python.chmod(0o755)
    command = f". {SCRIPTS}/environment; renew_environment {python} {venv}"
    subprocess.run(["bash", "-c", command], check=True)
    (venv / "bin" / "old").touch()
    (venv / "thesis.tex").write_text("x")
    subprocess.run(["bash", "-c", command], check=True)
    assert {path.name for path in venv.iterdir()} == {"bin", "btjax-environment", "pyvenv.cfg", "thesis.tex"}
    assert not list((venv / "bin").iterdir())


LICENCES = '[{"Name": "jax", "Version": "0.9", "License": "Apache\\n2.0"}]'


@pytest.fixture
def audited(tmp_path):
    """Runs `scripts/test --audit` with an environment that is made already, in which pip-audit is this script."""

    def audited(pip_audit: str, seconds: int = 20) -> subprocess.CompletedProcess:
        venv = tmp_path / "venv"
        (venv / "bin").mkdir(parents=True)
        with open(SCRIPTS.parent / "pyproject.toml") as pyproject:
            sums = subprocess.check_output(["cksum"], stdin=pyproject, text=True).strip()
        (venv / "btjax-environment").touch()
        (venv / "btjax-installed").write_text(f"(3.12) {sums}\naudit\n")
        for name, text in (("pip-licenses", f"printf %s '{LICENCES}'"), ("pip-audit", pip_audit)):
            (venv / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (venv / "bin" / name).chmod(0o755)
        python = str(fake_python(tmp_path, "3.12", True))
        environment = os.environ | {"PYTHON": python, "BTJAX_VENV": str(venv), "BTJAX_AUDIT_SECONDS": str(seconds)}
        command = [str(SCRIPTS / "test"), "--audit"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    return audited


def test_an_audit_lists_licences_and_vulnerabilities_and_does_not_fail(audited):
    done = audited("echo pillow 1.0 CVE-1; exit 1")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.splitlines() == [
        "licences of what is installed",
        "jax\t0.9\tApache 2.0",
        "known vulnerabilities of what is installed",
        "pillow 1.0 CVE-1",
        "the audit found something or did not come to its end (status 1); it fails nothing",
    ]


def test_an_audit_without_findings_ends_without_a_word(audited):
    assert audited("echo none").stdout.splitlines()[-1] == "none"


@pytest.mark.parametrize("hangs", ["sleep 50", "trap '' INT; sleep 50"])
def test_an_audit_that_hangs_is_ended_and_does_not_fail(audited, hangs):
    began = time.monotonic()
    done = audited(hangs, seconds=2)
    assert done.returncode == 0 and "did not come to its end" in done.stdout
    assert time.monotonic() - began < 20


def test_continuous_integration_ends_with_the_status_of_the_tests_and_not_of_the_audit():
    lines = (SCRIPTS.parent / ".ci" / "run").read_text().splitlines()
    assert lines[-3:] == ["scripts/test --gates --parity || status=$?", "scripts/test --audit", 'exit "$status"']
