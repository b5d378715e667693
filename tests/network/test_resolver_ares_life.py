"""The resolver ares among greenlets, threads and processes: many at once, killed, forked, ended."""

import gc
import threading
import time
import weakref

import pytest
from descriptors import open_descriptors
from dns_server import DNSServer, Reply

import gevent
from gevent import socket
from gevent.resolver.ares import Resolver
from gevent.resolver.cares import Result, channel

ADDRESS = "10.1.1.1"


@pytest.fixture(scope="module")
def server():
    replies = {"slow.test": Reply({"A": [ADDRESS]}, delay=1), "silent.test": Reply(fault="silence")}
    with DNSServer(replies, Reply({"A": [ADDRESS]})) as running:
        yield running


def settings_of(server):
    return {"servers": ["127.0.0.1"], "udp_port": server.port, "tcp_port": server.port}


@pytest.fixture
def resolver(server):
    resolver = Resolver(use_environ=False, **settings_of(server), timeout=30, tries=1)
    yield resolver
    resolver.close()


@pytest.fixture
def run_asking(output_of, server):
    """Run a program for which the hub's resolver is ares, and asks the server."""

    def run(code, **environment):
        return output_of(
            code,
            GEVENT_RESOLVER="ares",
            GEVENTARES_SERVERS="127.0.0.1",
            GEVENTARES_UDP_PORT=str(server.port),
            PYTHONWARNINGS="ignore::DeprecationWarning",
            **environment,
        )

    return run


def test_a_thousand_names_at_once():
    # The server answers only when all questions are there.
    with DNSServer({}, Reply({"A": [ADDRESS]}), gather=1000) as server:
        resolver = Resolver(use_environ=False, **settings_of(server), timeout=20, tries=2)
        before = len(open_descriptors())
        names = [f"name{number}.test" for number in range(1000)]
        found = [gevent.spawn(resolver.gethostbyname, name) for name in names]
        gevent.joinall(found, timeout=60, raise_error=True)
        assert {greenlet.value for greenlet in found} == {ADDRESS}
        assert set(server.names_asked()) == set(names)
        # Sixty-four look-ups share a port, and take it with them.
        until = time.monotonic() + 10
        while len(open_descriptors()) > before + 8 and time.monotonic() < until:
            gevent.sleep(0.01)
        assert len(open_descriptors()) <= before + 8
        resolver.close()


def test_more_names_than_descriptors(run_asking):
    out = run_asking(
        """
        import resource
        import gevent
        from gevent import socket

        socket.gethostbyname("first.test")
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        names = [f"name{number}.test" for number in range(5000)]
        found = [gevent.spawn(socket.gethostbyname, name) for name in names]
        gevent.joinall(found, raise_error=True)
        print({greenlet.value for greenlet in found})
        """
    )
    assert out == f"{ {ADDRESS} }\n"


def test_other_greenlets_run_meanwhile(resolver):
    looked_up = gevent.spawn(resolver.gethostbyname, "slow.test")
    turns = 0
    while not looked_up.ready():
        gevent.sleep(0.01)
        turns += 1
    assert looked_up.get() == ADDRESS
    assert turns > 2


def test_no_thread_takes_part(run_asking):
    out = run_asking(
        """
        import os
        from gevent import socket
        print(socket.gethostbyname("any.test"), len(os.listdir("/proc/self/task")))
        """
    )
    assert out == f"{ADDRESS} 1\n"


def test_only_the_look_up_keeps_the_main_greenlet(run_asking):
    assert run_asking("from gevent import socket; print(socket.gethostbyname('slow.test'))") == (
        f"{ADDRESS}\n"
    )


@pytest.mark.parametrize("function", ["gethostbyname", "getaddrinfo"])
def test_killed_and_timed_out(resolver, function):
    args = ("silent.test",) if function == "gethostbyname" else ("silent.test", 80)
    killed = gevent.spawn(getattr(resolver, function), *args)
    gevent.sleep(0.01)
    killed.kill()
    assert isinstance(killed.value, gevent.GreenletExit)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        getattr(resolver, function)(*args)
    # Nothing is under way, or this would wait for 30 seconds.
    assert gevent.wait(timeout=10)
    assert resolver.gethostbyname("other.test") == ADDRESS


