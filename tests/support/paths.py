"""The folders and files that tests use."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
SUPPORT = TESTS / "support"
DATA = TESTS / "data"
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
#: A certificate for `localhost` that signs itself, followed by its key.
CERTIFICATE = str(DATA / "localhost.pem")
