"""Hub: what blocks in it, what ends it, and the Waiter that hands over between it and greenlets."""

import time

import pytest
from conditions import until

import gevent
from gevent.exceptions import (
    BlockingSwitchOutError,
    ConcurrentObjectUseError,
    InvalidSwitchError,
    LoopExit,
)
from gevent.hub import Hub, Waiter, get_hub, set_hub


def in_callback(function, *args):
    """Call a function in the hub; return its result or what it raised."""
    got = []

    def callback():
        try:
            got.append(function(*args))
        except BaseException as error:
            got.append(error)

    get_hub().loop.run_callback(callback)
    gevent.sleep(0.001)
    assert got
    return got[0]


class TestBlocking:
    @pytest.mark.parametrize(
        "block",
        [
            pytest.param(lambda: gevent.sleep(0.01), id="sleep"),
            pytest.param(lambda: gevent.sleep(0), id="yield"),
            pytest.param(lambda: gevent.idle(), id="idle"),
            pytest.param(lambda: gevent.spawn(int).join(), id="join"),
            pytest.param(lambda: gevent.spawn(int).get(timeout=1), id="get"),
            pytest.param(lambda: Waiter().get(), id="waiter"),
            pytest.param(lambda: get_hub().switch(), id="switch"),
            pytest.param(lambda: get_hub().wait(get_hub().loop.timer(0)), id="wait"),
            pytest.param(lambda: gevent.joinall([gevent.spawn(int)]), id="joinall"),
        ],
    )
    def test_in_the_hub_is_refused_and_leaves_nothing(self, block):
        before = get_hub().loop.activecnt
        error = in_callback(block)
        assert type(error) is BlockingSwitchOutError
        assert str(error) == "Impossible to call blocking function in the event loop callback"
        gevent.sleep(0.001)
        assert get_hub().loop.activecnt <= before

    def test_join_is_for_the_main_greenlet(self):
        with pytest.raises(AssertionError, match="only possible from the MAIN greenlet"):
            gevent.spawn(get_hub().join).get()

    def test_switch_out_of_a_class_is_called_before_each_wait(self):
        class Counting(gevent.Greenlet):
            count = 0

            def switch_out(self):
                self.count += 1

        greenlet = Counting.spawn(lambda: [gevent.sleep(0.0001) for _ in range(5)])
        greenlet.join()
        assert greenlet.count == 5

    def test_switch_out_is_found_however_a_greenlet_provides_it(self):
        calls = []

        class Own(gevent.Greenlet):
            pass

        class Dynamic(gevent.Greenlet):
            def __getattr__(self, name):
                if name != "switch_out":
                    raise AttributeError(name)
                return lambda: calls.append("dynamic")

        class Missing(gevent.Greenlet):
            @property
            def switch_out(self):
                raise AttributeError("there is none after all")

        class Failing(gevent.Greenlet):
            @property
            def switch_out(self):
                raise LookupError("broken")

        def in_a(kind, **attributes):
            greenlet = kind(gevent.sleep, 0.0001)
            for name, value in attributes.items():
                setattr(greenlet, name, value)
            greenlet.start()
            return greenlet.get()

        in_a(Own, switch_out=lambda: calls.append("own"))
        in_a(Own)
        in_a(Dynamic)
        in_a(Missing)
        with pytest.raises(LookupError, match="broken"):
            in_a(Failing)
        assert calls == ["own", "dynamic"]

    def test_error_in_switch_out_ends_the_wait(self):
        class Refusing(gevent.Greenlet):
            def switch_out(self):
                raise KeyError("no")

        def attempt():
            for _ in range(3):
                with pytest.raises(KeyError):
                    gevent.sleep(10)
            return "done"

        before = get_hub().loop.activecnt
        assert Refusing.spawn(attempt).get() == "done"
        assert get_hub().loop.activecnt <= before

    def test_switch_out_that_waits_hangs_nobody(self, printed):
        class Waiting(gevent.Greenlet):
            inside = False

            def switch_out(self):
                if not self.inside:
                    self.inside = True
                    gevent.sleep(0.002)

        other = gevent.spawn(gevent.sleep, 0.001)
        greenlet = Waiting.spawn(other.join)
        greenlet.join(20)
        assert greenlet.ready()
        # A wake-up for the join that comes while `switch_out` waits must not end that wait.
        assert greenlet.exception is None or type(greenlet.exception) is InvalidSwitchError