def test_what_is_cancelled_is_let_go(server):
    hub = gevent.get_hub()
    names = channel(hub.loop, **settings_of(server), timeout=30)

    class Callback:
        def __call__(self, result):
            raise AssertionError("nobody is interested any more")

    callback = Callback()
    gone = weakref.ref(callback)
    look_up = names.gethostbyname(callback, b"silent.test")
    del callback
    gc.collect()
    assert gone() is not None
    look_up.cancel()
    look_up.cancel()
    gc.collect()
    assert gone() is None
    names.destroy()


def test_a_channel_calls_in_the_hub(server):
    hub = gevent.get_hub()
    names = channel(hub.loop, **settings_of(server))
    seen = []

    def note(result):
        seen.append((gevent.getcurrent() is hub, result))

    names.gethostbyname(note, b"any.test")
    names.gethostbyaddr(note, b"127.0.0.1")
    names.getnameinfo(note, ("10.2.2.2", 80), socket.NI_NUMERICHOST)
    names.getaddrinfo(note, b"any.test", None, socket.AF_INET, socket.SOCK_STREAM)
    assert gevent.wait(timeout=10)
    assert len(seen) == 4
    assert all(isinstance(result, Result) and result.successful() for _, result in seen)
    (numeric,) = (result for in_hub, result in seen if not in_hub)
    assert numeric.get() == ("10.2.2.2", "http")
    hosts = [result.value for _, result in seen if hasattr(result.value, "family")]
    assert [host.family for host in hosts] == [socket.AF_INET] * 2
    assert [(2, 1, 6, "", (ADDRESS, 0))] in [result.value for _, result in seen]
    with pytest.raises(TypeError):
        names.gethostbyname(note, "any.test")
    names.destroy()
    with pytest.raises(socket.gaierror, match="this ares channel has been destroyed"):
        names.gethostbyname(note, b"any.test")
    assert names.loop is None


def test_other_servers(server):
    names = channel(gevent.get_hub().loop, **{**settings_of(server), "servers": "127.0.0.2"})
    seen = []
    names.gethostbyname(seen.append, b"any.test")
    names.set_servers(["127.0.0.1"])
    names.gethostbyname(seen.append, b"any.test")
    names.set_servers()
    names.gethostbyname(seen.append, b"any.test")
    assert gevent.wait(timeout=30)
    assert sorted(str(result.exception or result.value[2][0]) for result in seen) == [
        ADDRESS,
        "[Errno 11] ARES_ECONNREFUSED: Could not contact DNS servers",
        "[Errno 26] ARES_ENOSERVER: No DNS servers were configured",
    ]
    with pytest.raises(ValueError, match="nonsense"):
        names.set_servers(["nonsense"])
    names.destroy()


def test_closing_ends_look_ups(server):
    resolver = Resolver(use_environ=False, **settings_of(server), timeout=30)
    waiting = gevent.spawn(resolver.gethostbyname, "silent.test")
    gevent.sleep(0.01)
    resolver.close()
    with pytest.raises(socket.herror, match="this ares channel has been destroyed"):
        waiting.get(timeout=10)
    resolver.close()
    with pytest.raises(AttributeError):
        resolver.gethostbyname("any.test")


def test_a_resolver_that_nobody_closes_says_so(server):
    kept = [Resolver(use_environ=False, **settings_of(server))]
    assert kept[0].gethostbyname("any.test") == ADDRESS
    with pytest.warns(ResourceWarning, match="not closed"):
        kept.clear()


