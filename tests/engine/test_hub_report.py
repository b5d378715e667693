"""Hub: error reports, system errors, exception_stream, signal handlers."""

import io
import os
import re
import signal
import sys
import threading

import pytest

import gevent
from gevent.hub import Hub, get_hub, set_hub

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture
def printed():
    """Return where the hub of this thread prints during the test."""
    stream = get_hub().exception_stream = io.StringIO()
    yield stream
    del get_hub().exception_stream


def fail():
    raise ValueError("expected")


class TestReports:
    def test_of_a_greenlet(self, printed):
        greenlet = gevent.spawn(fail)
        shown = repr(greenlet)
        greenlet.join()
        assert re.fullmatch(
            r"Traceback \(most recent call last\):\n.*in fail\n.*ValueError: expected\n"
            rf"{STAMP} {re.escape(shown)} failed with ValueError\n\n",
            printed.getvalue(),
            re.DOTALL,
        )

    def test_of_a_greenlet_that_describes_itself(self, printed):
        class Described(gevent.Greenlet):
            def _run(self):
                fail()

            def __str__(self):
                return "in words"

        hub = get_hub()
        Described.spawn().join()
        assert re.search(rf"\n{STAMP} in words failed with ValueError\n\n$", printed.getvalue())
        before, hub.format_context = hub.format_context, lambda context: "as formatted"
        try:
            Described.spawn().join()
        finally:
            hub.format_context = before
        assert printed.getvalue().endswith("Z as formatted failed with ValueError\n\n")

    def test_of_a_callback(self, printed):
        get_hub().loop.run_callback(fail)
        gevent.sleep(0.001)
        assert re.search(
            rf"\n{STAMP} <callback at .*> failed with ValueError\n\n$", printed.getvalue()
        )

    def test_causes_are_shown(self, printed):
        def fail_twice():
            try:
                fail()
            except ValueError as error:
                raise KeyError("second") from error

        gevent.spawn(fail_twice).join()
        assert "direct cause of the following exception" in printed.getvalue()

    @pytest.mark.parametrize(
        ("context", "kind", "value", "text"),
        [
            (
                "context",
                ValueError,
                None,
                rf"ValueError\n{STAMP} context failed with ValueError\n\n",
            ),
            (
                "context",
                ValueError,
                "x",
                rf"ValueError: x\n{STAMP} context failed with ValueError\n\n",
            ),
            (
                {"a": 1},
                ValueError,
                None,
                rf"ValueError\n{STAMP} {{'a': 1}} failed with ValueError\n\n",
            ),
            (None, ValueError, None, rf"ValueError\n{STAMP}\n"),
        ],
    )
    def test_format(self, printed, context, kind, value, text):
        get_hub().print_exception(context, kind, value, None)
        assert re.fullmatch(text, printed.getvalue())

    def test_a_context_that_cannot_be_shown(self, printed):
        class Context:
            def __repr__(self):
                raise KeyError("no repr")

        get_hub().print_exception(Context(), ValueError, ValueError("x"), None)
        assert "KeyError: 'no repr'" in printed.getvalue()
        assert re.search(
            r"Context object at 0x\w+> failed with ValueError\n\n$", printed.getvalue()
        )

    def test_format_context(self, printed):
        hub = get_hub()
        before, hub.format_context = hub.format_context, lambda context: f"<<{context}>>"
        try:
            hub.print_exception(5, ValueError, None, None)
        finally:
            hub.format_context = before
        assert "<<5>> failed with ValueError" in printed.getvalue()

    @pytest.mark.parametrize("error", [gevent.GreenletExit, SystemExit])
    def test_no_errors(self, printed, error):
        def leave():
            raise error

        hub = get_hub()
        hub.SYSTEM_ERROR = ()
        try:
            gevent.spawn(leave).join()
        finally:
            del hub.SYSTEM_ERROR
        assert printed.getvalue() == ""


class TestExceptionStream:
    def test_is_stderr_of_the_moment(self, monkeypatch):
        monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
        assert get_hub().exception_stream is stream
        gevent.spawn(fail).join()
        assert "failed with ValueError" in stream.getvalue()

    def test_none_prints_nothing(self, capsys):
        get_hub().exception_stream = None
        gevent.spawn(fail).join()
        del get_hub().exception_stream
        assert capsys.readouterr() == ("", "")

    def test_no_stderr(self, monkeypatch):
        monkeypatch.setattr(sys, "stderr", None)
        greenlet = gevent.spawn(fail)
        greenlet.join()
        assert isinstance(greenlet.exception, ValueError)

    def test_set_and_deleted(self):
        hub = get_hub()
        with pytest.raises(AttributeError):
            del hub.exception_stream
        hub.exception_stream = 5
        del hub.exception_stream
        assert hub.exception_stream is sys.stderr


