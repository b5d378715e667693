"""Calls of functions in threads of their own."""

import threading

#: The seconds after which a call counts as one that never returns.
LONGEST = 60


def in_thread(function, *args):
    """Run a function in a new native thread; return its result or raise its error."""
    got = []

    def run():
        try:
            got.append((function(*args), None))
        except BaseException as error:
            got.append((None, error))

    # One that hangs must not keep the tests from ending.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LONGEST)
    assert not thread.is_alive(), "the function has not returned"
    result, error = got[0]
    if error is not None:
        raise error
    return result
