"""gevent.inspect and gevent.top: the view of a running program, over both kinds of socket."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

import gevent
from gevent import inspect, top, util
from gevent._inspect_address import InspectError, ask_json, parse_address

PROGRAM = """
    import gevent, sys
    from gevent.queue import Queue

    def consumer(queue):
        queue.get()

    queue = Queue()
    for _ in range(3):
        gevent.spawn(consumer, queue).name = "a consumer"
    gevent.sleep(0.01)
    print("ready", flush=True)
    gevent.sleep(60)
"""


@contextmanager
def program(source=PROGRAM, **environment):
    """Run a program to its first line, and kill it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        yield process
    finally:
        process.kill()
        process.communicate()


def run_top(*arguments, **environment):
    """Return the status, the output and the errors of a command line."""
    run = subprocess.run(
        [sys.executable, "-m", "gevent.top", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, **environment},
    )
    return run.returncode, run.stdout, run.stderr


def get(view, path, token=None):
    """Return the status and the text of a page, asked for in a native thread."""
    request = urllib.request.Request(f"{view.url.partition('?')[0].rstrip('/')}{path}")
    request.add_header("Authorization", f"Bearer {view.token if token is None else token}")

    def fetch():
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return gevent.get_hub().threadpool.apply(fetch)


@pytest.fixture
def view():
    with inspect.open_view("tcp:127.0.0.1:0") as view:
        yield view


class TestPages:
    def test_greenlets(self, view):
        event = gevent.event.Event()
        waiting = [gevent.spawn(event.wait) for _ in range(2)]
        gevent.sleep(0.01)
        status, text = get(view, "/greenlets.json")
        assert status == 200
        found = {one["id"]: one for one in json.loads(text)["greenlets"]}
        one = found[hex(id(waiting[0]))]
        assert one["state"] == "waiting"
        assert one["wait"] == f"Event.wait on <Event at {id(event):#x}>, for which 1 other waits"
        main = found[hex(id(gevent.getcurrent()))]
        assert "threadpool" in main["wait"] or "apply" in main["wait"]
        assert any("test_greenlets" in line for line in main["stack"])
        assert one["spawned_by"] == main["id"]
        event.set()

    def test_metrics_are_what_prometheus_reads(self, view):
        parser = pytest.importorskip(
            "prometheus_client.openmetrics.parser", reason="prometheus_client is not here"
        )
        status, text = get(view, "/metrics")
        assert status == 200
        families = {one.name: one for one in parser.text_string_to_metric_families(text)}
        assert families["gevent_processes"].samples[0].value == 1
        made = families["gevent_greenlets_made"]
        assert made.type == "counter"
        before = made.samples[0].value
        gevent.joinall([gevent.spawn(int) for _ in range(7)])
        families = {
            one.name: one for one in parser.text_string_to_metric_families(get(view, "/metrics")[1])
        }
        assert families["gevent_greenlets_made"].samples[0].value >= before + 7

    def test_health(self, view):
        assert get(view, "/health") == (200, '{"status": "ok"}\n')

    def test_wrong_token(self, view):
        assert get(view, "/stats.json", token="wrong") == (403, "wrong token\n")

    def test_unknown_path(self, view):
        assert get(view, "/nothing")[0] == 404

    def test_a_client_that_says_nothing_is_given_up(self, view, monkeypatch):
        monkeypatch.setattr("gevent._inspect_server._PATIENCE", 0.1)
        with socket.create_connection((view.address.host, view.address.port)):
            assert get(view, "/health")[0] == 200

    def test_it_answers_while_the_loop_is_blocked(self, view):
        answers = []

        def ask():
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                stats = ask_json(view.address, "/stats.json", view.token)
                worst = stats["blocking"]["worst"]
                answers.append(stats)
                if any("block_for_a_while" in place["name"] for place in worst):
                    break
            over.set()

        def block_for_a_while():
            thread.start()
            over.wait(20)

        over = threading.Event()
        thread = threading.Thread(target=ask)
        gevent.sleep(0)
        gevent.spawn(block_for_a_while).join()
        thread.join()
        worst = answers[-1]["blocking"]["worst"]
        place = next(one for one in worst if "block_for_a_while" in one["name"])
        assert place["times"] == 1
        assert any("over.wait(20)" in line for line in place["stack"])

    def test_closed(self, view):
        address = view.address
        view.close()
        view.close()
        with pytest.raises(InspectError, match="nobody listens"):
            ask_json(address, "/stats.json", view.token)