class TestNothingToWaitFor:
    def test_each_wait_raises(self):
        for _ in range(3):
            with pytest.raises(LoopExit, match="This operation would block forever") as caught:
                Waiter().get()
            message, hub, handles = caught.value.args
            assert message == "This operation would block forever"
            assert hub is get_hub()
            assert handles == []

    def test_only_the_main_greenlet_is_told(self):
        waiter = Waiter()
        stuck = gevent.spawn(waiter.get)
        with pytest.raises(LoopExit):
            stuck.join()
        assert not stuck.ready()
        stuck.kill()

    def test_greenlets_that_wait_for_each_other(self):
        pair = []
        pair.extend(gevent.spawn(lambda i=i: pair[1 - i].join()) for i in range(2))
        with pytest.raises(LoopExit):
            gevent.joinall(pair)
        gevent.killall(pair)

    def test_own_end(self):
        def wait_for_myself():
            gevent.getcurrent().join()

        greenlet = gevent.spawn(wait_for_myself)
        with pytest.raises(LoopExit):
            greenlet.join()
        greenlet.kill()
        assert greenlet.ready()

    def test_a_limit_is_something_to_wait_for(self):
        with gevent.Timeout(0.001, False):
            Waiter().get()
        greenlet = gevent.spawn(Waiter().get)
        greenlet.join(timeout=0.001)
        greenlet.kill()

    def test_a_sleep_that_does_not_count(self):
        with pytest.raises(LoopExit):
            gevent.sleep(10, ref=False)
        assert get_hub().loop.activecnt == 0

    def test_the_time_to_join_begins_with_the_call(self):
        # The loop's time is that of its last poll, before the block.
        gevent.sleep(0.001)
        time.sleep(1.5)
        gevent.spawn(gevent.sleep, 0.001)
        assert get_hub().join(timeout=1.4)

    def test_join_waits_for_everything(self):
        done = []
        gevent.spawn_later(0.002, done.append, "later")
        gevent.spawn(done.append, "soon")
        assert get_hub().join()
        assert done == ["soon", "later"]
        gevent.spawn_later(10, int).start()
        assert not get_hub().join(timeout=0.001)


class TestErrors:
    """Those of callbacks and raw greenlets are printed; they leave the main greenlet alone."""

    def test_timeout_of_an_ended_greenlet(self, printed):
        def leave_one():
            gevent.Timeout(0.001).start()

        gevent.spawn(leave_one)
        raw = gevent.spawn_raw(leave_one)
        gevent.sleep(0.01)
        assert raw.dead
        assert "Exception" not in printed.getvalue()

    def test_timeout_that_ends_a_raw_greenlet(self, printed):
        def run():
            gevent.Timeout(0.001).start()
            gevent.sleep(10)

        raw = gevent.spawn_raw(run)
        until(lambda: raw.dead)
        assert "failed with Timeout" in printed.getvalue()

    def test_waiter_of_a_raw_greenlet_that_fails(self, printed):
        waiter = Waiter()

        def run():
            raise ValueError(waiter.get())

        raw = gevent.spawn_raw(run)
        gevent.sleep(0)
        get_hub().loop.run_callback(waiter.switch, "handed over")
        gevent.sleep(0.001)
        assert raw.dead
        assert "ValueError: handed over" in printed.getvalue()

    def test_two_errors_for_one_greenlet(self, printed):
        greenlet = gevent.spawn(gevent.sleep, 10)
        gevent.sleep(0)
        greenlet.kill(KeyError("first"), block=False)
        greenlet.kill(KeyError("second"), block=False)
        gevent.sleep(0.001)
        assert greenlet.exception.args == ("first",)
        assert "second" not in printed.getvalue()

    def test_killing_the_hub_is_an_error_of_a_callback(self, printed):
        gevent.kill(get_hub())
        gevent.kill(get_hub(), KeyError("no"))
        gevent.sleep(0.001)
        assert not get_hub().dead
        assert "KeyError: 'no'" in printed.getvalue()
        assert gevent.spawn(int).get() == 0

    def test_handler_that_raises(self, monkeypatch):
        reported = []
        monkeypatch.setattr("sys.unraisablehook", lambda args: reported.append(args.exc_value))

        def handle_error(context, kind, value, traceback):
            raise RuntimeError("broken handler")

        hub = get_hub()
        hub.handle_error = handle_error
        try:
            hub.loop.run_callback(lambda: 1 / 0)
            gevent.sleep(0.001)
        finally:
            del hub.handle_error
        assert [str(error) for error in reported] == ["broken handler"]

    def test_the_result_of_a_raw_greenlet_that_ends_before_the_hub_begins(self, spare_hub):
        raw = gevent.spawn_raw(lambda: 5)
        # Nothing is left to wait for then.
        with pytest.raises(LoopExit):
            raw.switch()
        gevent.sleep(0.001)
        assert not spare_hub.dead

    @pytest.mark.parametrize(
        "start",
        [gevent.spawn, gevent.spawn_raw, lambda fail: get_hub().loop.run_callback(fail)],
        ids=["greenlet", "raw greenlet", "callback"],
    )
    def test_an_interrupt_while_it_is_printed_reaches_the_main_greenlet(self, printed, start):
        def interrupted(text):
            del printed.write
            raise KeyboardInterrupt

        printed.write = interrupted
        start(lambda: 1 / 0)
        with pytest.raises(KeyboardInterrupt):
            gevent.sleep(10)


