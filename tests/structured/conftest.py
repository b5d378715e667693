"""What the tests of groups and scopes share."""

import io

import pytest

import gevent


@pytest.fixture
def reports():
    """The text that the hub reports meanwhile."""
    hub = gevent.get_hub()
    before = hub.exception_stream
    hub.exception_stream = stream = io.StringIO()
    yield stream
    hub.exception_stream = before
