"""The memory of greenlets' Python frames: small at first, more for deep calls, given back."""

import os

import pytest

import gevent

DEPTH = 120


def deep(levels, pause):
    """Call itself so deep, pausing on the way down and up."""
    local = [levels] * 3
    if levels % 7 == 0:
        pause()
    result = 0 if levels == 0 else deep(levels - 1, pause)
    if levels % 5 == 0:
        pause()
    assert local == [levels] * 3
    return result + levels


def test_frames_of_many_greenlets_do_not_meet():
    crowd = [gevent.spawn(deep, DEPTH - number, lambda: gevent.sleep(0)) for number in range(60)]
    gevent.joinall(crowd, raise_error=True)
    expected = [sum(range(DEPTH - number + 1)) for number in range(60)]
    assert [one.value for one in crowd] == expected


def test_errors_and_generators_through_small_frames():
    def count(most):
        for number in range(most):
            gevent.sleep(0)
            yield number

    def fail(levels):
        if levels == 0:
            raise KeyError(levels)
        try:
            fail(levels - 1)
        finally:
            gevent.sleep(0)

    def work():
        assert sum(count(20)) == 190
        with pytest.raises(KeyError):
            fail(40)
        return True

    crowd = [gevent.spawn(work) for _ in range(20)]
    gevent.joinall(crowd, raise_error=True)
    assert all(one.value for one in crowd)


def test_killed_and_dropped_at_any_depth():
    for levels in range(0, 60, 3):
        crowd = [gevent.spawn(deep, levels, lambda: gevent.sleep(60)) for _ in range(5)]
        gevent.sleep(0)
        gevent.killall(crowd)
        assert all(one.dead for one in crowd)


def test_threads_have_their_own(output_of):
    out = output_of(
        f"""
        import sys, threading
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        import gevent
        from test_frames import DEPTH, deep

        def hub(results):
            crowd = [gevent.spawn(deep, DEPTH, lambda: gevent.sleep(0)) for _ in range(30)]
            gevent.joinall(crowd, raise_error=True)
            results.extend(one.value for one in crowd)

        results = []
        threads = [threading.Thread(target=hub, args=(results,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(len(results), set(results) == {{sum(range(DEPTH + 1))}})
        """
    )
    assert out == "120 True\n"


def test_a_parked_greenlet_costs_little_and_leaves_nothing(output_of):
    """Little more than the page that its frames alone would take; that part of it comes back."""
    out = output_of(
        """
        import ctypes, gc, os, gevent

        def resident():
            with open("/proc/self/statm") as statm:
                return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        def wait(event):
            event.wait()

        def crowd(count):
            event = gevent.event.Event()
            parked = [gevent.spawn(wait, event) for _ in range(count)]
            gevent.sleep(0)
            used = resident()
            event.set()
            gevent.joinall(parked)
            return used

        import gevent.event
        crowd(1000)
        before = resident()
        each = (crowd(40_000) - before) / 40_000
        gc.collect()
        # What malloc keeps of the stacks' copies is between it and the C library.
        ctypes.CDLL(None).malloc_trim(0)
        print(each < 5000, resident() - before < 40_000 * 1200)
        """
    )
    assert out == "True True\n"
