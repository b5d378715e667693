"""gevent.event.AsyncResult."""

import gc
import sys
import threading
import traceback
import weakref

import pytest

import gevent
from gevent.event import AsyncResult
from gevent.exceptions import BlockingSwitchOutError, LoopExit


def holding(exception):
    result = AsyncResult()
    result.set_exception(exception)
    return result


def caught():
    """An exception with the traceback of where it was raised, as `sys.exc_info` gives it."""
    try:
        raise ZeroDivisionError("by nobody")
    except ZeroDivisionError:
        return sys.exc_info()


class TestState:
    def test_empty(self):
        result = AsyncResult()
        assert (result.ready(), result.done(), result.successful()) == (False, False, False)
        assert (result.value, result.exception, result.exc_info) == (None, None, ())
        assert (result.cancel(), result.cancelled()) == (False, False)
        assert str(result) == "<AsyncResult unset  _links[0]>"

    def test_value(self):
        result = AsyncResult()
        assert result.set("here") is None
        assert (result.ready(), result.done(), result.successful()) == (True, True, True)
        assert (result.value, result.exception, result.exc_info) == ("here", None, ())
        assert result.get() == result.get_nowait() == result.result() == result.wait() == "here"
        assert str(result) == "<AsyncResult value='here' unset  _links[0]>"

    def test_no_value(self):
        result = AsyncResult()
        result.set()
        assert result.successful()
        assert result.get() is None

    def test_last_value_counts(self):
        result = AsyncResult()
        result.set_result(1)
        result.set(2)
        assert result.get() == 2

    def test_exception(self):
        error = KeyError("gone")
        result = holding(error)
        assert (result.ready(), result.successful()) == (True, False)
        assert (result.value, result.exception) == (None, error)
        assert result.exc_info == (KeyError, error, None)
        assert str(result) == "<AsyncResult value=None exception=KeyError('gone')  _links[0]>"
        for raising in (result.get, result.get_nowait, result.result):
            with pytest.raises(KeyError) as info:
                raising()
            assert info.value is error
        assert result.wait() is None

    def test_value_goes_before_an_exception(self):
        result = holding(KeyError("gone"))
        result.set("here")
        assert result.get() == "here"
        assert result.successful()
        assert isinstance(result.exception, KeyError)

    def test_exc_info_goes_before_the_exception(self):
        result, info = AsyncResult(), caught()
        result.set_exception(ValueError("unused"), info)
        assert result.exc_info == info
        assert result.exception is info[1]
        with pytest.raises(ZeroDivisionError):
            result.get()

    @pytest.mark.parametrize("with_info", [True, False])
    def test_traceback_does_not_grow(self, with_info):
        result, info = AsyncResult(), caught()
        result.set_exception(info[1], info if with_info else None)
        lengths = []
        for _ in range(3):
            try:
                result.get()
            except ZeroDivisionError as error:
                names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
                assert ("caught" in names) is with_info
                lengths.append(len(names))
        assert len(set(lengths)) == 1

    @pytest.mark.parametrize("wrong", [None, "text", 5])
    def test_no_exception_at_all(self, wrong):
        result = holding(wrong)
        assert result.ready()
        assert not result.successful()
        with pytest.raises(AttributeError, match="__traceback__"):
            result.get()

    def test_exception_class(self):
        with pytest.raises(TypeError):
            holding(ValueError).get()

    @pytest.mark.parametrize(("exc_info", "error"), [((1,), IndexError), (3, TypeError)])
    def test_wrong_exc_info(self, exc_info, error):
        result = AsyncResult()
        with pytest.raises(error):
            result.set_exception(ValueError(), exc_info)
        assert not result.ready()

    def test_no_arguments(self):
        with pytest.raises(TypeError, match=r"AsyncResult\(\) takes no arguments"):
            AsyncResult(1)

    def test_subclass(self):
        class Named(AsyncResult):
            def __init__(self, name):
                super().__init__()
                self.name = name

        assert Named("answer").name == "answer"

    @pytest.mark.parametrize("name", ["value", "exception", "exc_info"])
    def test_read_only(self, name):
        with pytest.raises(AttributeError):
            setattr(AsyncResult(), name, 1)

    def test_cycle_is_collected(self):
        result = AsyncResult()
        result.set([result])
        reference = weakref.ref(result)
        del result
        gc.collect()
        assert reference() is None


