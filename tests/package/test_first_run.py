"""A machine that lacks something gets one line, before anything is downloaded or compiled."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

PREREQUISITES = ROOT / "wheels" / "prerequisites.py"

#: The programs that make and the shell commands of the Makefile need.
SHELL = ("dirname", "env", "expr", "find", "grep", "make", "sed", "sh", "sort", "test", "touch")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder that has all the programs of a machine, to be its PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in SHELL:
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    program(folder / "cargo", "echo cargo 1.99.0")
    program(folder / "cc", "true")
    program(folder / "python3", f'exec "{sys.executable}" "$@"')
    return folder


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def check(machine: Path, *names: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CARGO", "RUST"))}
    return subprocess.run(
        [sys.executable, PREREQUISITES, *names],
        env=kept | {"PATH": str(machine), "CARGO_HOME": str(machine.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def refusal(machine: Path, *names: str) -> str:
    result = check(machine, *names)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    return line


def test_a_machine_that_has_everything_is_told_nothing(machine: Path):
    result = check(machine)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_no_cargo(machine: Path):
    (machine / "cargo").unlink()
    assert refusal(machine) == "gevent-rs: no cargo found: install Rust from https://rustup.rs"


def test_an_old_cargo(machine: Path):
    program(machine / "cargo", "echo cargo 1.63.0 '(fd9c4297c 2022-07-01)'")
    assert "or later is needed, cargo is 1.63.0: install Rust from" in refusal(machine)


def test_a_cargo_without_a_toolchain(machine: Path):
    program(machine / "cargo", "echo no default toolchain >&2; exit 1")
    assert "cargo does not run" in refusal(machine)


def test_no_compiler(machine: Path):
    (machine / "cc").unlink()
    assert "no C compiler found (cc)" in refusal(machine)


def test_a_linker_that_cargo_is_told_of_is_enough(machine: Path):
    (machine / "cc").unlink()
    (machine.parent / "config.toml").write_text("[target.x]\nlinker = 'clang'\n")
    assert check(machine).returncode == 0


@pytest.mark.parametrize("target", ["demo", "test", "build"])
@pytest.mark.parametrize("missing", ["cargo", "cc", "python3"])
def test_make_says_it_before_it_does_anything(
    machine: Path, tmp_path: Path, target: str, missing: str
):
    (machine / missing).unlink()
    venv = tmp_path / "venv"
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("CARGO", "RUST", "MAKE", "PYTHON", "VENV"))
    }
    result = subprocess.run(
        ["make", "--no-print-directory", target, f"VENV={venv}"],
        cwd=ROOT,
        env=kept | {"PATH": str(machine), "CARGO_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    told = [line for line in result.stderr.splitlines() if not line.startswith("make: ***")]
    assert len(told) == 1
    assert told[0].startswith("gevent-rs: no ")
    assert not venv.exists()


def test_pip_is_told_by_the_build_backend(machine: Path):
    (machine / "cargo").unlink()
    code = (
        "import sys; sys.path.insert(0, 'wheels'); import backend\n"
        "backend.get_requires_for_build_wheel()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PATH": str(machine), "CARGO_HOME": str(machine.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr == "gevent-rs: no cargo found: install Rust from https://rustup.rs\n"
