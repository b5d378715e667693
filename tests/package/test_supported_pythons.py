"""An interpreter that is not supported is refused in one line, at the import and at a build."""

import ast

import pytest
from paths import ROOT

#: The name that the interpreter is made to report, and its name in the line.
OTHERS = {
    "too old": ("sys.version_info = (3, 10, 9, 'final', 0)", "cpython 3.10"),
    "too new": ("sys.version_info = (3, 16, 0, 'final', 0)", "cpython 3.16"),
    "PyPy": ("sys.implementation.name = 'pypy'", "pypy 3."),
    "GraalPy": ("sys.implementation.name = 'graalpy'", "graalpy 3."),
    "free-threaded": ("sys.abiflags = 't'", "free-threaded"),
    "macOS": ("sys.platform = 'darwin'", "on darwin"),
    "Windows": ("sys.platform = 'win32'; del sys.abiflags", "on win32"),
}
RUN_PREREQUISITES = (
    "import runpy; sys.argv[1:] = ['python']; runpy.run_path({!r}, None, '__main__')"
)


@pytest.mark.parametrize("other", OTHERS)
def test_import(run_python, other):
    statements, name = OTHERS[other]
    result = run_python(f"import runpy, sys, typing; {statements}\nimport gevent")
    assert result.returncode == 1
    line = result.stderr.splitlines()[-1]
    assert line.startswith("ImportError: gevent-rs supports CPython 3.11 to 3.15 on Linux")
    assert name in line


@pytest.mark.parametrize("other", OTHERS)
def test_build(run_python, other):
    statements, name = OTHERS[other]
    code = RUN_PREREQUISITES.format(str(ROOT / "wheels" / "prerequisites.py"))
    # What the file imports cannot be loaded any more where the system says that it is another.
    loaded = "import pathlib, shutil, subprocess, sys"
    result = run_python(f"{loaded}; {statements}\n{code}")
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("gevent-rs: CPython 3.11 to 3.15 on Linux is needed, with the GIL")
    assert name in line


def test_this_interpreter_is_supported(output_of):
    code = RUN_PREREQUISITES.format(str(ROOT / "wheels" / "prerequisites.py"))
    assert output_of(f"import sys\n{code}") == ""


@pytest.mark.parametrize("name", ["python/gevent/__init__.py", "python/gevent/_installation.py"])
def test_old_interpreters_understand_what_refuses_them(name):
    ast.parse((ROOT / name).read_text(), feature_version=(3, 7))
