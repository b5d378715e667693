"""The wheel's layout, and the start-up file that puts its gevent first.

The environments here hold the files of the source tree, laid out as in a wheel. `make test-install`
has pip and uv install real wheels.
"""

import csv
import subprocess
import sys
import zipfile
from pathlib import Path

import greenlet
import pytest
from child_environment import clean_environment
from paths import ROOT

from gevent import _core

SOURCE = ROOT / "python"
WHEELS = ROOT / "wheels"

WHICH = "import gevent; print(gevent.__path__[0])"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that was laid out as an overlay; its extension module is a link to add."""
    path = tmp_path_factory.mktemp("wheel") / "gevent_rs-1.0-py3-none-any.whl"
    info = "gevent_rs-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for package in ("gevent", "gevent_rs"):
            for file in sorted((SOURCE / package).rglob("*.py")):
                archive.write(file, file.relative_to(SOURCE))
        archive.writestr("gevent_rs-1.0.data/platlib/gevent_rs_first.pth", "import nothing\n")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: gevent-rs\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    subprocess.run([sys.executable, WHEELS / "overlay.py", path], check=True)
    return path


class Environment:
    """A virtual environment, and how its interpreter is run in it."""

    def __init__(self, folder: Path, *options: str) -> None:
        command = [sys.executable, "-m", "venv", "--without-pip", *options, folder]
        subprocess.run(command, check=True, timeout=60)
        self.python = folder / "bin" / "python"
        [self.packages] = (folder / "lib").glob("python*/site-packages")
        (self.packages / "greenlet").symlink_to(Path(greenlet.__file__).parent)

    def install(self, wheel: Path) -> Path:
        """Unpack the wheel as pip would, and return where its gevent is."""
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.packages)
        package = self.packages / "gevent_rs" / "overlay" / "gevent"
        core = Path(_core.__file__)
        (package / core.name).symlink_to(core)
        return package

    def install_gevent(self) -> Path:
        """Install what looks like gevent itself, and return its package."""
        package = self.packages / "gevent"
        package.mkdir()
        (package / "__init__.py").write_text("__version__ = '26.9.0'\n")
        info = self.packages / "gevent-26.9.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gevent\nVersion: 26.9.0\n")
        return package

    def run(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            env=clean_environment(**environment),
            cwd=self.packages.parent,
            check=False,
        )

    def output(self, *arguments: object, **environment: str) -> str:
        result = self.run(*arguments, **environment)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout.strip()

    def imported(self, *options: str, **environment: str) -> Path:
        """The folder of the gevent that an import gives."""
        return Path(self.output(*options, "-c", WHICH, **environment))


Both = tuple[Environment, Path, Path]


def make_both(folder: Path, wheel: Path) -> Both:
    venv = Environment(folder)
    return venv, venv.install(wheel), venv.install_gevent()


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Both:
    """An environment with gevent-rs and gevent: it, the package of the one and of the other."""
    return make_both(tmp_path_factory.mktemp("both") / "venv", wheel)


@pytest.fixture
def fresh(tmp_path: Path, wheel: Path) -> Both:
    """Like `both`, for a test that changes it."""
    return make_both(tmp_path / "venv", wheel)


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    """An environment with gevent-rs and no gevent."""
    venv = Environment(tmp_path_factory.mktemp("alone") / "venv")
    venv.install(wheel)
    return venv


def test_a_wheel_has_no_file_where_gevents_are(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {
        "_gevent_rs.pth",
        "gevent_rs",
        "gevent_rs-1.0.dist-info",
    }
    assert "gevent_rs/overlay/gevent/monkey/__init__.py" in names


def test_the_record_of_a_wheel_is_true(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        record = archive.read("gevent_rs-1.0.dist-info/RECORD").decode()
        lines = {name: (digest, size) for name, digest, size in csv.reader(record.splitlines())}
        assert set(lines) == set(archive.namelist())
        assert lines.pop("gevent_rs-1.0.dist-info/RECORD") == ("", "")
        for name, (digest, size) in lines.items():
            assert int(size) == archive.getinfo(name).file_size
            assert digest.startswith("sha256=")


def test_a_wheel_is_laid_out_once(wheel: Path) -> None:
    command = [sys.executable, WHEELS / "overlay.py", wheel]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode != 0
    assert "laid out already" in again.stderr


@pytest.mark.parametrize("flag", ["-I", "-E", "-s", "-P", "-O", "-Xdev"])
def test_the_overlay_is_first_whatever_the_interpreters_options(both, flag: str) -> None:
    venv, ours, _ = both
    assert venv.imported(flag) == ours


@pytest.mark.parametrize("setting", ["off", "OFF", " no ", "0", "false"])
def test_a_variable_gives_the_gevent_beside(both, setting: str) -> None:
    venv, _, other = both
    assert venv.imported(GEVENT_RS=setting) == other


@pytest.mark.parametrize("setting", ["", "on", "1", "whatever"])
def test_no_other_setting_does(both, setting: str) -> None:
    venv, ours, _ = both
    assert venv.imported(GEVENT_RS=setting) == ours


def test_switched_off_and_alone_there_is_no_gevent(alone: Environment) -> None:
    result = alone.run("-c", WHICH, GEVENT_RS="off")
    assert "No module named 'gevent'" in result.stderr


def test_the_path_of_a_program_and_pythonpath_come_before_it(both, tmp_path: Path) -> None:
    venv, _, _ = both
    own = tmp_path / "own"
    (own / "gevent").mkdir(parents=True)
    (own / "gevent" / "__init__.py").touch()
    program = own / "program.py"
    program.write_text(WHICH)
    assert venv.output(program) == str(own / "gevent")
    assert venv.imported(PYTHONPATH=str(own)) == own / "gevent"


def test_the_standard_library_is_found_without_it(both) -> None:
    venv, ours, _ = both
    path = venv.output("-c", "import sys; print(*sys.path, sep='\\n')").splitlines()
    standard_library = venv.output("-c", "import os; print(os.path.dirname(os.__file__))")
    assert path.index(standard_library) < path.index(str(ours.parent))


def test_packages_of_an_environment_on_pythonpath_do_not_come_before_it(both) -> None:
    venv, ours, _ = both
    assert venv.imported(PYTHONPATH=str(venv.packages)) == ours


def test_an_environment_that_sees_the_packages_of_another(both, tmp_path: Path) -> None:
    """As with --system-site-packages, and as uv stacks environments."""
    outer, ours, _ = both
    inner = Environment(tmp_path / "inner")
    (inner.packages / "_outer.pth").write_text(
        f"import site; site.addsitedir({str(outer.packages)!r})\n"
    )
    inner.install_gevent()
    assert inner.imported() == ours


def test_another_start_up_file_that_imports_gevent_gets_ours(fresh) -> None:
    venv, ours, _ = fresh
    (venv.packages / "aspects.pth").write_text(f"{WHICH}\n")
    assert set(venv.output("-c", WHICH).split()) == {str(ours)}


def test_the_overlay_is_on_the_path_once(both) -> None:
    venv, ours, _ = both
    code = "import sys, gevent_rs; gevent_rs.activate(); print(sys.path.count(sys.argv[1]))"
    assert venv.output("-c", code, ours.parent) == "1"


def test_children_of_multiprocessing_import_it_too(both, tmp_path: Path) -> None:
    venv, ours, _ = both
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing\n"
        "def which():\n"
        "    import gevent; print(gevent.__path__[0])\n"
        "if __name__ == '__main__':\n"
        "    child = multiprocessing.get_context('spawn').Process(target=which)\n"
        "    child.start(); child.join()\n"
    )
    assert venv.output(program) == str(ours)


def test_without_start_up_files_a_program_activates_it_or_the_path_names_it(both) -> None:
    venv, ours, other = both
    path = str(venv.packages)
    assert venv.imported("-S", PYTHONPATH=path) == other
    assert venv.imported("-S", PYTHONPATH=f"{ours.parent}:{path}") == ours
    activated = f"import gevent_rs; gevent_rs.activate(); {WHICH}"
    assert venv.output("-S", "-c", activated, PYTHONPATH=path) == str(ours)


def test_gevents_metadata_is_its_own(both) -> None:
    venv, _, _ = both
    code = "from importlib.metadata import version; print(version('gevent'), version('gevent-rs'))"
    assert venv.output("-c", code) == "26.9.0 1.0"


def test_a_start_without_gevent_imports_no_module(fresh) -> None:
    venv, _, _ = fresh
    code = "import sys; print(*sorted(sys.modules))"
    loaded = venv.output("-c", code)
    # Not without any such file: for the first one CPython itself loads a codec.
    (venv.packages / "_gevent_rs.pth").write_text("# nothing\n")
    assert venv.output("-c", code) == loaded


@pytest.mark.parametrize("setting", ["", "off", " OFF ", "no", "0", "false", "on", "1"])
def test_a_program_activates_it_as_the_start_up_file_does(both, setting: str) -> None:
    venv, _, _ = both
    show = "print(*sys.path, sep='\\n')"
    started = venv.output("-c", f"import sys; {show}", GEVENT_RS=setting)
    activate = "import gevent_rs; gevent_rs.activate()"
    again = venv.output("-c", f"import sys; {activate}; {show}", GEVENT_RS=setting)
    assert again == started


def test_a_folder_of_packages_by_another_name(both, tmp_path: Path) -> None:
    """Programs name such a folder to `site.addsitedir`."""
    venv, _, _ = both
    folder = tmp_path / "packages"
    folder.symlink_to(venv.packages)
    code = f"import site, sys; site.addsitedir(sys.argv[1]); {WHICH}"
    imported = venv.output("-S", "-c", code, folder)
    assert imported == str(folder / "gevent_rs" / "overlay" / "gevent")


class TestReport:
    """`python -m gevent_rs`"""

    def test_ours_beside_another(self, both) -> None:
        venv, ours, other = both
        report = venv.output("-m", "gevent_rs")
        assert f"import gevent gives gevent-rs, in {ours}" in report
        assert f"installed beside gevent-rs: gevent 26.9.0, in {other}" in report

    def test_switched_off(self, both) -> None:
        venv, _, other = both
        report = venv.output("-m", "gevent_rs", GEVENT_RS="off")
        assert f"import gevent gives another gevent, in {other}" in report
        assert "GEVENT_RS is 'off', which switches gevent-rs off" in report

    def test_switched_off_and_alone(self, alone: Environment) -> None:
        result = alone.run("-m", "gevent_rs", GEVENT_RS="off")
        assert result.returncode == 1
        assert "import gevent fails" in result.stdout

    def test_without_start_up_files(self, both) -> None:
        venv, ours, _ = both
        result = venv.run("-S", "-m", "gevent_rs", PYTHONPATH=str(venv.packages))
        assert result.returncode == 1
        assert f"set PYTHONPATH={ours.parent}:{venv.packages}" in result.stdout

    def test_another_before_it(self, both, tmp_path: Path) -> None:
        venv, _, _ = both
        (tmp_path / "own" / "gevent").mkdir(parents=True)
        (tmp_path / "own" / "gevent" / "__init__.py").write_text("__version__ = '1'\n")
        result = venv.run("-m", "gevent_rs", PYTHONPATH=str(tmp_path / "own"))
        assert result.returncode == 1
        assert f"{tmp_path / 'own'} comes before" in result.stdout

    def test_the_stand_in(self, tmp_path: Path, wheel: Path) -> None:
        venv = Environment(tmp_path / "venv")
        venv.install(wheel)
        info = venv.packages / "gevent-26.9.0+rs1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Name: gevent\nVersion: 26.9.0+rs1.0\n")
        report = venv.output("-m", "gevent_rs")
        assert "gevent 26.9.0+rs1.0 has no files: it stands for gevent-rs" in report

    def test_a_damaged_import(self, fresh) -> None:
        venv, ours, _ = fresh
        (ours / "_gevent_cqueue.cpython-311-x86_64-linux-gnu.so").touch()
        result = venv.run("-m", "gevent_rs")
        assert result.returncode == 1
        assert "importing it fails: ImportError" in result.stdout


class TestMixture:
    """Files of both distributions in one folder."""

    @pytest.mark.parametrize(
        "name", ["_gevent_c_imap.cpython-311-x86_64-linux-gnu.so", "_ident.abi3.so", "local.pyd"]
    )
    def test_compiled_modules_of_gevent_among_ours_are_told(self, fresh, name: str) -> None:
        venv, ours, _ = fresh
        (ours / name).touch()
        result = venv.run("-c", WHICH)
        assert result.returncode != 0
        assert f"holds compiled modules of gevent ({name}, 1 in all)" in result.stderr

    def test_files_of_ours_among_gevents_are_told(self, fresh) -> None:
        venv, _, other = fresh
        (other / "_core.cpython-311-x86_64-linux-gnu.so").touch()
        report = venv.output("-m", "gevent_rs")
        assert f"in {other}, mixed with files of gevent-rs" in report

    def test_extension_modules_for_several_pythons_are_ours(self, fresh) -> None:
        venv, ours, _ = fresh
        (ours / "_core.cpython-399-x86_64-linux-gnu.so").touch()
        assert venv.imported() == ours