class TestUnixSocket:
    def test_only_for_this_user(self, tmp_path):
        path = tmp_path / "view"
        with program(GEVENT_INSPECT=f"unix:{path}") as process:
            mode = path.stat().st_mode
            assert stat.S_ISSOCK(mode)
            assert stat.S_IMODE(mode) == 0o600
            with program(GEVENT_INSPECT=f"unix:{path}") as second:
                other = f"{path}.{second.pid}"
                pids = [
                    ask_json(parse_address(f"unix:{one}"), "/stats.json")["pid"]
                    for one in (path, other)
                ]
                assert pids == [process.pid, second.pid]
                assert run_top(second.pid, "--once")[0] == 0

    def test_one_left_over_is_replaced(self, tmp_path):
        path = str(tmp_path / "view")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        with inspect.open_view(f"unix:{path}") as view:
            assert view.address.path == path
        assert not os.path.exists(path)

    def test_a_file_is_left_alone(self, tmp_path):
        path = tmp_path / "file"
        path.write_text("mine")
        with pytest.raises(InspectError, match="is no socket"):
            inspect.open_view(f"unix:{path}")
        assert path.read_text() == "mine"

    def test_a_forked_child_leaves_it_to_the_parent(self, tmp_path):
        path = tmp_path / "view"
        with inspect.open_view(f"unix:{path}") as view:
            pid = gevent.fork()
            if pid == 0:
                view.close()
                os._exit(0 if not view.is_open else 1)
            assert os.waitpid(pid, 0)[1] == 0
            assert path.exists()
            assert view.is_open


@pytest.mark.parametrize(
    "address", ["", "unix:", "tcp:10.0.0.1:80", "tcp:127.0.0.1:99999", "tcp:127.0.0.1", "x:y"]
)
def test_bad_addresses(address):
    with pytest.raises(InspectError):
        inspect.open_view(address)


def test_a_program_goes_on_where_the_view_cannot_open(tmp_path):
    with program(GEVENT_INSPECT=f"unix:{tmp_path}/no/such/folder") as process:
        process.send_signal(signal.SIGTERM)
        assert process.stderr.read().startswith("gevent.inspect: cannot listen at unix:")


class TestTop:
    def test_once_and_json(self, tmp_path):
        with program(GEVENT_INSPECT="on", XDG_RUNTIME_DIR=str(tmp_path)) as process:
            status, text, _ = run_top(process.pid, "--once")
            assert status == 0
            assert f"process {process.pid}" in text
            assert "waiting in Queue.get 3" in text
            assert text.count("'a consumer' consumer") == 3
            assert "for which 2 others wait" in text
            status, text, _ = run_top(process.pid, "--json")
            assert status == 0
            assert json.loads(text)["stats"]["pid"] == process.pid

    def test_live_picture(self, tmp_path):
        pytest.importorskip("rich", reason="Rich is not here")
        import pty

        with program(GEVENT_INSPECT="on", XDG_RUNTIME_DIR=str(tmp_path)) as process:
            ours, theirs = pty.openpty()
            command = [sys.executable, "-m", "gevent.top", str(process.pid), "--interval", "0.1"]
            shown = subprocess.Popen(
                command,
                stdin=theirs,
                stdout=theirs,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
            )
            os.close(theirs)
            seen = b""
            while b"Queue.get" not in seen:
                seen += os.read(ours, 65536)
            # It ends with the program that it watches.
            process.kill()
            reader = threading.Thread(target=drain, args=(ours,))
            reader.start()
            _, errors = shown.communicate(timeout=50)
            reader.join()
            os.close(ours)
            assert shown.returncode == 1
            assert errors.startswith("gevent.top: ")
            assert errors.count("\n") == 1

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("/no/such/socket", "there is no socket /no/such/socket"),
            ("999999999", "there is no process 999999999"),
            ("this process", "has no view open"),
            ("nonsense", "neither a process, a path nor an address"),
        ],
    )
    def test_bad_targets(self, target, message):
        target = str(os.getpid()) if target == "this process" else target
        status, out, errors = run_top(target, "--once")
        assert (status, out) == (1, "")
        assert message in errors
        assert errors.count("\n") == 1

    def test_wrong_token(self, view):
        results = gevent.get_hub().threadpool.apply(
            run_top, (str(view.address), "--once", "--token", "x")
        )
        assert results == (1, "", "gevent.top: wrong token\n")

    def test_in_this_process(self, view, capsys):
        arguments = [str(view.address), "--once", "--token", view.token]
        assert gevent.get_hub().threadpool.apply(top.main, (arguments,)) == 0
        assert "the main greenlet" in capsys.readouterr().out


