"""gevent.util.stats, and the same numbers for Prometheus."""

import json
import subprocess
import sys
import threading
import time

import pytest
from conditions import until

import gevent
from gevent import socket, util
from gevent._metrics import metrics_of, open_metrics
from gevent.event import Event
from gevent.pool import Pool
from gevent.queue import Queue


class TestCounters:
    def test_counters(self):
        before = util.stats()
        gevent.joinall([gevent.spawn(gevent.sleep, 0) for _ in range(10)])
        after = util.stats(waits=True)
        # What an earlier test left to be spawned later is counted too.
        assert after["greenlets"]["made"] - before["greenlets"]["made"] >= 10
        assert after["greenlets"]["ended"] - before["greenlets"]["ended"] >= 10
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

    def test_kinds_of_waits(self):
        queue, event = Queue(), Event()
        waiting = [gevent.spawn(queue.get) for _ in range(3)]
        waiting += [gevent.spawn(event.wait) for _ in range(2)]
        gevent.sleep(0)
        found = util.stats(waits=True)
        assert found["waits"]["Queue.get"] >= 3
        assert found["waits_by_kind"]["get"] >= 3
        assert found["waits_by_kind"]["wait"] >= 2
        gevent.killall(waiting)

    def test_pools(self):
        pools = [Pool(2), Pool(5), Pool()]
        event = Event()
        for pool in pools:
            for _ in range(2):
                pool.spawn(event.wait)
        gevent.sleep(0)
        before = util.stats(waits=True)["pools"]
        assert before["pools"] >= 3
        assert before["limited"] >= 2
        assert before["room"] >= 7
        assert before["running"] >= 6
        assert before["full"] >= 1
        event.set()
        for pool in pools:
            pool.join()
        after = util.stats(waits=True)["pools"]
        assert before["running"] - after["running"] == 6
        assert before["full"] - after["full"] == 1

    def test_threadpool(self):
        gevent.get_hub().threadpool.apply(int)
        mine = my_hub(util.stats())
        assert mine["threadpool"]["threads"] >= 1
        assert mine["threadpool"]["most"] == gevent.get_hub().threadpool.maxsize

    def test_look_ups(self):
        before = util.stats()["look_ups"]
        socket.getaddrinfo("127.0.0.1", 80)
        socket.gethostbyname("localhost")
        with pytest.raises(socket.gaierror):
            socket.getaddrinfo("no.figures", 80, flags=socket.AI_NUMERICHOST)
        after = util.stats()["look_ups"]
        assert after["begun"] - before["begun"] == 3
        assert after["failed"] - before["failed"] == 1
        assert after["running"] == before["running"] == 0

    def test_memory_of_stacks(self):
        greenlets = [gevent.spawn(gevent.sleep, 100) for _ in range(200)]
        gevent.sleep(0.01)
        memory = util.stats(waits=True)["memory"]
        assert memory["frames_bytes"] >= memory["frames_used_bytes"] > 0
        assert memory["saved_stacks_bytes"] > 200 * 100
        gevent.killall(greenlets)


def my_hub(found):
    return next(hub for hub in found["hubs"] if hub["thread"] == threading.get_ident())


def busy_for(seconds):
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


#: Programs that run without a switch for a fifth of a second; the longest run is to name where.
LONG_RUNS = {
    "a greenlet that ends": "gevent.spawn(compute).join()",
    "a method that ends": "gevent.spawn(Worker().compute).join()",
    "a greenlet that waits afterwards": "gevent.spawn(waits_after).join()",
    "a greenlet that yields afterwards": "gevent.spawn(yields_after).join()",
    "the main greenlet": "compute(); gevent.sleep(0.001)",
    "a greenlet among others that yield": "others(); gevent.spawn(waits_after).join()",
    "a raw greenlet": "gevent.spawn_raw(waits_after); gevent.sleep(0.01)",
    "after short turns": "turns(); gevent.spawn(waits_after).join()",
    "the main greenlet, alone, between yields": "yields(); compute(); yields()",
}
LONG_RUN = """
import gevent, time
from gevent.util import stats

def compute():
    # No stall between two other lines is as long.
    until = time.perf_counter() + 0.5
    while time.perf_counter() < until:
        pass

class Worker:
    def compute(self):
        compute()

def waits_after():
    compute()
    gevent.sleep(0.001)

def yields_after():
    compute()
    gevent.sleep(0)

def yielding():
    while True:
        gevent.sleep(0)

def others():
    for _ in range(3):
        gevent.spawn(yielding)

def turns():
    for _ in range(50):
        gevent.sleep(0.0001)

def yields():
    for _ in range(500):
        gevent.sleep(0)

gevent.sleep(0.001)
stats()
gevent.sleep(0.001)
exec(%r)
gevent.sleep(0.001)
loop = stats()["hubs"][0]["loop"]
print(loop["longest_run"]["seconds"] >= 0.5, loop["longest_run"]["place"])
print(sum(turns for bound, turns in loop["lag"]["classes"] if bound is None or bound > 0.1) >= 1)
"""


