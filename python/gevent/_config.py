"""The settings, read from the environment at first use; ``gevent.config`` is their one object.

``python -m gevent._config`` describes them all.
"""

from __future__ import annotations

import importlib
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

__all__ = ["config"]

_BOOLEANS = {
    **dict.fromkeys(("1", "on", "yes", "true"), True),
    **dict.fromkeys(("0", "off", "no", "false", ""), False),
}


def validate_bool(value: Any) -> bool:
    """Return the truth of *value*; a string must be one of 1, on, yes, true, 0, off, no, false.

    :raises ValueError: any other string.
    """
    if not isinstance(value, str):
        return bool(value)
    value = value.strip()
    try:
        return _BOOLEANS[value.lower()]
    except KeyError:
        raise ValueError(f"Invalid boolean string: {value!r}") from None


def validate_anything(value: Any) -> Any:
    """Return *value*."""
    return value


def validate_invalid(value: Any) -> Any:
    """Refuse *value*, whatever it is.

    :raises ValueError: always.
    """
    raise ValueError(f"Not a valid value: {value!r}")


class Setting:
    """One setting: the variable that it is read from, its meaning, and its value.

    The classes derived from it are the kinds of settings. :data:`SETTINGS` has a row for each
    setting. Values that a row leaves out are attributes of the class.
    """

    #: The attribute of :class:`Config`.
    name: str = ""
    #: The environment variable that it is read from.
    environment_key: str = ""
    #: The value if neither the program nor the environment sets one.
    default: Any = None
    #: The meaning, for people.
    desc: str = ""
    #: The form in which values of this kind are written, for people.
    kind: str = ""

    def __init__(self, *row: Any) -> None:
        for field, value in zip(("name", "environment_key", "default", "desc"), row, strict=False):
            setattr(self, field, value)

    def convert(self, value: Any) -> Any:
        """Return *value*, which may come from the environment as a string, as it is kept.

        :raises ValueError: *value* is not valid.
        """
        return value

    def get(self) -> Any:
        """Return the value, reading the environment if it was neither set nor read before."""
        if "value" not in vars(self):
            self.set(os.environ.get(self.environment_key, self.default))
        return self.value

    def set(self, value: Any) -> None:
        """Make *value* the value.

        :raises ValueError: *value* is not valid.
        """
        self.value = self.convert(value)


class BoolSetting(Setting):
    """A setting that is on or off."""

    kind = "It is a boolean: 1, on, yes or true; 0, off, no or false."

    def convert(self, value: Any) -> bool:
        return validate_bool(value)


class NumberSetting(Setting):
    """A setting that is a number or, given as nothing, ``None``."""

    type: Callable[[Any], Any] = int

    def convert(self, value: Any) -> Any:
        return None if value in (None, "") else self.type(value)


class PositiveSetting(NumberSetting):
    """A number that must be greater than zero; 0 in code, like ``None``, means none."""

    type: Callable[[Any], Any] = float

    def convert(self, value: Any) -> Any:
        number = super().convert(value or None)
        if number is not None and number <= 0:
            raise ValueError("Must be positive")
        return number


class ByteCountSetting(PositiveSetting):
    """A number of bytes."""

    kind = "It is a number of bytes; a string may end in kb, mb or gb."

    @staticmethod
    def type(value: Any) -> int:
        text = str(value).lower()
        factor = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}.get(text[-2:])
        return int(text) if factor is None else int(text[:-2]) * factor