def test_hubs_of_other_threads(server):
    found = []

    def look_up(number):
        resolver = Resolver(use_environ=False, **settings_of(server), timeout=20)
        names = [f"thread{number}name{i}.test" for i in range(50)]
        found.extend(
            greenlet.get()
            for greenlet in [gevent.spawn(resolver.gethostbyname, name) for name in names]
        )
        resolver.close()
        gevent.get_hub().destroy(destroy_loop=True)

    threads = [threading.Thread(target=look_up, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [ADDRESS] * 200


FORK = """
    import os, sys
    import gevent
    from gevent import socket

    def child_looks_up():
        pid = gevent.fork()
        if not pid:
            try:
                found = [gevent.spawn(socket.gethostbyname, f"c{i}.test") for i in range(20)]
                ok = {greenlet.get() for greenlet in found} == {"10.1.1.1"}
                os._exit(0 if ok else 1)
            finally:
                os._exit(2)
        return os.waitstatus_to_exitcode(gevent.os.waitpid(pid, 0)[1])
"""


def test_a_forked_child_looks_up(run_asking):
    out = run_asking(
        FORK
        + """
    print(socket.gethostbyname("before.test"), child_looks_up(), child_looks_up())
    print(socket.gethostbyname("after.test"))
    """
    )
    assert out == f"{ADDRESS} 0 0\n{ADDRESS}\n"


def test_a_child_of_a_child_that_never_looked_up(run_asking):
    out = run_asking(
        FORK
        + """
    gevent.get_hub().resolver
    pid = gevent.fork()
    if not pid:
        os._exit(child_looks_up())
    print(os.waitstatus_to_exitcode(gevent.os.waitpid(pid, 0)[1]))
    """
    )
    assert out == "0\n"


def test_both_get_what_was_under_way_at_the_fork(run_asking):
    out = run_asking(
        FORK
        + """
    waiting = [gevent.spawn(socket.gethostbyname, "slow.test") for _ in range(5)]
    gevent.sleep(0.05)
    pid = gevent.fork()
    answers = {greenlet.get(timeout=20) for greenlet in waiting}
    if not pid:
        os._exit(0 if answers == {"10.1.1.1"} else 1)
    print(answers, os.waitstatus_to_exitcode(gevent.os.waitpid(pid, 0)[1]))
    """
    )
    assert out == f"{ {ADDRESS} } 0\n"


def test_forks_during_look_ups(run_asking):
    out = run_asking(
        FORK
        + """
    def look_up(number):
        for i in range(40):
            assert socket.gethostbyname(f"p{number}x{i}.test") == "10.1.1.1"

    busy = [gevent.spawn(look_up, number) for number in range(20)]
    codes = []
    while not all(greenlet.ready() for greenlet in busy):
        gevent.sleep(0.001)
        if len(codes) < 5:
            codes.append(child_looks_up())
    gevent.joinall(busy, raise_error=True)
    print(set(codes))
    """
    )
    assert out == "{0}\n"


@pytest.mark.parametrize("ending", ["pass", "sys.exit(0)", "gevent.get_hub().destroy()"])
def test_the_interpreter_ends_during_look_ups(run_asking, ending):
    out = run_asking(
        f"""
        import sys
        import gevent
        from gevent import socket
        waiting = [gevent.spawn(socket.gethostbyname, "silent.test") for _ in range(10)]
        print(socket.gethostbyname("any.test"))
        {ending}
        """
    )
    assert out == f"{ADDRESS}\n"


def test_nothing_accumulates(run_asking):
    out = run_asking(
        """
        import gc, os, sys
        import gevent
        from gevent import socket

        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        def look_up(number):
            kind = number % 4
            if kind == 0:
                socket.gethostbyname(f"n{number}.test")
            elif kind == 1:
                socket.getaddrinfo(f"n{number}.test", 80)
            elif kind == 2:
                try:
                    socket.getaddrinfo("any.test", 80, socket.AF_INET6)
                except socket.gaierror:
                    pass
            else:
                with gevent.Timeout(0.002, False):
                    socket.gethostbyname("silent.test")

        def work(times):
            for start in range(0, times, 100):
                greenlets = [gevent.spawn(look_up, start + i) for i in range(100)]
                gevent.joinall(greenlets, raise_error=True)

        def state():
            gc.collect()
            return sys.getallocatedblocks(), resident(), len(os.listdir("/proc/self/fd"))

        work(1000)
        before = state()
        for _ in range(5):
            work(2000)
            gevent.sleep(0.2)
            after = state()
            blocks, memory, files = (late - early for late, early in zip(after, before))
            if blocks < 200 and memory < 1 << 19 and files <= 2:
                print("flat")
                break
            before = after
        else:
            print("grows:", blocks, "objects,", memory, "bytes,", files, "descriptors")
        """
    )
    assert out == "flat\n"