class TestDestroy:
    def test_greenlets_of_the_next_hub_work(self, spare_hub):
        gevent.spawn(gevent.sleep, 10)
        gevent.sleep(0.001)
        spare_hub.destroy(destroy_loop=True)
        assert spare_hub.dead
        assert spare_hub.loop is None
        assert "destroyed" in repr(spare_hub)
        assert gevent.spawn(lambda: "works").get() == "works"
        assert get_hub() is not spare_hub

    def test_greenlets_of_a_destroyed_hub_cannot_be_waited_for(self, spare_hub):
        stuck = gevent.spawn(gevent.sleep, 10)
        gevent.sleep(0.001)
        spare_hub.destroy(destroy_loop=True)
        stuck.join(timeout=0.001)
        stuck.kill(timeout=0.001)

    @pytest.mark.parametrize("destroy_loop", [False, True])
    def test_while_a_waiter_holds_the_hub(self, spare_hub, destroy_loop):
        other = gevent.spawn(gevent.sleep, 20)
        # The hub switches here from within a callback, and is told to end there.
        assert len(gevent.wait([gevent.spawn(int)])) == 1
        start = time.monotonic()
        spare_hub.destroy(destroy_loop=destroy_loop)
        assert time.monotonic() - start < 10
        assert spare_hub.dead
        assert not other.ready()

    def test_while_an_error_report_holds_the_hub(self, spare_hub):
        gevent.spawn(gevent.sleep, 20)
        spare_hub.exception_stream = None
        get_hub().loop.run_callback(get_hub().handle_error, None, *exception_info(KeyError()))
        with pytest.raises(KeyError):
            gevent.sleep(10)
        start = time.monotonic()
        spare_hub.destroy()
        assert time.monotonic() - start < 10
        assert spare_hub.dead

    def test_twice_and_before_use(self, spare_hub):
        spare_hub.destroy()
        spare_hub.destroy(destroy_loop=True)
        assert gevent.spawn(int).get() == 0


def exception_info(error):
    return type(error), error, None


class TestSetHub:
    def test_class(self):
        class Own(Hub):
            """A hub of a class of its own."""

        own = get_hub()
        set_hub(Own())
        try:
            assert type(get_hub()) is Own
            assert gevent.spawn(lambda: gevent.getcurrent().parent).get() is get_hub()
            get_hub().destroy(destroy_loop=True)
        finally:
            set_hub(own)

    def test_takes_hubs_only(self):
        for wrong in (1, "hub", object(), Hub):
            with pytest.raises(TypeError):
                set_hub(wrong)

    def test_run_is_not_to_be_called(self):
        with pytest.raises(AssertionError, match=r"Do not call Hub.run\(\) directly"):
            get_hub().run()


class TestDirectSwitches:
    def test_into_a_wait(self):
        main = gevent.getcurrent()
        greenlet = gevent.spawn(main.switch, "not a wake-up")
        with pytest.raises(InvalidSwitchError, match=r"got .*not a wake-up"):
            gevent.sleep(10)
        greenlet.kill()

    def test_the_deadline_of_an_interrupted_sleep_is_gone(self):
        main = gevent.getcurrent()
        before = get_hub().loop.activecnt
        get_hub().loop.run_callback(main.switch)
        with pytest.raises(InvalidSwitchError):
            gevent.sleep(0.002)
        assert get_hub().loop.activecnt <= before
        gevent.sleep(0.01)

    def test_to_the_hub_and_back(self):
        main = gevent.getcurrent()
        get_hub().loop.run_callback(main.switch, "hello")
        assert get_hub().switch() == "hello"

    def test_watcher_that_was_waited_for_is_stopped(self):
        main = gevent.getcurrent()
        timer = get_hub().loop.timer(10)
        get_hub().loop.run_callback(main.switch, None)
        with pytest.raises(InvalidSwitchError):
            get_hub().wait(timer)
        assert not timer.active


