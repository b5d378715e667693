"""The code blocks of the documentation's pages, for the tests that run them.

A block with a caption is a file by that name, or a passage that the page puts into one; a later one
of the same name takes its place. A `python` block without a caption is a program, which must end
well; a `text` block with the caption "It prints" is what the block before it prints.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from child_environment import clean_environment
from paths import DOCS

PRINTS = "It prints"
#: The Markdown pages, README among them, by their names without the suffix.
PAGES = sorted(
    str(path.relative_to(DOCS).with_suffix(""))
    for path in DOCS.rglob("*.md")
    if "_build" not in path.parts
)

_FENCE = re.compile(
    r"^(?P<fence>`{3,}|:{3,})(?:\{code-block\} ?)?(?P<language>[\w-]+)\n"
    r"(?P<options>(?::[\w-]+:[^\n]*\n)*)(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)


@dataclass
class Block:
    """One code block of a page."""

    page: str
    line: int
    language: str
    caption: str
    text: str
    #: The text that it prints, if the page has one.
    prints: str | None = None


def blocks(page: str) -> list[Block]:
    """Return the code blocks of a page, such as `tutorial/crawler`."""
    text = (DOCS / f"{page}.md").read_text()
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        caption = re.search(r"^:caption: (.+)$", match["options"], re.MULTILINE)
        line = text.count("\n", 0, match.start()) + 1
        name = caption[1] if caption else ""
        if name == PRINTS:
            found[-1].prints = match["text"]
        else:
            found.append(Block(page, line, match["language"], name, match["text"]))
    return found


def versions(page: str, caption: str) -> list[str]:
    """Return the texts of the blocks with a caption, in order."""
    return [block.text for block in blocks(page) if block.caption == caption]


def files(
    page: str, folder: Path, *captions: str, replace: Mapping[str, object] | None = None
) -> None:
    """Write the last version of each of a page's files into `folder`.

    Words of the files, such as ports, are replaced by others; each must occur in one of the files.
    """
    found = {caption: versions(page, caption)[-1] for caption in captions}
    for word, other in (replace or {}).items():
        assert any(word in text for text in found.values()), (page, word)
        found = {name: text.replace(word, str(other)) for name, text in found.items()}
    for name, text in found.items():
        (folder / name).write_text(text)


def programs() -> list[Block]:
    """Return the Python blocks of all pages that are programs of their own."""
    return [
        block
        for page in PAGES
        for block in blocks(page)
        if block.language == "python" and not block.caption
    ]


def run(folder: Path, *words: object, errors: bool = False, **settings: str) -> str:
    """Run a Python command in a folder, `run(folder, "crawler.py")`; return what it prints.

    It must end well and, unless `errors` are to be expected, write nothing to the standard error.
    """
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(**settings),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert errors or not done.stderr, done.stderr
    return done.stdout


@contextmanager
def started(
    folder: Path, *words: object, inherit: Sequence[int] = (), **settings: str
) -> Iterator[subprocess.Popen[str]]:
    """Keep a Python command running in a folder; it is killed in the end.

    It has the descriptors `inherit` too.
    """
    with subprocess.Popen(
        [sys.executable, *map(str, words)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=inherit,
        env=clean_environment(PYTHONUNBUFFERED="1", **settings),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Read what a process says up to a line with a pattern; return where it was found."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"{pattern!r} is not in {''.join(lines)!r}")


def port_of(serving: subprocess.Popen[str]) -> int:
    """Return the port at which `python -m gevent.serve` says that it listens."""
    return int(said(serving, r"listening at https?://[\d.]+:(\d+)")[1])


def eventually(function: Callable[[], object], seconds: float = 20) -> object:
    """Call a function until it raises neither OSError nor AssertionError; return its result."""
    end = time.monotonic() + seconds
    while True:
        try:
            return function()
        except (OSError, AssertionError):
            if time.monotonic() > end:
                raise
        time.sleep(0.02)
