"""Interpreters beside the main one."""

import sys

import pytest

RECURSE_IN_INTERPRETERS = """
    import sys
    import threading

    import gevent

    if sys.version_info >= (3, 13):
        import _interpreters as interpreters

        def run(code):
            one = interpreters.create("isolated")
            interpreters.exec(one, code)
            interpreters.destroy(one)
    else:
        import _xxsubinterpreters as interpreters

        def run(code):
            one = interpreters.create(isolated=True)
            interpreters.run_string(one, code)
            interpreters.destroy(one)

    DEEP = '''
    def down(levels):
        return down(levels - 1) if levels else 0

    for _ in range(1000):
        down(300)
    '''

    def down(levels):
        return down(levels - 1) if levels else 0

    def run_some():
        for _ in range(10):
            run(DEEP)

    threads = [threading.Thread(target=run_some) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        gevent.joinall([gevent.spawn(down, 30) for _ in range(200)], raise_error=True)
    print("ended")
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="one GIL for all interpreters")
def test_interpreters_with_a_gil_of_their_own_run_beside_greenlets(run_python):
    outcome = run_python(RECURSE_IN_INTERPRETERS, timeout=60)
    assert (outcome.stdout, outcome.stderr) == ("ended\n", "")
