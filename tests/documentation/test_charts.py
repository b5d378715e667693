"""The charts show what RESULTS.md says."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from paths import ROOT

SVG = "{http://www.w3.org/2000/svg}"

RESULTS = """# Results

## Operations

| operation | gevent µs | ours µs | times faster | bar | asyncio | uvloop |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
| `first` & <last> | 10.00 | 2.50 | 4.00 | 3 | 20.00 | - |
| memory, parked in `sleep` | 8,753 B | 3,618 B | 2.42 | 1.25 | 1,496 B | 1,813 B |
"""


def draw(results: Path, folder: Path) -> dict[str, ElementTree.Element]:
    command = [sys.executable, ROOT / "benchmarks" / "charts.py", "--results", results]
    subprocess.run([*command, "--to", folder], check=True, capture_output=True, timeout=60)
    return {path.stem: ElementTree.parse(path).getroot() for path in folder.glob("*.svg")}


def test_bars_are_as_long_as_the_figures(tmp_path):
    (tmp_path / "RESULTS.md").write_text(RESULTS)
    charts = draw(tmp_path / "RESULTS.md", tmp_path / "charts")
    assert set(charts) == {"operations", "memory"}
    chart = charts["operations"]
    words = [text.text for text in chart.iter(f"{SVG}text")]
    assert "first & <last>" in words
    # 10 / 2.5 and 10 / 20.
    assert words[-2:] == ["4.0", "0.5"]
    long = {
        bar.get("class"): float(bar.get("width"))
        for bar in chart.iter(f"{SVG}rect")
        if bar.get("height") == "12"
    }
    assert long["ours"] == pytest.approx(8 * long["asyncio"])


def test_the_charts_of_the_documentation_are_those_of_the_results(tmp_path):
    drawn = draw(ROOT / "benchmarks" / "RESULTS.md", tmp_path)
    assert len(drawn) >= 6
    for name in drawn:
        there = ROOT / "docs" / "charts" / f"{name}.svg"
        assert there.read_text() == (tmp_path / f"{name}.svg").read_text(), "make charts draws them"


def test_the_drawings_are_those_of_their_program(tmp_path):
    # It writes beside itself, into the folder `explanation` next to its own.
    program = tmp_path / "_ext" / "drawings.py"
    program.parent.mkdir()
    (tmp_path / "explanation").mkdir()
    program.write_text((ROOT / "docs" / "_ext" / "drawings.py").read_text())
    subprocess.run([sys.executable, program], check=True, timeout=60)
    drawn = sorted((tmp_path / "explanation").glob("*.svg"))
    assert [path.stem for path in drawn] == ["stacks", "switching", "wakeup"]
    for path in drawn:
        assert path.read_text() == (ROOT / "docs" / "explanation" / path.name).read_text()
        ElementTree.parse(path)
