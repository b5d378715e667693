"""Every name that the gevent 0.13 manual has is there."""

import importlib

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:.*is of gevent 0.13:DeprecationWarning")

NAMES = {
    "gevent": """
        Greenlet GreenletExit Timeout core fork getcurrent joinall kill killall reinit shutdown
        signal sleep spawn spawn_later spawn_link spawn_link_exception spawn_link_value spawn_raw
        with_timeout
    """,
    "gevent.Greenlet": """
        dead exception get join kill link link_exception link_value rawlink ready spawn
        spawn_later spawn_link spawn_link_exception spawn_link_value start start_later started
        successful switch throw unlink value
    """,
    "gevent.Timeout": "cancel pending start start_new",
    "gevent.backdoor": "BackdoorServer",
    "gevent.baseserver": "BaseServer",
    "gevent.core": """
        EV_PERSIST EV_READ EV_SIGNAL EV_TIMEOUT EV_WRITE DNS_QUERY_NO_SEARCH active_event buffer
        dispatch dns_err_to_string dns_init dns_resolve_ipv4 dns_resolve_ipv6
        dns_resolve_reverse dns_resolve_reverse_ipv6 dns_shutdown event get_header_version
        get_method get_version http http_connection http_request init loop read_event
        readwrite_event signal timer write_event
    """,
    "gevent.core.event": """
        add cancel events_str flags flags_str pending __enter__ __exit__
    """,
    "gevent.core.active_event": "add",
    "gevent.core.buffer": "detach next read readline readlines",
    "gevent.core.http": "accept bind requests",
    "gevent.core.http_request": """
        add_input_header add_output_header clear_input_headers clear_output_headers connection
        detach find_input_header find_output_header get_input_headers kind major minor remote
        remote_host remote_port remove_input_header remove_output_header response send_error
        send_reply send_reply_chunk send_reply_end send_reply_start type typestr uri version
    """,
    "gevent.coros": "BoundedSemaphore Channel DummySemaphore Queue RLock Semaphore event",
    "gevent.dns": "resolve_ipv4 resolve_ipv6 resolve_reverse resolve_reverse_ipv6",
    "gevent.event": "AsyncResult Event",
    "gevent.event.AsyncResult": """
        exception get get_nowait rawlink ready set set_exception successful unlink value wait
        __call__
    """,
    "gevent.event.Event": "clear isSet is_set rawlink ready set unlink wait",
    "gevent.greenlet": """
        Greenlet LinkedCompleted LinkedExited LinkedFailed LinkedKilled joinall killall
    """,
    "gevent.http": "HTTPServer",
    "gevent.hub": "DispatchExit Hub Waiter get_hub shutdown sleep",
    "gevent.hub.Hub": "run shutdown switch",
    "gevent.hub.Waiter": "get switch throw",
    "gevent.local": "local",
    "gevent.monkey": "patch_all patch_socket patch_ssl patch_thread",
    "gevent.pool": "Group GreenletSet Pool",
    "gevent.pool.GreenletSet": "join spawn_link spawn_link_exception spawn_link_value",
    "gevent.pool.Group": "join spawn_link spawn_link_exception spawn_link_value",
    "gevent.pool.Pool": "apply map spawn spawn_link spawn_link_exception spawn_link_value",
    "gevent.proc": """
        Proc ProcSet RunningProcSet killall spawn spawn_link spawn_link_exception
        spawn_link_value waitall wrap_errors
    """,
    "gevent.pywsgi": "WSGIHandler WSGIServer",
    "gevent.queue": "Empty Full JoinableQueue LifoQueue PriorityQueue Queue",
    "gevent.queue.JoinableQueue": "join task_done",
    "gevent.queue.Queue": "empty full get get_nowait put put_nowait qsize",
    "gevent.rawgreenlet": "join joinall kill killall",
    "gevent.select": "select",
    "gevent.server": "StreamServer",
    "gevent.server.StreamServer": "serve_forever start stop",
    "gevent.socket": """
        bind_and_listen create_connection getaddrinfo getfqdn gethostbyname socket ssl sslerror
        wait_read wait_readwrite wait_write
    """,
    "gevent.ssl": "SSLObject SSLSocket wrap_socket",
    "gevent.ssl.SSLObject": "settimeout",
    "gevent.sslold": "ssl sslerror",
    "gevent.thread": "start_new_thread",
    "gevent.timeout": "Timeout with_timeout",
    "gevent.util": "lazy_property wrap_errors",
    "gevent.wsgi": "WSGIServer",
}


def found(path):
    module, _, rest = path.rpartition(".")
    if not module:
        return importlib.import_module(path)
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        return getattr(found(module), rest)


@pytest.mark.parametrize(
    ("place", "name"), [(place, name) for place, names in NAMES.items() for name in names.split()]
)
def test_name(place, name):
    assert hasattr(found(place), name)
