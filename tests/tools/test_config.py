"""gevent.config: defaults, environment, what is refused."""

import importlib
import os
import pprint
import subprocess
import sys

import pytest

from gevent import _config, config


@pytest.fixture
def fresh(monkeypatch):
    """Return a function that gives a setting as a new process would see it."""

    def read(name, environment=None):
        settings = _config.Config()
        key = settings.settings[name].environment_key
        if environment is None:
            monkeypatch.delenv(key, raising=False)
        else:
            monkeypatch.setenv(key, environment)
        return getattr(settings, name)

    return read


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("threadpool_idle_task_timeout", 5.0),
        ("max_blocking_time", 0.1),
        ("memory_monitor_period", 5.0),
        ("max_memory_usage", None),
        ("track_greenlet_tree", True),
        ("monitor_thread", False),
        ("print_blocking_reports", True),
        ("disable_watch_children", False),
        ("libev_backend", None),
        ("trace_malloc", None),
        ("ares_flags", None),
        ("ares_timeout", None),
        ("ares_tries", None),
        ("ares_ndots", None),
        ("ares_udp_port", None),
        ("ares_tcp_port", None),
        ("ares_servers", None),
        ("resolver_nameservers", None),
        ("resolver_timeout", None),
        ("format_context", pprint.saferepr),
    ],
)
def test_default(fresh, name, default):
    assert fresh(name) == default


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("threadpool_idle_task_timeout", "3", 3.0),
        ("threadpool_idle_task_timeout", "-1", -1.0),
        ("max_blocking_time", "1e3", 1000.0),
        ("max_blocking_time", "", None),
        ("max_memory_usage", "10", 10),
        ("max_memory_usage", "10 KB", 10240),
        ("max_memory_usage", "100MB", 104857600),
        ("max_memory_usage", "2gb", 2147483648),
        ("max_memory_usage", "", None),
        ("trace_malloc", "3", 3),
        ("trace_malloc", "0", 0),
        ("track_greenlet_tree", "off", False),
        ("monitor_thread", " ON", True),
        ("disable_watch_children", "yes", True),
        ("libev_backend", "epoll,nosigmask", ["epoll", "nosigmask"]),
        ("resolver_nameservers", "10.0.0.1,10.0.0.2", ["10.0.0.1", "10.0.0.2"]),
        ("ares_servers", "10.0.0.1", ["10.0.0.1"]),
        ("ares_tries", "4", 4),
        ("resolver_timeout", "2.5", 2.5),
        ("format_context", "no_such_module.name, pprint.pformat", pprint.pformat),
    ],
)
def test_from_the_environment(fresh, name, text, value):
    assert fresh(name, text) == value


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("max_blocking_time", "x", ValueError, "could not convert string to float: 'x'"),
        ("max_blocking_time", -1, ValueError, "Must be positive"),
        ("max_blocking_time", "0", ValueError, "Must be positive"),
        ("max_memory_usage", -1, ValueError, "Must be positive"),
        ("max_memory_usage", "1.5mb", ValueError, "invalid literal for int"),
        ("trace_malloc", "x", ValueError, "invalid literal for int"),
        ("track_greenlet_tree", "maybe", ValueError, "Invalid boolean string: 'maybe'"),
        ("resolver", "foo", ImportError, r"Cannot import 'foo'\. Required format: .*'ares'"),
        ("resolver", "os.nosuch", ImportError, "Cannot import 'nosuch' from <module 'os'"),
        ("resolver", [], ImportError, "Cannot import from empty list"),
        ("resolver", 5, TypeError, "not iterable"),
        ("threadpool", "nosuchmodule.x", ImportError, "No module named 'nosuchmodule'"),
    ],
)
def test_refused(name, value, error, message):
    with pytest.raises(error, match=message):
        setattr(_config.Config(), name, value)


@pytest.mark.parametrize("value", [0, None, ""])
def test_nothing_switches_a_number_off(value):
    settings = _config.Config()
    settings.max_blocking_time = value
    assert settings.max_blocking_time is None


def test_zero_is_a_number_where_zero_means_something():
    settings = _config.Config()
    settings.ares_ndots = 0
    assert settings.ares_ndots == 0


def test_read_once_then_only_set(fresh, monkeypatch):
    settings = _config.Config()
    monkeypatch.setenv("GEVENT_MAX_BLOCKING_TIME", "3")
    assert settings.max_blocking_time == 3.0
    monkeypatch.setenv("GEVENT_MAX_BLOCKING_TIME", "4")
    assert settings.max_blocking_time == 3.0
    settings.max_blocking_time = 5
    assert settings.max_blocking_time == 5.0


def test_a_refused_value_leaves_the_old_one():
    settings = _config.Config()
    settings.max_blocking_time = 2
    with pytest.raises(ValueError, match="positive"):
        settings.max_blocking_time = -2
    assert settings.max_blocking_time == 2.0


def test_an_object_is_taken_as_it_is():
    settings = _config.Config()
    settings.format_context = repr
    assert settings.format_context is repr
    settings.resolver = _config.Config
    assert settings.resolver is _config.Config


def test_every_loop_name_is_the_one_loop():
    loop = importlib.import_module("gevent.core").loop
    options = _config.Loop().get_options()
    assert set(options) == {"default", "libev-cext", "libev-cffi", "libuv-cffi", "libuv"}
    assert all(option is loop for option in options.values())


def test_options_that_cannot_be_imported_say_why():
    setting = _config.ImportableSetting()
    setting.shortname_map = {"bad": "bad/path", "good": "os.path"}
    options = setting.get_options()
    assert isinstance(options["bad"], ImportError)
    assert options["good"] is os.path


def test_no_such_setting():
    with pytest.raises(AttributeError, match="No configuration setting for: 'nosuch'"):
        _ = config.nosuch
    with pytest.raises(AttributeError, match="No configuration setting for: 'no such'"):
        config.set("no such", 1)


def test_names():
    assert sorted(dir(config)) == sorted(config.settings)
    for name, setting in config.settings.items():
        assert setting.name == name
        assert setting.environment_key


def test_validators():
    assert _config.validate_bool(3) is True
    assert _config.validate_bool(None) is False
    assert _config.validate_anything(config) is config
    with pytest.raises(ValueError, match="Invalid boolean string: 'hmm'"):
        _config.validate_bool(" hmm ")
    with pytest.raises(ValueError, match="Not a valid value: 5"):
        _config.validate_invalid(5)


def test_help(capsys):
    config.print_help()
    printed = capsys.readouterr().out
    for setting in config.settings.values():
        assert f"\n{setting.name}\n" in f"\n{printed}"
        assert setting.environment_key in printed


def test_environment_of_a_process():
    code = "import gevent; print(gevent.config.max_blocking_time)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "GEVENT_MAX_BLOCKING_TIME": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "7.0\n"
