"""The tests of thread pools share this."""

import threading


class Gate:
    """Holds native threads until it is opened."""

    def __init__(self):
        self._event = threading.Event()
        self.open = self._event.set
        self.reached = False

    def wait(self, result=None):
        self.reached = True
        assert self._event.wait(60)
        return result