class TestGet:
    def test_waits(self):
        result = AsyncResult()
        waiters = [gevent.spawn(result.get) for _ in range(3)]
        gevent.sleep(0)
        assert result.linkcount() == 3
        result.set("here")
        assert [waiter.get() for waiter in waiters] == ["here"] * 3
        assert result.linkcount() == 0

    def test_waits_for_an_exception(self):
        result = AsyncResult()
        gevent.spawn(result.set_exception, KeyError("gone"))
        with pytest.raises(KeyError):
            result.get()

    def test_last_value_before_the_waiter_runs(self):
        result = AsyncResult()
        waiter = gevent.spawn(result.get)
        gevent.sleep(0)
        result.set(1)
        result.set(2)
        assert waiter.get() == 2

    def test_without_blocking(self):
        result = AsyncResult()
        for get in (
            result.get_nowait,
            lambda: result.get(block=False),
            lambda: result.get(False, 5),
        ):
            with pytest.raises(gevent.Timeout) as info:
                get()
            assert str(info.value) == ""

    @pytest.mark.parametrize(
        ("timeout", "text"), [(0.001, "0.001 seconds"), (0, "0 seconds"), (-1, "-1 seconds")]
    )
    def test_time_is_up(self, timeout, text):
        result = AsyncResult()
        for get in (result.get, result.result):
            with pytest.raises(gevent.Timeout) as info:
                get(timeout=timeout)
            assert str(info.value) == text
        assert result.linkcount() == 0

    def test_timeout_object(self):
        timeout = gevent.Timeout(0.001)
        with pytest.raises(gevent.Timeout) as info:
            AsyncResult().get(timeout=timeout)
        assert info.value is timeout

    def test_timeout_object_with_an_exception(self):
        with pytest.raises(KeyError):
            AsyncResult().get(timeout=gevent.Timeout(0.001, KeyError))

    def test_timeout_around(self):
        result = AsyncResult()
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.001):
            result.get()
        assert result.linkcount() == 0

    def test_wrong_timeout(self):
        with pytest.raises(TypeError, match="must be real number, not str"):
            AsyncResult().get(timeout="1")

    def test_killed(self):
        result = AsyncResult()
        waiter = gevent.spawn(result.get)
        gevent.sleep(0)
        waiter.kill()
        assert result.linkcount() == 0

    def test_forever(self):
        with pytest.raises(LoopExit):
            AsyncResult().get()

    def test_in_the_hub(self):
        result, errors = AsyncResult(), []

        def block():
            try:
                result.get()
            except BlockingSwitchOutError as error:
                errors.append(error)

        gevent.get_hub().loop.run_callback(block)
        gevent.sleep(0)
        assert len(errors) == 1
        assert result.linkcount() == 0


class TestWait:
    def test_time_is_up(self):
        assert AsyncResult().wait(0.001) is None
        assert AsyncResult().wait(timeout=gevent.Timeout(0.001)) is None

    def test_value(self):
        result = AsyncResult()
        gevent.spawn(result.set, "here")
        assert result.wait() == "here"

    def test_exception(self):
        result = AsyncResult()
        gevent.spawn(result.set_exception, KeyError())
        assert result.wait() is None
        assert result.ready()


class TestLinks:
    def test_called_in_the_hub_once(self):
        result, calls = AsyncResult(), []
        result.rawlink(lambda source: calls.append((source.value, gevent.getcurrent())))
        result.set(1)
        result.set(2)
        gevent.sleep(0)
        assert calls == [(2, gevent.get_hub())]

    def test_when_it_is_there_already(self):
        result, calls = AsyncResult(), []
        result.set(1)
        result.rawlink(calls.append)
        gevent.sleep(0)
        assert calls == [result]
        assert result.linkcount() == 0

    def test_unlinked_in_time(self):
        result, calls = AsyncResult(), []
        result.rawlink(calls.append)
        result.set(1)
        result.unlink(calls.append)
        result.unlink(None)
        gevent.sleep(0)
        assert calls == []

    def test_not_callable(self):
        with pytest.raises(TypeError, match="Expected callable: None"):
            AsyncResult().rawlink(None)

    def test_target_of_a_greenlet(self):
        value, failure = AsyncResult(), AsyncResult()
        gevent.spawn(lambda: "here").link(value)
        assert value.get() == "here"
        greenlet = gevent.Greenlet(int, "no number")
        greenlet.link(failure)
        gevent.get_hub().handle_error = lambda *args: None
        try:
            greenlet.start()
            with pytest.raises(ValueError, match="no number"):
                failure.get()
        finally:
            del gevent.get_hub().handle_error
        assert failure.exc_info[0] is ValueError

    def test_target_of_something_else(self):
        with pytest.raises(AttributeError, match="successful"):
            AsyncResult()(1)


class TestThreads:
    def test_set_by_a_thread(self):
        result = AsyncResult()
        thread = threading.Thread(target=result.set, args=("here",))
        gevent.spawn(thread.start)
        assert result.get(timeout=10) == "here"
        thread.join()

    def test_awaited_in_a_thread(self):
        result, got = AsyncResult(), []

        def wait():
            got.append(result.get(timeout=10))
            gevent.get_hub().destroy(destroy_loop=True)

        thread = threading.Thread(target=wait)
        thread.start()
        while not result.linkcount():
            gevent.sleep(0.001)
        result.set("here")
        thread.join()
        assert got == ["here"]
