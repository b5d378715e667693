"""Other ways to install, and what is without a start-up file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipapp
from collections.abc import Callable
from pathlib import Path

import pytest
from environments import GEVENT, TOOLS, TOP, WHICH, Venv, clean_environment, run

MakeVenv = Callable[..., Venv]

#: The project's own Python, without the environment that the tests run in.
BASE = Path(sys._base_executable)


def test_an_environment_that_sees_the_systems_packages(make_venv: MakeVenv, wheel: Path) -> None:
    """An environment of an environment would see the base's packages, so a file stacks them."""
    outer, inner = make_venv("outer"), make_venv("inner")
    outer.install(wheel)
    inner.install(f"gevent=={GEVENT}")
    (inner.packages / "outer.pth").write_text(
        f"import site; site.addsitedir({str(outer.packages)!r})\n"
    )
    assert inner.imported() == outer.ours
    assert inner.imported(GEVENT_RS="off") == inner.gevents


@pytest.fixture
def user(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has no packages yet."""
    return clean_environment(PYTHONUSERBASE=str(tmp_path / "user"))


def test_a_users_own_packages(user: dict[str, str], wheel: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--python", BASE, "install", "--quiet", "--user"]
    command = [*pip, "--break-system-packages", wheel, f"gevent=={GEVENT}"]
    subprocess.run(command, env=user, check=True, timeout=300)

    def imported(**more: str) -> str:
        command = [BASE, "-c", WHICH]
        return subprocess.check_output(command, env=user | more, cwd=tmp_path, text=True).strip()

    [packages] = (tmp_path / "user" / "lib").glob("python*/site-packages")
    assert imported() == str(packages / "gevent_rs" / "overlay" / "gevent")
    assert imported(GEVENT_RS="off") == str(packages / "gevent")


def test_a_folder_without_start_up_files(make_venv: MakeVenv, wheel: Path, tmp_path: Path) -> None:
    """`pip install --target`: the report says which PYTHONPATH to set."""
    venv, target = make_venv("venv"), tmp_path / "target"
    venv.install("--target", target, wheel, f"gevent=={GEVENT}")
    assert venv.imported(PYTHONPATH=str(target)) == target / "gevent"
    command = [venv.python, "-m", "gevent_rs"]
    environment = clean_environment(PYTHONPATH=str(target))
    report = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert report.returncode == 1
    setting = f"{target}/gevent_rs/overlay{os.pathsep}{target}"
    assert f"set PYTHONPATH={setting}" in report.stdout
    assert venv.imported(PYTHONPATH=setting) == target / "gevent_rs" / "overlay" / "gevent"


def test_a_zipapp_that_adds_a_folder_of_packages(
    make_venv: MakeVenv, wheel: Path, tmp_path: Path
) -> None:
    venv, packages = make_venv("venv"), tmp_path / "packages"
    venv.install("--target", packages, wheel, f"gevent=={GEVENT}")
    source = tmp_path / "app"
    source.mkdir()
    (source / "__main__.py").write_text(
        f"import site; site.addsitedir({str(packages)!r})\n{WHICH}\n"
    )
    archive = tmp_path / "app.pyz"
    zipapp.create_archive(source, archive)
    assert venv.output(archive) == str(packages / "gevent_rs" / "overlay" / "gevent")
    assert venv.output(archive, GEVENT_RS="off") == str(packages / "gevent")


def test_packages_that_are_copied_elsewhere(make_venv: MakeVenv, wheel: Path) -> None:
    """As between the layers of a container's image."""
    first, second = make_venv("first"), make_venv("second")
    first.install(wheel, f"gevent=={GEVENT}")
    shutil.copytree(first.packages, second.packages, dirs_exist_ok=True)
    assert second.imported() == second.ours


def test_pipx_injects_it(wheel: Path, tmp_path: Path) -> None:
    places = {"PIPX_HOME": str(tmp_path / "pipx"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    pipx = [TOOLS / "pipx"]
    run(*pipx, "install", "--python", sys.executable, "gunicorn[gevent]", environment=places)
    run(*pipx, "inject", "gunicorn", wheel, environment=places)
    python = tmp_path / "pipx" / "venvs" / "gunicorn" / "bin" / "python"
    assert "import gevent gives gevent-rs" in run(python, "-m", "gevent_rs")


def test_uv_stacks_environments(wheel: Path, tmp_path: Path) -> None:
    uv = [TOOLS / "uv", "run", "--quiet", "--no-project", "--python", sys.executable]
    command = [*uv, "--with", wheel, "--with", f"gevent=={GEVENT}", "python", "-m", "gevent_rs"]
    assert "import gevent gives gevent-rs" in run(*command, cwd=tmp_path)


PROJECT = """
[project]
name = "service"
version = "1"
requires-python = ">=3.11"
dependencies = ["gevent-rs", "gevent-websocket"]

[tool.uv]
override-dependencies = [{override}]

[tool.uv.sources]
gevent-rs = {{ path = "{wheel}" }}
"""


@pytest.mark.parametrize("override", ["", "\"gevent; sys_platform == 'never'\""])
def test_uv_sync(override: str, wheel: Path, tmp_path: Path) -> None:
    """With the line of the README, uv installs no gevent."""
    (tmp_path / "pyproject.toml").write_text(PROJECT.format(override=override, wheel=wheel))
    run(TOOLS / "uv", "sync", "--quiet", "--python", sys.executable, cwd=tmp_path)
    report = run(tmp_path / ".venv" / "bin" / "python", "-m", "gevent_rs")
    assert "import gevent gives gevent-rs" in report
    assert ("installed beside gevent-rs" in report) == (not override)


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_the_stand_in_keeps_gevent_off_the_disk(
    installer: str, dist: Path, wheel: Path, tmp_path: Path
) -> None:
    venv = Venv(tmp_path / "venv", installer)
    [stand_in] = dist.glob("gevent-*+rs*.whl")
    venv.install(wheel, stand_in, "gevent-websocket", "gunicorn[gevent]")
    assert not venv.gevents.exists()
    assert venv.imported() == venv.ours
    assert venv.version("gevent").startswith(f"{GEVENT}+rs")
    # What gevent brings along.
    venv.output("-c", "import zope.event, zope.interface")
    assert "it stands for gevent-rs" in venv.output("-m", "gevent_rs")
    venv.check()
    venv.install("gevent-websocket", "locust", "--find-links", dist)
    assert not venv.gevents.exists()


@pytest.mark.xdist_group("sources")
class TestSources:
    """Installs that compile."""

    def test_the_source_distribution(self, sources: Venv, build: dict[str, str]) -> None:
        out = sources.folder / "sdist"
        run(sources.python, "-m", "maturin", "sdist", "--out", out, cwd=TOP)
        [archive] = out.glob("gevent_rs-*.tar.gz")
        pip = [sources.python, "-m", "pip", "install", "--no-build-isolation"]
        run(*pip, archive, environment=build, timeout=900)
        assert sources.imported() == sources.ours
        assert sources.imported(GEVENT_RS="off") == sources.gevents
        sources.uninstall("gevent-rs")

    @pytest.mark.parametrize("way", ["pip", "maturin"])
    def test_editable(self, sources: Venv, build: dict[str, str], way: str, tmp_path: Path) -> None:
        # A copy, so that the extension module of the work tree stays as it is.
        copy = tmp_path / "sources"
        ignore = shutil.ignore_patterns("target", ".venv*", ".git", "dist", "build", "*.so")
        shutil.copytree(TOP, copy, ignore=ignore)
        if way == "pip":
            pip = [sources.python, "-m", "pip", "install", "--no-build-isolation"]
            run(*pip, "--editable", copy, environment=build, timeout=900)
        else:
            develop = [sources.python, "-m", "maturin", "develop", "--release", "--quiet"]
            run(*develop, cwd=copy, environment=build, timeout=900)
        assert sources.imported() == copy / "python" / "gevent"
        assert sources.imported(GEVENT_RS="off") == sources.gevents
        assert "import gevent gives gevent-rs" in sources.output("-m", "gevent_rs")
        sources.uninstall("gevent-rs")
        assert sources.imported() == sources.gevents


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Venv:
    """An environment with gevent, and with what builds this package."""
    venv = Venv(tmp_path_factory.mktemp("sources") / "venv", "pip")
    venv.install(f"gevent=={GEVENT}", "greenlet", "maturin>=1.16,<2")
    return venv


@pytest.fixture(scope="module")
def build(sources: Venv) -> dict[str, str]:
    """The environment variables of a quick build without isolation.

    Isolation would give each build an interpreter of its own, and cargo compile for each anew. The
    folder for what cargo makes is new: the files of every source distribution have the same time,
    so cargo would take what it made of an older one for theirs.
    """
    return {
        "CARGO_TARGET_DIR": str(sources.folder.parent / "target"),
        "CARGO_PROFILE_RELEASE_LTO": "off",
        "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
        "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
        "CARGO_PROFILE_RELEASE_DEBUG": "none",
        "VIRTUAL_ENV": str(sources.folder),
        "PATH": f"{sources.python.parent}{os.pathsep}{os.environ['PATH']}",
    }
