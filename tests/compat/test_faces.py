"""Names that other packages import or override, and mistakes told where they are made."""

import sys
import weakref

import pytest

import gevent
import gevent.hub
import gevent.os
from gevent.local import local
from gevent.lock import BoundedSemaphore, Semaphore
from gevent.threadpool import ThreadPool

LAST = 2**63 - 1


@pytest.mark.parametrize("kind", [Semaphore, BoundedSemaphore])
def test_a_semaphore_counts_no_further_than_it_can(kind):
    semaphore = kind(LAST)
    with pytest.raises((OverflowError, ValueError)):
        semaphore.release()
    assert semaphore.counter == LAST
    assert semaphore.acquire(blocking=False)
    assert semaphore.release() == LAST
    for wrong in (LAST + 1, float("inf"), float("nan"), 1e30):
        with pytest.raises((OverflowError, ValueError)):
            kind(wrong)
        with pytest.raises((OverflowError, ValueError)):
            semaphore.counter = wrong
    assert semaphore.counter == LAST


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("after", [True, False])
def test_a_timeout_made_anew_while_pending_takes_back_what_it_added(before, after):
    loop = gevent.get_hub().loop
    count = loop.activecnt
    timeout = gevent.Timeout(5, ref=before)
    timeout.start()
    timeout.__init__(7, ref=after)
    assert not timeout.pending
    assert loop.activecnt == count
    timeout.start()
    assert (timeout.seconds, timeout.pending) == (7, True)
    timeout.cancel()
    assert loop.activecnt == count


@pytest.mark.parametrize("wrong", ["x", "5", [5], object(), b"1"])
def test_a_timeout_of_no_number_is_refused_where_it_is_made(wrong):
    for make in (gevent.Timeout, gevent.Timeout.start_new):
        with pytest.raises(TypeError, match="must be real number"):
            make(wrong)
    timeout = gevent.Timeout(1)
    with pytest.raises(TypeError):
        timeout.__init__(wrong)
    assert timeout.seconds == 1


@pytest.mark.parametrize("given", [None, ValueError, KeyError("a"), "text", False])
def test_a_timeout_asks_its_subclass_to_expire(given):
    seen = []

    class Limit(gevent.Timeout):
        def _on_expiration(self, prev_greenlet, ex):
            seen.append((prev_greenlet, ex, gevent.getcurrent() is gevent.get_hub()))
            super()._on_expiration(prev_greenlet, ex)

    limit = Limit(0.001, given)
    limit.start()
    with pytest.raises(BaseException) as raised:  # noqa: PT011
        gevent.sleep(20)
    itself = given is None or given is False or isinstance(given, str)
    assert seen == [(gevent.getcurrent(), limit if itself else given, True)]
    assert raised.value is limit if itself else raised.type in (ValueError, KeyError)
    assert not limit.pending


def test_a_timeout_whose_subclass_does_not_expire_is_not_raised():
    class Never(gevent.Timeout):
        def _on_expiration(self, prev_greenlet, ex):
            pass

    with Never(0.001):
        gevent.sleep(0.01)
    with pytest.raises(TypeError):
        gevent.Timeout(1)._on_expiration(None, ValueError)


def test_a_greenlet_without_a_function_returns_none():
    for make in (gevent.spawn, gevent.Greenlet.spawn):
        assert make().get(timeout=20) is None
        assert make(None).get(timeout=20) is None
    greenlet = gevent.Greenlet()
    greenlet.start()
    assert greenlet.get(timeout=20) is None
    assert gevent.Greenlet()._run() is None
    with pytest.raises(TypeError):
        gevent.spawn(5)
    with pytest.raises(TypeError):
        gevent.spawn_later(0)


@pytest.mark.parametrize("wrong", ["x", [], object()])
def test_a_thread_pool_refuses_an_idle_time_of_no_number(wrong):
    with pytest.raises(TypeError, match="idle_task_timeout"):
        ThreadPool(1, idle_task_timeout=wrong)
    with pytest.raises(ValueError, match="nan"):
        ThreadPool(1, idle_task_timeout=float("nan"))
    pool = ThreadPool(1, idle_task_timeout=None)
    assert pool.apply(len, ("ab",)) == 2
    pool.kill()


def test_a_local_can_be_weakly_referenced():
    class Mine(local):
        pass

    for kind in (local, Mine):
        mine = kind()
        reference = weakref.ref(mine)
        assert reference() is mine
        del mine
        assert reference() is None


@pytest.mark.parametrize("zope", [True, False])
def test_the_interfaces_can_be_imported(output_of, zope):
    hide = "" if zope else "import sys; sys.modules['zope.interface'] = None\n"
    out = output_of(
        hide + "from gevent._interfaces import ICallback, ILoop, IWatcher\n"
        "for kind in (ICallback, ILoop, IWatcher):\n"
        "    class Mine(kind): pass\n"
        "print(ILoop.__name__, IWatcher.__name__, ICallback.__name__)\n"
    )
    assert out == "ILoop IWatcher ICallback\n"


def test_half_private_names_of_the_hub_and_of_os():
    assert gevent.hub._get_hub_noargs() is gevent.get_hub()
    assert len(gevent.os.ignored_errors) == 2
    called, event = [], gevent.event.Event()
    event.rawlink(gevent.hub.linkproxy(called.append, "mine"))
    event.set()
    gevent.sleep(0.001)
    assert called == ["mine"]


def test_an_interpreter_without_ssl(output_of):
    out = output_of(
        """
        import sys
        sys.modules["ssl"] = sys.modules["_ssl"] = None
        import gevent
        from gevent import pywsgi, socket
        class Failing(socket.socket):
            def recv(self, *args): raise OSError(104, "reset")
            recv_into = recv
        ours, theirs = socket.socketpair()
        failing = Failing(fileno=ours.detach())
        server = pywsgi.WSGIServer(("127.0.0.1", 0), lambda e, s: [b""], log=None)
        gevent.spawn(server.handle, failing, ("", 0)).get(timeout=20)
        print("handled")
        """
    )
    assert out == "handled\n"


def test_what_can_be_imported_without_ssl(output_of):
    out = output_of(
        """
        import importlib, pkgutil, sys, warnings
        warnings.simplefilter("ignore")
        sys.modules["ssl"] = sys.modules["_ssl"] = None
        import gevent
        failed = []
        for module in pkgutil.walk_packages(gevent.__path__, "gevent."):
            if not module.name.endswith("__main__"):
                try:
                    importlib.import_module(module.name)
                except ImportError:
                    failed.append(module.name.removeprefix("gevent."))
        print(*failed)
        """,
        timeout=60,
    )
    assert set(out.split()) <= {
        "_sslcontext",
        "_sslsocket",
        "compat.tls",
        "serve.tls",
        "ssl",
        "sslold",
    }


@pytest.mark.parametrize(
    ("module", "others"),
    [("server", "socket"), ("pywsgi", "socket"), ("pool", "queue monkey lock"), ("lock", "monkey")],
)
def test_modules_bring_along_what_they_do_in_gevent(output_of, module, others):
    code = f"import gevent, gevent.{module}\nprint(*(hasattr(gevent, n) for n in {others.split()}))"
    assert set(output_of(code, timeout=60).split()) == {"True"}


def test_a_thread_pool_first_used_at_exit(output_of):
    out = output_of(
        """
        import atexit, gevent
        def last():
            try:
                print("gave", gevent.get_hub().threadpool.apply(len, ("abc",)))
            except RuntimeError as error:
                print("raised", error)
        atexit.register(last)
        """
    )
    assert out == "gave 3\n" or (sys.version_info >= (3, 12) and "thread" in out)