class TestWaiter:
    def test_value_before_get(self):
        waiter = Waiter()
        assert not waiter.ready()
        assert waiter.value is None
        waiter.switch("value")
        assert waiter.ready()
        assert waiter.successful()
        assert waiter.value == "value"
        assert waiter.exc_info is None
        assert waiter.get() == "value"
        waiter.clear()
        assert not waiter.ready()

    def test_value_after_get(self):
        waiter = Waiter()
        get_hub().loop.run_callback(waiter.switch, "value")
        assert waiter.get() == "value"
        assert not waiter.ready()

    @pytest.mark.parametrize(
        "args",
        [
            (ValueError,),
            (ValueError("x"),),
            (ValueError, "x"),
            (ValueError, ValueError("x")),
            (ValueError, None, None),
            (gevent.GreenletExit,),
        ],
    )
    def test_error(self, args):
        waiter = Waiter()
        waiter.throw(*args)
        assert waiter.ready()
        assert not waiter.successful()
        assert waiter.exc_info == args
        with pytest.raises(AttributeError):
            _ = waiter.value
        kind = args[0] if isinstance(args[0], type) else type(args[0])
        with pytest.raises(kind):
            waiter.get()
        waiter.clear()
        get_hub().loop.run_callback(waiter.throw, *args)
        with pytest.raises(kind):
            waiter.get()

    def test_takes_exceptions_only(self, printed):
        waiter = Waiter()
        waiter.throw("no exception")
        with pytest.raises(TypeError):
            waiter.get()

    def test_class_that_cannot_be_made(self):
        class Unmakeable(Exception):
            def __init__(self):
                raise ZeroDivisionError

        waiter = Waiter()
        get_hub().loop.run_callback(waiter.throw, Unmakeable)
        with pytest.raises(ZeroDivisionError):
            waiter.get()

    def test_for_one_greenlet_at_a_time(self):
        waiter = Waiter()
        first = gevent.spawn(waiter.get)
        gevent.sleep(0)
        with pytest.raises(ConcurrentObjectUseError):
            waiter.get()
        get_hub().loop.run_callback(waiter.switch, 1)
        assert first.get() == 1

    def test_used_from_the_hub_only(self):
        waiter = Waiter()
        greenlet = gevent.spawn(waiter.get)
        gevent.sleep(0)
        for hand_over in (waiter.switch, waiter.switch_args, waiter.throw):
            with pytest.raises(AssertionError, match="from the Hub greenlet"):
                hand_over(ValueError)
        greenlet.kill()

    def test_killed_greenlet_leaves_it_free(self):
        waiter = Waiter()
        gevent.killall([gevent.spawn(waiter.get)])
        started = gevent.spawn(waiter.get)
        gevent.sleep(0)
        started.kill()
        get_hub().loop.run_callback(waiter.switch, "free")
        assert waiter.get() == "free"

    def test_tuple_of_arguments(self):
        waiter = Waiter()
        waiter.switch_args(1, 2)
        assert waiter.get() == (1, 2)

    @pytest.mark.usefixtures("printed")
    def test_as_a_link(self):
        for run, check in ((lambda: 5, 5), (lambda: 1 / 0, ZeroDivisionError)):
            waiter = Waiter()
            gevent.spawn(run).rawlink(waiter)
            if check == 5:
                assert waiter.get() == 5
            else:
                with pytest.raises(check):
                    waiter.get()


class TestCancelWaits:
    def test_all_are_wakened_before_then(self):
        hub = get_hub()
        log = []

        def wait(watcher, name):
            try:
                hub.wait(watcher)
            except ValueError as error:
                log.append((name, str(error)))

        watchers = [hub.loop.timer(1000), hub.loop.timer(1000)]
        jobs = [gevent.spawn(wait, watcher, i) for i, watcher in enumerate(watchers)]
        gevent.sleep(0)
        failure = ValueError("over")
        hub.cancel_waits_close_and_then([None, *watchers], failure, log.append, "then")
        assert not log
        gevent.joinall(jobs, timeout=10)
        gevent.sleep(0)
        assert log == [(0, "over"), (1, "over"), "then"]
        assert not any(watcher.active for watcher in watchers)

    def test_without_watchers(self):
        log = []
        get_hub().cancel_waits_close_and_then([None], ValueError, log.append, "then")
        assert log == ["then"]
