"""Serve the example of zunzuncito's page on gevent. Needs zunzuncito 0.1.20.

usage: serve.py [PORT]      8000 unless given; open http://localhost:8000/ to see what comes when
"""

import collections
import collections.abc
import sys

from gevent.pywsgi import WSGIServer


class MutableMapping(collections.abc.MutableMapping):
    """As in Python 2, `items()` is a list, which zunzuncito adds another one to."""

    def items(self):
        return list(super().items())


# zunzuncito takes them from where they were until Python 3.9.
collections.Mapping = collections.abc.Mapping
collections.MutableMapping = MutableMapping

import zunzuncito

# It finds api/default/v0/zun_default/zun_default.py, as it is beside this file.
app = zunzuncito.ZunZun("api")

if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    WSGIServer(("127.0.0.1", port), app).serve_forever()
