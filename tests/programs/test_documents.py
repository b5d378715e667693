"""Systems that the tutorials and a page of zunzuncito describe, as printed but for their ports."""

import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

DOCUMENTS = Path(__file__).resolve().parents[2] / "examples" / "documents"


@pytest.fixture
def example(tmp_path, started, free_port, wait_for):
    """Keep an example running, copied with a free port in place of its own.

    `with example(file, port, *argv, before=after, …) as url`: other texts may be replaced, too.
    """

    @contextmanager
    def run(file, port, *argv, texts=()):
        copy = shutil.copytree((DOCUMENTS / file).parent, tmp_path / "example") / Path(file).name
        chosen = free_port()
        text = copy.read_text()
        for before, after in [(str(port), str(chosen)), *texts]:
            assert before in text
            text = text.replace(before, after)
        copy.write_text(text)
        with started(copy, *argv):
            wait_for(chosen)
            yield f"http://localhost:{chosen}"

    return run


@pytest.fixture
def chat(example):
    texts = [("timeout=10", "timeout=1")]
    with example("tutorial_ja/29_chat_server/chat_server.py", 5000, texts=texts) as url:
        yield url


def test_chat(chat, result_of, require_program, tmp_path):
    picture = tmp_path / "chat.png"
    seen = result_of("chat_browsers.py", "talk", chat, require_program("chromium"), picture)
    assert seen == {"said": 11, "equal": True, "elsewhere": ["Eve:nobody here?"], "errors": []}
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_chat_without_a_word(chat, result_of, require_program, tmp_path):
    chromium = require_program("chromium")
    seen = result_of("chat_browsers.py", "stay", chat, chromium, tmp_path / "chat.png")
    assert seen == {"polls": ["[]", "[]"], "errors": []}


def test_chat_by_hand(chat):
    for name in ("ann", "bob"):
        assert requests.get(f"{chat}/topic1/{name}", timeout=30).status_code == 200
    assert requests.post(f"{chat}/poll/ann", timeout=30).json() == []
    for number in range(2):
        requests.post(f"{chat}/put/topic1/ann", data={"message": f"{number}"}, timeout=30)
    for name in ("ann", "bob"):
        polled = [requests.post(f"{chat}/poll/{name}", timeout=30).json() for _ in range(3)]
        assert polled == ["ann:0", "ann:1", []]


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="zunzuncito 0.1.20 cannot be installed on CPython 3.12"
)
def test_zunzuncito(example):
    with (
        example("zunzuncito/serve.py", 8000) as url,
        requests.get(url, stream=True, timeout=30) as response,
    ):
        begin = time.monotonic()
        arrived = []
        for chunk in response.iter_content(None):
            arrived.append((chunk.decode(), time.monotonic() - begin))
        texts, times = zip(*arrived, strict=True)
        assert response.headers["Content-Type"] == "text/html; charset=UTF-8"
        assert "Request-ID" in response.headers
    assert "".join(texts).startswith(
        "sleep 1 second.<br/>sleep 3 seconds...<br/>done.<br/>getting some ips...<br/>ip = "
    )
    assert "".join(texts).count("ip = ") == 4
    # The first comes before the second of sleep, the next two after it and after three more.
    assert times[0] < times[1] - 0.5 < times[2] - 3


def test_zeromq(tmp_path, free_port):
    copy = shutil.copytree(DOCUMENTS / "tutorial_ja", tmp_path / "example") / "23_zeromq.py"
    copy.write_text(copy.read_text().replace("5000", str(free_port())))
    done = subprocess.run(
        [sys.executable, copy], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "".join(
        f"Switched to {who} for  {number}\n"
        for number in range(1, 10)
        for who in ("Server", "Client")
    )