class TestSystemErrors:
    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, SystemError])
    def test_of_greenlets_reach_the_main_greenlet(self, printed, error):
        def leave():
            raise error("expected")

        greenlet = gevent.spawn(leave)
        with pytest.raises(error, match="expected"):
            gevent.sleep(10)
        gevent.sleep(0)
        assert greenlet.dead
        assert isinstance(greenlet.exception, error)
        assert bool(printed.getvalue()) is (error is not SystemExit)

    def test_of_callbacks_reach_the_main_greenlet(self):
        get_hub().loop.run_callback(sys.exit, 5)
        with pytest.raises(SystemExit) as info:
            gevent.sleep(10)
        assert info.value.code == 5

    def test_without_a_context_any_error_is_one(self, printed):
        error = ValueError("x")
        get_hub().loop.run_callback(get_hub().handle_error, None, ValueError, error, None)
        with pytest.raises(ValueError, match="x") as info:
            gevent.sleep(10)
        assert info.value is error

    def test_from_another_thread(self, printed):
        hub = get_hub()
        thread = threading.Thread(
            target=hub.handle_system_error, args=(KeyError, KeyError("from afar"))
        )
        thread.start()
        with pytest.raises(KeyError, match="from afar"):
            gevent.sleep(10)
        thread.join()

    def test_handle_error_can_be_replaced(self):
        seen = []
        hub = get_hub()
        hub.handle_error = lambda *args: seen.append(args)
        try:
            greenlet = gevent.spawn(fail)
            greenlet.join()
        finally:
            del hub.handle_error
        [(context, kind, value, tb)] = seen
        assert context is greenlet
        assert kind is ValueError
        assert value is greenlet.exception
        assert tb is not None

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_a_handle_error_that_fails(self, printed):
        hub = get_hub()
        hub.handle_error = lambda *args: 1 / 0
        try:
            with pytest.raises(ValueError, match="expected"):
                gevent.spawn(fail).get()
        finally:
            del hub.handle_error


class TestSignal:
    def test_calls_the_handler_in_a_greenlet(self):
        seen = []

        def handler(*args, **kwargs):
            gevent.sleep(0)
            seen.append((args, kwargs, gevent.getcurrent()))

        handle = gevent.signal_handler(signal.SIGUSR1, handler, 1, b=2)
        try:
            assert handle.ref is False
            os.kill(os.getpid(), signal.SIGUSR1)
            with gevent.Timeout(10):
                while not seen:
                    gevent.sleep(0.001)
        finally:
            handle.cancel()
        [(args, kwargs, greenlet)] = seen
        assert (args, kwargs) == ((1,), {"b": 2})
        assert isinstance(greenlet, gevent.Greenlet)

    def test_errors_reach_the_main_greenlet(self, printed):
        handle = gevent.signal_handler(signal.SIGUSR1, fail)
        try:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGUSR1)
                with pytest.raises(ValueError, match="expected"):
                    gevent.sleep(10)
        finally:
            handle.cancel()

    def test_cancel_drops_everything(self):
        handle = gevent.signal_handler(signal.SIGUSR1, fail)
        handle.ref = True
        assert handle.ref is True
        handle.cancel()
        handle.cancel()
        assert handle.handler is handle.args is handle.kwargs is handle.watcher is None

    def test_refuses(self):
        with pytest.raises(TypeError, match="signal handler must be callable"):
            gevent.signal_handler(signal.SIGUSR1, 5)
        with pytest.raises(ValueError, match="illegal signal number: 1000"):
            gevent.signal_handler(1000, fail)


class TestHub:
    def test_repr(self):
        hub = Hub(default=False)
        hub.name = "named"
        try:
            assert re.fullmatch(
                r"<Hub 'named' at 0x\w+ epoll pending=0 ref=0 fileno=\d+ thread_ident=0x\w+>",
                repr(hub),
            )
        finally:
            hub.destroy()
        assert re.fullmatch(r"<Hub 'named' at 0x\w+ destroyed thread_ident=0x\w+>", repr(hub))

    def test_attributes(self):
        hub = get_hub()
        assert hub.main_hub
        assert hub.thread_ident == threading.main_thread().ident
        assert hub.backend == hub.loop.backend
        assert hub.loop_class is gevent.config.loop
        assert hub.threadpool_class is gevent.config.threadpool
        assert hub.threadpool.maxsize == hub.threadpool_size == 10

    def test_of_another_thread(self):
        seen = []

        def run():
            hub = get_hub()
            seen.append((hub.main_hub, hub.loop.default, hub.thread_ident))
            hub.destroy()
            seen.append(get_hub() is hub)
            get_hub().destroy()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert seen == [(False, False, thread.ident), False]

    def test_bad_arguments(self):
        with pytest.raises(TypeError, match="Unexpected argument: default"):
            Hub(loop=get_hub().loop, default=True)
        with pytest.raises(ValueError, match="Invalid backend or flag: 'nosuch'"):
            Hub("nosuch")

    def test_destroy_twice(self):
        hub = Hub(default=False)
        hub.destroy()
        hub.destroy()
        assert hub.loop is None
        assert hub.backend is None
        assert hub.join() is True

    def test_join(self):
        hub = get_hub()
        late = gevent.spawn_later(60, len, ())
        assert hub.join(0.001) is False
        late.kill()
        greenlet = gevent.spawn_later(0.01, len, ())
        assert hub.join() is True
        assert greenlet.dead
        assert hub.join() is True
        joiner = gevent.spawn(hub.join)
        hub.exception_stream = None
        joiner.join()
        del hub.exception_stream
        assert "only possible from the MAIN greenlet" in str(joiner.exception)

    def test_set_hub(self):
        hub = get_hub()
        other = Hub(default=False)
        set_hub(other)
        try:
            assert get_hub() is other
            assert gevent.spawn(lambda: 5).get() == 5
        finally:
            other.destroy()
            set_hub(hub)
        assert get_hub() is hub

    def test_reinit_without_a_hub(self):
        seen = []
        thread = threading.Thread(target=lambda: seen.append(gevent.reinit()))
        thread.start()
        thread.join()
        assert seen == [None]
