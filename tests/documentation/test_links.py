"""The pages that name each other by relative paths: what they name exists."""

import re
import subprocess
from pathlib import Path

import pytest
from paths import ROOT

#: Pages that are read in the source tree, or on the host of a copy of it.
PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", ".github/**/*.yml")
    for path in ROOT.glob(pattern)
)
#: ``[text](target)``, without what stands in code.
LINK = re.compile(r"\]\(([^()\s]+)\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
#: Files that prose and issue templates name as they lie in the source tree.
NAMED = re.compile(r"(?<![\w/.-])((?:docs/[\w./-]+|[A-Z][A-Z_]+)\.md)\b")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_files(page):
    text = (ROOT / page).read_text()
    missing = []
    for target in LINK.findall(CODE.sub("", text)):
        name = target.partition("#")[0]
        if name and not re.match(r"[a-z]+:", name):
            path = (ROOT / page).parent / name
            # The pages of the reference are written as the site is built.
            if not path.exists() and not name.startswith("api/"):
                missing.append(target)
    assert not missing


# An entry of the changelog names files as they were in its version.
@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=str)
def test_files_that_are_named_exist(page):
    text = (ROOT / page).read_text()
    names = set(NAMED.findall(text))
    missing = [
        name
        for name in names
        if not any((folder / name).exists() for folder in (ROOT, (ROOT / page).parent))
    ]
    assert not missing


def test_the_pages_of_the_project_name_each_other():
    def named_in(page):
        return set(NAMED.findall((ROOT / page).read_text()))

    pages = {"CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "ARCHITECTURE.md"}
    assert pages | {"docs/project/support.md"} <= named_in("README.md")
    assert "docs/reference/limits.md" in named_in("SECURITY.md")
    assert {"SECURITY.md", "docs/project/support.md"} <= named_in(".github/ISSUE_TEMPLATE/bug.yml")
    assert "docs/how-to/hangs.md" in named_in(".github/ISSUE_TEMPLATE/hang.yml")


def test_they_are_in_the_repository():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no checkout, so nothing says which files belong to it")
    files = set(map(Path, listed.stdout.splitlines()))
    assert {
        page for page in PAGES if page.parts[0] in ("README.md", "SECURITY.md", ".github")
    } <= files
