"""Parameters of the engine's functions whose conversion may call a program's Python.

pyo3 converts numbers and sequences before anything of ours runs, by `__index__`, `__float__` and
`__iter__`. The interpreter may end a thread there, which has to be known by then
(``crates/gevent/src/args.rs``).
"""

import re

import pytest
from paths import ROOT

SOURCE = ROOT / "crates" / "gevent" / "src"
CONVERTED = re.compile(r"\b([fiu](8|16|32|64|size)|c_int|RawFd|Vec|Duration|Fields)\b")
MARK = "#[pyo3(from_py_with = from_python)]"


def parameters(text, start):
    """Return the parameters of the function whose list of them begins at *start*."""
    found, depth, last = [], 0, ""
    for before, character in zip(text[start - 1 :], text[start:], strict=False):
        depth += (character in "(<[") - (character in ")]" or (character == ">" and before != "-"))
        if depth < 0:
            return [*found, last.strip()]
        if character == "," and depth == 0:
            found.append(last.strip())
            last = ""
        else:
            last += character
    return found


def block(text, start):
    """Return the end of the block in braces that is open at *start*."""
    depth = 1
    while depth:
        depth += (text[start] == "{") - (text[start] == "}")
        start += 1
    return start


def functions():
    """Return the parameters of all functions that Python calls, by their file and name."""
    for path in sorted(SOURCE.rglob("*.rs")):
        text = re.sub(r"//[^\n]*", "", path.read_text())
        regions = [
            (match.end(), block(text, match.end()))
            for match in re.finditer(r"#\[pymethods\]\s*(?:#\[[^\]]*\]\s*)*impl[^{]*\{", text)
        ]
        for match in re.finditer(r"#\[pyfunction\b", text):
            regions.append((match.end(), text.index("{", match.end()) + 1))
        for start, end in regions:
            for match in re.finditer(r"\bfn (\w+)(<[^(]*>)?\(", text[start:end]):
                name = f"{path.relative_to(SOURCE)}: {match[1]}"
                yield name, parameters(text, start + match.end())


def test_numbers_and_sequences_are_converted_where_the_thread_is_known():
    found = list(functions())
    assert len(found) > 500
    unmarked = [
        f"{name}({parameter})"
        for name, listed in found
        for parameter in listed
        if CONVERTED.search(parameter.partition(":")[2])
        and "&[u8]" not in parameter
        and not parameter.startswith(MARK)
    ]
    assert not unmarked


@pytest.mark.parametrize("text", ["fn a(x: Option<i32>, y: (u8, Vec<u8>)) -> i32 {"])
def test_the_parameters_are_seen(text):
    assert parameters(text, text.index("(") + 1) == ["x: Option<i32>", "y: (u8, Vec<u8>)"]