class ListSetting(Setting):
    """A list of strings."""

    kind = "It is a list of strings; in a string, commas separate them."

    def convert(self, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value


class ImportableSetting(Setting):
    """An object that can be given by name."""

    #: Names for the usual choices.
    shortname_map: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @property
    def kind(self) -> str:  # type: ignore[override]
        short = f" ({', '.join(self.shortname_map)})" if self.shortname_map else ""
        return (
            "It is the object itself, or 'package.module.object', or a short name"
            f"{short}, or a list of such strings of which the first importable counts; in a "
            "string, commas separate them."
        )

    def convert(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._import_one_of([name.strip() for name in value.split(",")])
        if isinstance(value, type) or callable(value):
            return value
        return self._import_one_of(value)

    def get_options(self) -> dict[str, Any]:
        """Return the object, or the ``ImportError`` met on the way to it, for each short name."""
        options = {}
        for name in self.shortname_map:
            try:
                options[name] = self._import_one(name)
            except ImportError as error:
                options[name] = error
        return options

    def _import_one_of(self, candidates: Iterable[Any]) -> Any:
        candidates = list(candidates)
        if not candidates:
            raise ImportError("Cannot import from empty list")
        for candidate in candidates[:-1]:
            try:
                return self._import_one(candidate)
            except ImportError:
                continue
        return self._import_one(candidates[-1])

    def _import_one(self, path: Any) -> Any:
        if not isinstance(path, str):
            return path
        full = self.shortname_map.get(path, path)
        module_name, _, item = full.rpartition(".")
        if not module_name or "/" in full:
            raise ImportError(
                f"Cannot import {path!r}. Required format: [package.]module.class. "
                f"Or choose from {list(self.shortname_map)!r}"
            )
        module = importlib.import_module(module_name)
        try:
            return getattr(module, item)
        except AttributeError:
            raise ImportError(f"Cannot import {item!r} from {module!r}") from None


class Resolver(ImportableSetting):
    """The resolver."""

    name = "resolver"
    environment_key = "GEVENT_RESOLVER"
    desc = "The class of gevent.hub.Hub.resolver, which looks up host names."
    default = ("thread", "dnspython", "ares", "block")
    shortname_map: ClassVar[Mapping[str, str]] = {
        "ares": "gevent.resolver.ares.Resolver",
        "thread": "gevent.resolver.thread.Resolver",
        "block": "gevent.resolver.blocking.Resolver",
        "dnspython": "gevent.resolver.dnspython.Resolver",
    }


class Loop(ImportableSetting):
    """The loop, of which there is only one."""

    name = "loop"
    environment_key = "GEVENT_LOOP"
    desc = "The class of gevent.hub.Hub.loop. Every short name stands for the one there is."
    default = "default"
    shortname_map = dict.fromkeys(
        ("default", "libev-cext", "libev-cffi", "libuv-cffi", "libuv"), "gevent._core.loop"
    )


class FileObject(ImportableSetting):
    """The class of file objects."""

    name = "fileobject"
    environment_key = "GEVENT_FILE"
    desc = "The class that is gevent.fileobject.FileObject."
    default = ("posix", "thread")
    shortname_map: ClassVar[Mapping[str, str]] = {
        "thread": "gevent.fileobject.FileObjectThread",
        "posix": "gevent.fileobject.FileObjectPosix",
        "block": "gevent.fileobject.FileObjectBlock",
    }


class IdleTimeout(PositiveSetting):
    """A number of seconds, or -1 for no end."""

    def convert(self, value: Any) -> float | None:
        return -1.0 if value in (-1, "-1") else super().convert(value)


class LoopFlags(ListSetting):
    """The flags of a loop, which libevent's variables set too."""

    def get(self) -> Any:
        if "value" not in vars(self) and not os.environ.get(self.environment_key):
            self.set(_wanted_by_libevent())
        return super().get()


class InspectAddress(Setting):
    """An address, ``"on"``, or none."""

    def convert(self, value: Any) -> str | None:
        off = value is None or value is False or str(value).lower() in ("", "0", "off", "no")
        return None if off else "on" if value is True else str(value)


def _wanted_by_libevent() -> str | None:
    """Return the method by which libevent would wait if its variable ``EVENT_NOEPOLL`` is set.

    The loop takes that name, as it does when it is asked for, and waits by epoll all the same,
    which a :class:`RuntimeWarning` says.
    """
    methods = ("epoll", "poll", "select")
    wanted = [name for name in methods if f"EVENT_NO{name.upper()}" not in os.environ]
    if methods[0] in wanted:
        return None
    name = wanted[0] if wanted else methods[0]
    warnings.warn(
        f"EVENT_NOEPOLL is set, but there is no other way to wait than by epoll; the loop goes by "
        f"the name of {name!r} all the same",
        RuntimeWarning,
        stacklevel=2,
    )
    return name


#: True where the interpreter's threads inherit the context: ``-X thread_inherit_context=1``, 3.14.
_THREADS_INHERIT_CONTEXT = bool(getattr(sys.flags, "thread_inherit_context", False))

# fmt: off
#: The settings: kind, name, environment variable, default, meaning.
SETTINGS: tuple[tuple[Any, ...], ...] = (
    (Resolver,),
    (BoolSetting, "native_lookups", "GEVENT_NATIVE_LOOKUPS", True,
        "Has the default resolver ask name servers on the hub's loop, without a thread, "
        "where the system looks names up in /etc/hosts and at name servers only."),
    (ImportableSetting, "threadpool", "GEVENT_THREADPOOL", "gevent.threadpool.ThreadPool",
        "The class of gevent.hub.Hub.threadpool."),
    (IdleTimeout, "threadpool_idle_task_timeout", "GEVENT_THREADPOOL_IDLE_TASK_TIMEOUT", 5.0,
        "The seconds without a task after which a thread of a hub's thread pool ends; -1: never."),
    (Loop,),
    (ImportableSetting, "format_context", "GEVENT_FORMAT_CONTEXT", "pprint.saferepr",
        "The function that turns what failed into a string, for the hub's error reports."),
    (LoopFlags, "libev_backend", "GEVENT_BACKEND", None,
        "The flags the hub's loop is created with, such as 'epoll'."),
    (FileObject,),
    (BoolSetting, "disable_watch_children", "GEVENT_NOWAITPID", False,
        "Leaves child processes to the program; see gevent.os."),
    (BoolSetting, "compat", "GEVENT_COMPAT", False,
        "Gives calls the meaning that they had in gevent 0.13 where that differs from today, "
        "such as Queue(0), which made a channel. See gevent.compat."),
    (NumberSetting, "trace_malloc", "PYTHONTRACEMALLOC", None,
        "The number of frames that the interpreter's tracemalloc keeps of each allocation."),
    (BoolSetting, "inherit_context", "GEVENT_INHERIT_CONTEXT", _THREADS_INHERIT_CONTEXT,
        "Has greenlets, those of pools and patched threads too, begin with a copy of the "
        "contextvars context of what spawned them, and not with an empty one."),
    (BoolSetting, "track_greenlet_tree", "GEVENT_TRACK_GREENLET_TREE", True,
        "Has a greenlet remember what spawned it, where, and the spawn tree's locals. "
        "Spawning is faster, and takes less memory, without."),
    (InspectAddress, "inspect", "GEVENT_INSPECT", None,
        "The address where the process opens the view of gevent.inspect once a hub waits: "
        "unix:PATH, tcp:127.0.0.1:PORT, or on for a socket that `python -m gevent.top PID` "
        "finds. Nothing opens none."),
    (BoolSetting, "inspect_kill", "GEVENT_INSPECT_KILL", True,
        "Lets clients of the view of gevent.inspect have greenlets killed."),
    (BoolSetting, "monitor_thread", "GEVENT_MONITOR_THREAD_ENABLE", False,
        "Has each hub, once something waits in it, watched by a native thread that "
        "reports when its loop is blocked; see "
        "gevent.hub.Hub.start_periodic_monitoring_thread."),
    (PositiveSetting, "max_blocking_time", "GEVENT_MAX_BLOCKING_TIME", 0.1,
        "The seconds, approximately, after which the monitor thread reports a blocked loop."),
    (BoolSetting, "print_blocking_reports", "GEVENT_MONITOR_PRINT_BLOCKING_REPORTS", True,
        "Has the monitor thread print its report of a blocked loop. Events go out anyway."),
    (PositiveSetting, "memory_monitor_period", "GEVENT_MONITOR_MEMORY_PERIOD", 5,
        "The seconds between two checks of the memory by the monitor thread; 2 at least."),
    (ByteCountSetting, "max_memory_usage", "GEVENT_MONITOR_MEMORY_MAX", None,
        "How much memory the process may use before the monitor thread emits events about it."),
    (NumberSetting, "ares_flags", "GEVENTARES_FLAGS", None,
        "The flags of the ares resolver."),
    (PositiveSetting, "ares_timeout", "GEVENTARES_TIMEOUT", None,
        "An older name of resolver_timeout, which is to be preferred."),
    (NumberSetting, "ares_tries", "GEVENTARES_TRIES", None,
        "How often the ares resolver asks each name server before it gives up."),
    (NumberSetting, "ares_ndots", "GEVENTARES_NDOTS", None,
        "With how many dots in it the ares resolver first takes a name as complete."),
    (NumberSetting, "ares_udp_port", "GEVENTARES_UDP_PORT", None,
        "The UDP port of the name servers the ares resolver asks."),
    (NumberSetting, "ares_tcp_port", "GEVENTARES_TCP_PORT", None,
        "The TCP port of the name servers the ares resolver asks."),
    (ListSetting, "ares_servers", "GEVENTARES_SERVERS", None,
        "An older name of resolver_nameservers, which is to be preferred."),
    (ListSetting, "resolver_nameservers", "GEVENT_RESOLVER_NAMESERVERS", None,
        "The IP addresses of the name servers that the ares and dnspython resolvers ask, "
        "instead of those of /etc/resolv.conf."),
    (PositiveSetting, "resolver_timeout", "GEVENT_RESOLVER_TIMEOUT", None,
        "For how many seconds the ares and dnspython resolvers try to answer a query."),
)
# fmt: on


class Config:
    """The settings of this package, each an attribute; the one instance is ``gevent.config``.

    A setting is read from its environment variable when it is first used. A program that sets
    one itself must do so before it uses what the setting decides::

        from gevent import config
        config.resolver = "ares"

    :meth:`print_help` describes them all.
    """

    settings: dict[str, Setting]

    def __init__(self) -> None:
        settings = [kind(*row) for kind, *row in SETTINGS]
        vars(self)["settings"] = {setting.name: setting for setting in settings}

    def __getattr__(self, name: str) -> Any:
        return self._setting(name).get()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.settings:
            self.set(name, value)
        else:
            # Newer or older programs may set what this version does not know.
            super().__setattr__(name, value)

    def set(self, name: str, value: Any) -> None:
        """Set the setting *name* to *value*.

        :raises AttributeError: there is no such setting.
        """
        self._setting(name).set(value)
        if name in SPAWN_SETTINGS and self is globals().get("config"):
            apply_spawn_settings()

    def _setting(self, name: str) -> Setting:
        try:
            return self.settings[name]
        except KeyError:
            raise AttributeError(f"No configuration setting for: {name!r}") from None

    def __dir__(self) -> list[str]:
        return list(self.settings)

    def print_help(self) -> None:
        """Print the meaning of every setting, its default and its environment variable."""
        for name, setting in self.settings.items():
            print(name)
            for text in (
                setting.desc,
                setting.kind,
                f"The default is {setting.default!r}; "
                f"the environment variable is {setting.environment_key}.",
            ):
                if text:
                    print(textwrap.fill(text, 88, initial_indent="    ", subsequent_indent="    "))
            print()


#: Settings that the engine has a copy of, as it uses them at each spawn.
SPAWN_SETTINGS = ("inherit_context", "track_greenlet_tree")


def apply_spawn_settings() -> None:
    """Hand the settings about spawning to the engine, which asks for them at the first spawn.

    :raises ValueError: the environment has a value for one of them that is not a boolean.
    """
    from gevent import _core

    for name in SPAWN_SETTINGS:
        getattr(_core, f"set_{name}")(getattr(config, name))


#: The settings of the process.
config: Config = Config()

if __name__ == "__main__":
    config.print_help()
