"""Which module of the standard library each module of gevent stands in for."""

MAPPING = {
    "gevent.builtins": "builtins",
    "gevent.contextvars": "contextvars",
    "gevent.local": "_threading_local",
    "gevent.os": "os",
    "gevent.queue": "queue",
    "gevent.select": "select",
    "gevent.selectors": "selectors",
    "gevent.signal": "signal",
    "gevent.socket": "socket",
    "gevent.ssl": "ssl",
    "gevent.subprocess": "subprocess",
    "gevent.thread": "_thread",
    "gevent.threading": "threading",
    "gevent.time": "time",
}
