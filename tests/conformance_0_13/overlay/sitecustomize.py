"""Loaded by every process of the suite: brings Python 2's world around gevent 0.13.1's tests."""

import os

if os.environ.get("SUITE_0_13"):
    import python2_world

    python2_world.install()