def drain(descriptor):
    try:
        while os.read(descriptor, 65536):
            pass
    except OSError:
        pass


class TestStats:
    def test_counters(self):
        before = util.stats()
        gevent.joinall([gevent.spawn(gevent.sleep, 0) for _ in range(10)])
        after = util.stats(waits=True)
        assert after["greenlets"]["made"] - before["greenlets"]["made"] == 10
        assert after["greenlets"]["ended"] - before["greenlets"]["ended"] == 10
        mine = [hub for hub in after["hubs"] if hub["thread"] == threading.get_ident()]
        assert mine[0]["loop"]["tasks"] > 0
        json.dumps(after)

    def test_hubs_of_threads(self):
        seen = []

        def run():
            gevent.sleep(0.001)
            seen.extend(hub["thread"] for hub in util.stats()["hubs"])
            gevent.get_hub().destroy()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert thread.ident in seen


class TestSampler:
    def test_worst_places(self):
        gevent.sleep(0.001)
        with inspect.BlockingSampler(interval=0.005) as sampler:
            until = time.monotonic() + 20
            while not sampler.worst() and time.monotonic() < until:
                busy_for(0.1)
                gevent.sleep(0.01)
        worst = sampler.worst()[0]
        assert "busy_for" in worst.name
        assert __file__ in worst.name
        assert worst.seconds >= worst.longest > 0

    def test_idle_is_not_blocked(self):
        gevent.sleep(0.001)
        with inspect.BlockingSampler(interval=0.005) as sampler:
            gevent.sleep(0.1)
        assert not [place for place in sampler.worst() if "test_idle" not in place.name]

    def test_interval_is_judged(self):
        with pytest.raises(ValueError, match="interval"):
            inspect.BlockingSampler(interval=0)


def busy_for(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def test_page_in_a_browser(require_program):
    chromium = require_program("chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not here")
    source = PROGRAM.replace('print("ready"', 'from gevent import inspect; print("ready"').replace(
        "gevent.sleep(60)", "print(inspect.open_view().url, flush=True); gevent.sleep(60)"
    )
    with (
        program(source, GEVENT_INSPECT="tcp:127.0.0.1:0") as process,
        sync_api.sync_playwright() as playwright,
    ):
        url = process.stdout.readline().strip()
        # Chromium's sandbox refuses to work for root.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        problems = []
        page.on("console", lambda one: problems.append(one.text) if one.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url)
        sync_api.expect(page.locator("#pid")).to_have_text(f"process {process.pid}", timeout=60_000)
        rows = page.locator("#greenlets tbody tr")
        sync_api.expect(rows.filter(has_text="Queue.get on <Queue")).to_have_count(3)
        sync_api.expect(page.locator("#charts figure")).to_have_count(8)
        charted = "document.querySelector('polyline').getAttribute('points').split(' ').length > 1"
        page.wait_for_function(charted, timeout=60_000)
        assert page.evaluate("document.body.scrollWidth <= innerWidth")
        assert problems == []
        process.kill()
        gone = page.locator("#gone")
        sync_api.expect(gone).to_have_text(
            "The program does not answer: it has ended.", timeout=60_000
        )
        browser.close()
