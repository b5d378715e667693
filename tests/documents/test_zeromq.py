"""The tutorial's pair of ZeroMQ sockets, on a free port."""

import shutil
import subprocess
import sys

from paths import EXAMPLES
from ports import free_port

TUTORIAL = EXAMPLES / "documents" / "tutorial_ja"


def test_request_and_reply_take_turns(tmp_path):
    shutil.copy(TUTORIAL / "gevent_zeromq.py", tmp_path)
    program = tmp_path / "zeromq.py"
    text = (TUTORIAL / "23_zeromq.py").read_text()
    program.write_text(text.replace("127.0.0.1:5000", f"127.0.0.1:{free_port()}"))
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"Switched to {who} for  {n}" for n in range(1, 10) for who in ("Server", "Client")
    ]
