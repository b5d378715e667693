"""gevent.inspect: the view of a running program, over both kinds of socket."""

import json
import os
import signal
import socket
import stat
import threading
import time

import pytest
from inspect_support import get, program, run_top

import gevent
from gevent import inspect
from gevent._inspect_address import InspectError, ask_json, parse_address


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

    def test_stack_of_one(self, view):
        greenlet = gevent.spawn(wait_here, gevent.event.Event())
        gevent.sleep(0.01)
        listed = json.loads(get(view, "/greenlets.json?stacks=0")[1])
        one = next(one for one in listed["greenlets"] if one["id"] == hex(id(greenlet)))
        assert "stack" not in one
        status, text = get(view, f"/stack.json?number={one['number']}")
        assert status == 200
        assert "wait_here" in json.loads(text)["stack"][-1]
        greenlet.kill()
        assert get(view, f"/stack.json?number={one['number']}") == (
            404,
            "that greenlet has ended\n",
        )
        assert get(view, "/stack.json?number=x")[0] == 400

    def test_at_most_so_many(self, view):
        listed = json.loads(get(view, "/greenlets.json?most=1")[1])
        assert len(listed["greenlets"]) == 1
        assert listed["left_out"] >= 1
        assert listed["cost"] > 0
        assert get(view, "/greenlets.json?most=-1")[0] == 400

    def test_proxies_of_the_program_are_not_asked(self, view):
        asked = []

        class Proxy:
            @property
            def __class__(self):
                asked.append(1)
                return int

        kept = [Proxy()]
        for path in ("/greenlets.json", "/stats.json?waits=1", "/metrics"):
            assert get(view, path)[0] == 200
        assert kept
        assert not asked

    def test_closed(self, view):
        address = view.address
        view.close()
        view.close()
        with pytest.raises(InspectError, match="nobody listens"):
            ask_json(address, "/stats.json", view.token)


class TestUnixSocket:
    def test_only_for_this_user(self, socket_folder):
        path = socket_folder / "view"
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

    def test_one_left_over_is_replaced(self, socket_folder):
        path = str(socket_folder / "view")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        with inspect.open_view(f"unix:{path}") as view:
            assert view.address.path == path
        assert not os.path.exists(path)

    def test_a_file_is_left_alone(self, socket_folder):
        path = socket_folder / "file"
        path.write_text("mine")
        with pytest.raises(InspectError, match="is not a socket"):
            inspect.open_view(f"unix:{path}")
        assert path.read_text() == "mine"

    def test_a_forked_child_leaves_it_to_the_parent(self, socket_folder):
        path = socket_folder / "view"
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


def test_a_program_goes_on_where_the_view_cannot_open(socket_folder):
    with program(GEVENT_INSPECT=f"unix:{socket_folder}/no/such/folder") as process:
        process.send_signal(signal.SIGTERM)
        assert process.stderr.read().startswith("gevent.inspect: cannot listen at unix:")


class TestSampler:
    def test_worst_places(self):
        gevent.sleep(0.001)
        with inspect.BlockingSampler(interval=0.005) as sampler:
            # Where the machine stalls is a place too.
            found = []
            end = time.monotonic() + 20
            while not found and time.monotonic() < end:
                busy_for(0.1)
                gevent.sleep(0.01)
                found = [place for place in sampler.worst() if "busy_for" in place.name]
        worst = found[0]
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


def wait_here(event):
    event.wait()


def busy_for(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
