"""Rules of the sources that CONTRIBUTING.md states: length of files, words in names, true paths."""

import ast
import re
import subprocess
from functools import cache

import pytest
from paths import ROOT

#: The most lines that a file may have.
MOST_LINES = 600
#: Words that names do not use, with the words of the field to use instead.
WORDS = {
    "told": "notified",
    "tell": "notify",
    "hear": "notified",
    "patience": "deadline, timeout",
    "somebody": "the caller, the waiter",
    "bell": "semaphore",
    "parcel": "completion",
    "lively": "spinning",
    "brisk": "spinning",
    "twin": "stdlib socket",
}
#: Names of others: methods of files, and classes of gevent 0.13's documents.
OF_OTHERS = {"tell"}
#: Programs that stand in documents as they are.
QUOTED = ("examples/documents/", "tests/conformance", "tests/stdlib/")


@cache
def all_files():
    """Return the paths of the repository's files."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("the files are listed by git, and this is no clone")
    return listed.stdout.splitlines()


def sources(*suffixes):
    """Return the files of the repository with one of the suffixes."""
    for name in all_files():
        path = ROOT / name
        if name.endswith(suffixes) and not name.startswith(QUOTED) and path.exists():
            yield name, path


def names_in_rust(text):
    """Return the names that a Rust file defines."""
    text = re.sub(r"//[^\n]*", "", text)
    kinds = "fn|struct|enum|trait|type|const|static|mod|let(?: mut)?"
    return set(re.findall(rf"\b(?:{kinds})\s+(\w+)", text))


def names_in_python(text):
    """Return the names that a Python file defines."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
    return found


def words_of(name):
    """Return the words of a name in snake case or camel case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_files_are_short():
    long = {}
    for name, path in sources(".py", ".rs"):
        lines = path.read_text().count("\n")
        if lines > MOST_LINES:
            long[name] = lines
    assert long == {}


@pytest.mark.parametrize(
    ("folder", "suffix", "names"),
    [("crates/", ".rs", names_in_rust), ("python/", ".py", names_in_python)],
)
def test_names_use_the_words_of_the_field(folder, suffix, names):
    wrong = {}
    for file, path in sources(suffix):
        if not file.startswith(folder):
            continue
        for name in {*names(path.read_text()), path.stem} - OF_OTHERS:
            for word in words_of(name) & WORDS.keys():
                wrong[f"{file}: {name}"] = WORDS[word]
    assert wrong == {}


def test_words_are_found():
    assert names_in_rust("fn tell() {} // fn told\nlet mut line = 1; struct Bell;") == {
        "tell",
        "line",
        "Bell",
    }
    assert names_in_python("def f(told): self.patience = x = 1") == {"f", "told", "patience", "x"}
    assert words_of("take_all_toldWaiters") == {"take", "all", "told", "waiters"}


def ports_given_back(text):
    """Return the lines of the `with` blocks that close a socket only to keep its address."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.With)
        and isinstance(node.body[-1], ast.Assign | ast.Return)
        and "getsockname()" in ast.unparse(node.body[-1])
    ]


def test_no_test_names_a_port_that_it_gave_back():
    """The kernel may give the port to a test beside it; `ports.free_port` is what nobody gets."""
    wrong = {}
    for name, path in sources(".py"):
        if name.startswith(("tests/", "wheels/")) and (lines := ports_given_back(path.read_text())):
            wrong[name] = lines
    assert wrong == {}


def test_ports_given_back_are_found():
    block = "with create_server(('', 0)) as sock:"
    assert ports_given_back(f"{block}\n    port = sock.getsockname()[1]") == [1]
    assert ports_given_back(f"def f():\n    {block}\n        return sock.getsockname()") == [2]
    assert ports_given_back(f"{block}\n    at = sock.getsockname()\n    connect(at)") == []


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_files_that_a_page_names_are_there(page):
    """A page names a file by the end of its path, as much of it as tells where to find it."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    named = set(re.findall(r"`([\w./-]+\.(?:rs|py|pyi|toml|json))`", text))
    there = [f"/{name}" for name in all_files()]
    assert {path for path in named if not any(name.endswith(f"/{path}") for name in there)} == set()
    assert named
