"""Publish and subscribe: events of the process, passed to every subscriber.

An *event* is an object that describes something that happened or is about to happen, such as
:class:`EventLoopBlocked`. :func:`notify` hands it to every callable of the list
:data:`subscribers`, in order. Where ``zope.event`` is installed the two are its own, so that
everything built on it works here; where ``zope.interface`` is installed the event classes
declare the interfaces (``I...``) they implement.

Events with an ``ENTRY_POINT_NAME`` are handed, after the subscribers, to every callable that an
installed distribution declares as an entry point of that group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gevent._entry_points import entry_points
from gevent._zope import Attribute, Interface, implementer
from gevent._zope import notify as notify
from gevent._zope import subscribers as subscribers

__all__ = [
    "DoNotPatch",
    "EventLoopBlocked",
    "GeventDidPatchAllEvent",
    "GeventDidPatchBuiltinModulesEvent",
    "GeventDidPatchModuleEvent",
    "GeventPatchEvent",
    "GeventWillPatchAllEvent",
    "GeventWillPatchEvent",
    "GeventWillPatchModuleEvent",
    "IEventLoopBlocked",
    "IGeventDidPatchAllEvent",
    "IGeventDidPatchBuiltinModulesEvent",
    "IGeventDidPatchEvent",
    "IGeventDidPatchModuleEvent",
    "IGeventPatchEvent",
    "IGeventWillPatchAllEvent",
    "IGeventWillPatchEvent",
    "IGeventWillPatchModuleEvent",
    "IMemoryUsageThresholdExceeded",
    "IMemoryUsageUnderThreshold",
    "IPeriodicMonitorThread",
    "IPeriodicMonitorThreadStartedEvent",
    "MemoryUsageThresholdExceeded",
    "MemoryUsageUnderThreshold",
    "PeriodicMonitorThreadStartedEvent",
    "subscribers",
]


def notify_and_call_entry_points(event: Any) -> None:
    """Call the subscribers, then the entry points of the group ``event.ENTRY_POINT_NAME``.

    An exception of one of them ends the round and reaches the caller.
    """
    notify(event)
    for entry_point in entry_points(group=event.ENTRY_POINT_NAME):
        entry_point.load()(event)


class IEventLoopBlocked(Interface):
    """Emitted, in the monitor thread, when the loop has been blocked for too long."""

    greenlet: Attribute = Attribute("The greenlet that appears to block the loop.")
    blocking_time: Attribute = Attribute("For about how many seconds the loop has been blocked.")
    info: Attribute = Attribute("A list of lines with further details; subscribers may change it.")
    hub: Attribute = Attribute("The blocked hub, or None when it is not known.")


@implementer(IEventLoopBlocked)
class EventLoopBlocked:
    """A greenlet keeps the loop of *hub* from running; see :class:`IEventLoopBlocked`."""

    def __init__(
        self, greenlet: Any, blocking_time: float, info: list[str], *, hub: Any = None
    ) -> None:
        self.greenlet = greenlet
        self.blocking_time = blocking_time
        self.info = info
        self.hub = hub


class IMemoryUsageThresholdExceeded(Interface):
    """Emitted, in the monitor thread, when the process takes more memory than allowed.

    Emitted again only as memory grows further, or rises again after having dropped.
    """

    mem_usage: Attribute = Attribute("The memory the process uses, in bytes.")
    max_allowed: Attribute = Attribute("The memory the process may use, in bytes.")
    memory_info: Attribute = Attribute("The named tuple of figures that psutil returned.")


class _MemoryEvent:
    def __init__(self, mem_usage: int, max_allowed: int, memory_info: Any) -> None:
        self.mem_usage = mem_usage
        self.max_allowed = max_allowed
        self.memory_info = memory_info

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} used={self.mem_usage} max={self.max_allowed} "
            f"details={self.memory_info!r}>"
        )


@implementer(IMemoryUsageThresholdExceeded)
class MemoryUsageThresholdExceeded(_MemoryEvent):
    """The process takes more memory than allowed; see :class:`IMemoryUsageThresholdExceeded`."""


class IMemoryUsageUnderThreshold(Interface):
    """Emitted, in the monitor thread, when memory is back under the limit it had exceeded."""

    mem_usage: Attribute = Attribute("The memory the process uses, in bytes.")
    max_allowed: Attribute = Attribute("The memory the process may use, in bytes.")
    max_memory_usage: Attribute = Attribute(
        "The usage, in bytes, last reported as exceeding the limit."
    )
    memory_info: Attribute = Attribute("The named tuple of figures that psutil returned.")


@implementer(IMemoryUsageUnderThreshold)
class MemoryUsageUnderThreshold(_MemoryEvent):
    """Memory is back under the limit; see :class:`IMemoryUsageUnderThreshold`."""

    def __init__(self, mem_usage: int, max_allowed: int, memory_info: Any, max_usage: int) -> None:
        super().__init__(mem_usage, max_allowed, memory_info)
        self.max_memory_usage = max_usage


class IPeriodicMonitorThread(Interface):
    """The interface of the thread that watches a hub."""

    def add_monitoring_function(  # type: ignore[misc]
        function: Callable[[Any], object], period: float | None
    ) -> Any:
        """Have *function* called with the hub about every *period* seconds.

        It is called in the monitor thread, where nothing of this package may be waited for.
        Adding it again changes its period, and a *period* of ``None`` removes it. A period of
        zero or less is refused.
        """


class IPeriodicMonitorThreadStartedEvent(Interface):
    """Emitted when a hub gets its monitor thread: the moment to add monitoring functions."""

    monitor: Attribute = Attribute("The IPeriodicMonitorThread that was started.")


@implementer(IPeriodicMonitorThreadStartedEvent)
class PeriodicMonitorThreadStartedEvent:
    """A monitor thread was started; see :class:`IPeriodicMonitorThreadStartedEvent`."""

    #: The group of the entry points that are called with this event.
    ENTRY_POINT_NAME = "gevent.plugins.hub.periodic_monitor_thread_started"

    def __init__(self, monitor: Any) -> None:
        self.monitor = monitor


class IGeventPatchEvent(Interface):
    """The root of the events that monkey-patching emits."""

    source: Attribute = Attribute("The object that provides the replacements.")
    target: Attribute = Attribute("The object that is patched.")


@implementer(IGeventPatchEvent)
class GeventPatchEvent:
    """Something about monkey-patching; see :class:`IGeventPatchEvent`."""

    def __init__(self, source: Any, target: Any) -> None:
        self.source = source
        self.target = target

    def __repr__(self) -> str:
        return f"<{type(self).__name__} source={self.source!r} target={self.target!r} " + (
            f"at {id(self):x}>"
        )


class IGeventWillPatchEvent(IGeventPatchEvent):
    """Emitted *before* something is patched; raising :exc:`DoNotPatch` leaves it alone."""


class DoNotPatch(BaseException):
    """Raised by a subscriber to a will-patch event to leave that item unpatched."""


@implementer(IGeventWillPatchEvent)
class GeventWillPatchEvent(GeventPatchEvent):
    """Something is about to be patched; see :class:`IGeventWillPatchEvent`."""


class IGeventDidPatchEvent(IGeventPatchEvent):
    """Emitted *after* something was patched."""


@implementer(IGeventDidPatchEvent)
class GeventDidPatchEvent(GeventPatchEvent):
    """Something was patched; see :class:`IGeventDidPatchEvent`."""


class IGeventWillPatchModuleEvent(IGeventWillPatchEvent):
    """Emitted before a module is patched; source and target are modules."""

    module_name: Attribute = Attribute("The name of the module to patch, as in target.__name__.")
    target_item_names: Attribute = Attribute(
        "The list of the names to patch, which may be changed."
    )


@implementer(IGeventWillPatchModuleEvent)
class GeventWillPatchModuleEvent(GeventWillPatchEvent):
    """A module is about to be patched; see :class:`IGeventWillPatchModuleEvent`."""

    #: The group of the entry points that are called with this event.
    ENTRY_POINT_NAME = "gevent.plugins.monkey.will_patch_module"

    def __init__(self, module_name: str, source: Any, target: Any, items: Sequence[str]) -> None:
        super().__init__(source, target)
        self.module_name = module_name
        self.target_item_names = items


class IGeventDidPatchModuleEvent(IGeventDidPatchEvent):
    """Emitted after a module was patched; source and target are modules."""

    module_name: Attribute = Attribute("The name of the patched module, as in target.__name__.")


@implementer(IGeventDidPatchModuleEvent)
class GeventDidPatchModuleEvent(GeventDidPatchEvent):
    """A module was patched; see :class:`IGeventDidPatchModuleEvent`."""

    #: The group of the entry points that are called with this event.
    ENTRY_POINT_NAME = "gevent.plugins.monkey.did_patch_module"

    def __init__(self, module_name: str, source: Any, target: Any) -> None:
        super().__init__(source, target)
        self.module_name = module_name


class _PatchAllMixin:
    def __init__(
        self, patch_all_arguments: dict[str, Any], patch_all_kwargs: dict[str, Any]
    ) -> None:
        super().__init__(None, None)  # type: ignore[call-arg]
        self._patch_all_arguments = patch_all_arguments
        self._patch_all_kwargs = patch_all_kwargs

    @property
    def patch_all_arguments(self) -> dict[str, Any]:
        """A copy of the arguments of :func:`gevent.monkey.patch_all`, by name."""
        return self._patch_all_arguments.copy()

    @property
    def patch_all_kwargs(self) -> dict[str, Any]:
        """A copy of the further keyword arguments of :func:`gevent.monkey.patch_all`."""
        return self._patch_all_kwargs.copy()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._patch_all_arguments} at {id(self):x}>"


class IGeventWillPatchAllEvent(IGeventWillPatchEvent):
    """Emitted before :func:`gevent.monkey.patch_all` patches anything.

    A will-patch and a did-patch event for each module follow, then
    :class:`IGeventDidPatchBuiltinModulesEvent`, then :class:`IGeventDidPatchAllEvent`. Raising
    :exc:`DoNotPatch` leaves everything unpatched. Source and target mean nothing here.
    """

    patch_all_arguments: Attribute = Attribute("A dictionary of the arguments of patch_all.")
    patch_all_kwargs: Attribute = Attribute("A dictionary of the further arguments of patch_all.")

    def will_patch_module(module_name: str) -> Any:  # type: ignore[misc]
        """Return true if the module *module_name* is going to be patched."""


@implementer(IGeventWillPatchAllEvent)
class GeventWillPatchAllEvent(_PatchAllMixin, GeventWillPatchEvent):
    """Everything is about to be patched; see :class:`IGeventWillPatchAllEvent`."""

    #: The group of the entry points that are called with this event.
    ENTRY_POINT_NAME = "gevent.plugins.monkey.will_patch_all"

    def will_patch_module(self, module_name: str) -> Any:
        """Return true if *module_name* is to be patched; ``None`` for a name never patched."""
        return self._patch_all_arguments.get(module_name)


class IGeventDidPatchBuiltinModulesEvent(IGeventDidPatchEvent):
    """Emitted after the modules of the standard library were patched.

    This is the moment to patch further packages. Source and target mean nothing here.
    """

    patch_all_arguments: Attribute = Attribute("A dictionary of the arguments of patch_all.")
    patch_all_kwargs: Attribute = Attribute("A dictionary of the further arguments of patch_all.")


@implementer(IGeventDidPatchBuiltinModulesEvent)
class GeventDidPatchBuiltinModulesEvent(_PatchAllMixin, GeventDidPatchEvent):
    """The standard library was patched; see :class:`IGeventDidPatchBuiltinModulesEvent`."""

    #: The group of the entry points that are called with this event.
    ENTRY_POINT_NAME = "gevent.plugins.monkey.did_patch_builtins"


class IGeventDidPatchAllEvent(IGeventDidPatchEvent):
    """Emitted after everything was patched, by this package and by the subscribers.

    Source and target mean nothing here.
    """


@implementer(IGeventDidPatchAllEvent)
class GeventDidPatchAllEvent(_PatchAllMixin, GeventDidPatchEvent):
    """Everything was patched; see :class:`IGeventDidPatchAllEvent`."""

    #: The group of the entry points that are called with this event.
    ENTRY_POINT_NAME = "gevent.plugins.monkey.did_patch_all"