class TestMeasured:
    @pytest.mark.parametrize("how", LONG_RUNS.values(), ids=LONG_RUNS)
    def test_the_longest_run_and_where(self, how):
        done = subprocess.run(
            [sys.executable, "-c", LONG_RUN % how], capture_output=True, text=True, timeout=60
        )
        assert done.stderr == ""
        first, second = done.stdout.splitlines()
        assert first.startswith("True ")
        assert any(name in first for name in ("compute", "_after", "yields", "<module>")), first
        assert second == "True"

    def test_a_callback_of_the_hub_has_no_place(self):
        code = LONG_RUN % "gevent.get_hub().loop.run_callback(compute); gevent.sleep(0.01)"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
        )
        assert done.stdout.splitlines() == ["True None", "True"], done.stderr

    def test_turns_are_counted_once_asked(self):
        util.stats()
        gevent.sleep(0.001)
        before = my_hub(util.stats())["loop"]
        for _ in range(20):
            gevent.sleep(0.001)
        # A deadline that has passed after a stall is no wait.
        until(lambda: my_hub(util.stats())["loop"]["poll_seconds"] - before["poll_seconds"] > 0.01)
        after = my_hub(util.stats())["loop"]
        assert after["lag"]["count"] - before["lag"]["count"] >= 20
        assert sum(turns for _, turns in after["lag"]["classes"]) == after["lag"]["count"]
        assert after["lag"]["seconds"] > before["lag"]["seconds"]

    def test_nothing_is_measured_before(self):
        code = """if 1:
            import gevent
            from gevent.util import stats
            for _ in range(20):
                gevent.sleep(0.001)
            loop = stats()["hubs"][0]["loop"]
            print(loop["lag"]["count"], loop["poll_seconds"], loop["longest_run"])
        """
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
        )
        assert done.stdout == "0 0.0 {'seconds': 0.0, 'place': None, 'stack': []}\n", done.stderr

    def test_hubs_that_are_made_later(self):
        code = """if 1:
            from gevent.util import stats
            assert stats()["hubs"] == []
            import gevent
            for _ in range(20):
                gevent.sleep(0.001)
            print(stats()["hubs"][0]["loop"]["lag"]["count"] >= 19)
        """
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
        )
        assert done.stdout == "True\n", done.stderr

    def test_measuring_changes_no_order(self):
        # Greenlets that yield take turns, measured or not.
        util.stats()
        order = []

        def note(name):
            for _ in range(5):
                order.append(name)
                gevent.sleep(0)

        gevent.joinall([gevent.spawn(note, name) for name in "abc"])
        assert "".join(order) == "abc" * 5


class TestOpenMetrics:
    @pytest.fixture
    def families(self):
        parser = pytest.importorskip(
            "prometheus_client.openmetrics.parser", reason="prometheus_client is not here"
        )

        def parse(*processes):
            text = open_metrics(processes)
            return {one.name: one for one in parser.text_string_to_metric_families(text)}

        return parse

    def test_read_by_prometheus(self, families):
        gevent.sleep(0.001)
        util.stats()  # Runs and turns of the hubs that there are now are measured from here on.
        greenlets = [gevent.spawn(gevent.sleep, 100) for _ in range(3)]
        for _ in range(3):
            gevent.sleep(0.001)
        found = families(metrics_of(util.stats(waits=True)))
        gevent.killall(greenlets)
        kinds = {one.labels["kind"]: one.value for one in found["gevent_greenlets_waiting"].samples}
        assert kinds["sleep"] >= 3
        lag = found["gevent_loop_lag_seconds"]
        assert lag.type == "histogram"
        values = [one.value for one in lag.samples if one.name.endswith("_bucket")]
        assert values == sorted(values)
        count = next(one.value for one in lag.samples if one.name.endswith("_count"))
        assert values[-1] == count > 0
        for name in (
            "frames_bytes",
            "saved_stacks_bytes",
            "pools",
            "look_ups",
            "loop_poll_seconds",
        ):
            assert f"gevent_{name}" in found

    def test_sums(self, families):
        one = metrics_of(util.stats(waits=True))
        single, double = families(one), families(one, one)
        assert double["gevent_processes"].samples[0].value == 2
        for name, family in single.items():
            for sample, both in zip(family.samples, double[name].samples, strict=True):
                expected = sample.value * 2
                if name == "gevent_loop_longest_run_seconds":
                    expected = sample.value
                assert both.value == pytest.approx(expected), name

    def test_of_no_process(self, families):
        assert families()["gevent_processes"].samples[0].value == 0

    def test_of_json(self, families):
        found = json.loads(json.dumps(util.stats(waits=True)))
        assert families(metrics_of(found))["gevent_hubs"].samples[0].value >= 1

    def test_http(self, families):
        found = util.stats()
        if "http" not in found:
            pytest.skip("this engine does not count requests")
        from gevent.pywsgi import WSGIServer

        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", "2")])
            return [b"ok"]

        before = found["http"]
        server = WSGIServer(("127.0.0.1", 0), application, log=None)
        server.start()
        try:
            with socket.create_connection(server.address) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert client.recv(1000).endswith(b"ok")
                after = util.stats()["http"]
        finally:
            server.stop()
        assert after["requests"]["2xx"] - before["requests"]["2xx"] == 1
        assert after["accepted"] - before["accepted"] == 1
        families_of = families(metrics_of(util.stats()))
        states = {one.labels["state"] for one in families_of["gevent_http_connections"].samples}
        assert {"idle", "application"} <= states
