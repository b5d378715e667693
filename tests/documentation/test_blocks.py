"""The programs that the documentation shows run as they stand; a test uses each of its files."""

import re

import pages
import pytest
from paths import TESTS


@pytest.mark.parametrize("block", pages.programs(), ids=lambda block: f"{block.page}:{block.line}")
def test_program(block, tmp_path):
    (tmp_path / "program.py").write_text(block.text)
    printed = pages.run(tmp_path, "program.py")
    if block.prints is not None:
        assert printed == block.prints


def test_a_test_uses_every_file():
    tests = "".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    files = {
        (block.page, block.caption)
        for page in pages.PAGES
        for block in pages.blocks(page)
        if block.caption
    }
    assert files
    unused = {
        (page, caption)
        for page, caption in files
        if f'"{page}"' not in tests or f'"{caption}"' not in tests
    }
    assert not unused


def test_the_pages_are_read_as_they_are_written():
    # Every fence that opens is closed, and counted.
    for page in pages.PAGES:
        text = (pages.DOCS / f"{page}.md").read_text()
        fences = re.findall(r"^```\S", text, re.MULTILINE)
        other = re.findall(r"^```\{(?!code-block)", text, re.MULTILINE)
        shown = pages.blocks(page)
        printed = [block for block in shown if block.prints is not None]
        assert len(fences) - len(other) == len(shown) + len(printed), page
