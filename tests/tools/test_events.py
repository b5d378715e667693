"""gevent.events: subscribers, entry points and the event classes, with and without zope."""

import importlib
import inspect
import subprocess
import sys
import zipfile

import pytest

from gevent import events


@pytest.fixture
def told():
    """Return the list of the events that are emitted from now on."""
    seen = []
    events.subscribers.append(seen.append)
    yield seen
    events.subscribers.remove(seen.append)


def test_subscribers_are_told(told):
    event = object()
    events.notify(event)
    assert told == [event]


def test_errors_reach_the_notifier(told):
    def refuse(event):
        raise events.DoNotPatch

    events.subscribers.insert(0, refuse)
    try:
        with pytest.raises(events.DoNotPatch):
            events.notify(None)
    finally:
        events.subscribers.remove(refuse)
    assert told == []


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a distribution with an entry point: `installed(group)` returns what it is told."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "made_up_plugin.py").write_text("seen = []\nplug = seen.append\n")
    folder = tmp_path / "made_up-1.0.dist-info"

    def install(group):
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[{group}]\nname = made_up_plugin:plug\n")
        return importlib.import_module("made_up_plugin").seen

    yield install
    sys.modules.pop("made_up_plugin", None)


def test_entry_points_come_after_subscribers(told, installed):
    # Asked before there is one: what was found then must not last.
    events.notify_and_call_entry_points(events.GeventDidPatchAllEvent({}, {}))
    told.clear()
    seen = installed("gevent.plugins.monkey.did_patch_all")
    order = []
    events.subscribers.append(lambda event: order.append(len(seen)))
    try:
        event = events.GeventDidPatchAllEvent({}, {})
        events.notify_and_call_entry_points(event)
        events.notify_and_call_entry_points(events.GeventWillPatchAllEvent({}, {}))
    finally:
        events.subscribers.pop()
    assert told[0] is event
    assert seen == [event]
    assert order == [0, 1]


def test_entry_points_of_a_group_of_ones_own(told, installed):
    class Event:
        ENTRY_POINT_NAME = "made_up.group"

    seen = installed("made_up.group")
    event = Event()
    events.notify_and_call_entry_points(event)
    assert seen == [event]


def test_entry_points_in_an_archive(tmp_path, monkeypatch, told):
    archive = tmp_path / "plugin-1.0-py3.egg"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archived_plugin.py", "seen = []\nplug = seen.append\n")
        file.writestr("EGG-INFO/PKG-INFO", "Metadata-Version: 1.0\nName: plugin\nVersion: 1.0\n")
        file.writestr(
            "EGG-INFO/entry_points.txt",
            "[gevent.plugins.monkey.did_patch_all]\nname = archived_plugin:plug\n",
        )
    monkeypatch.syspath_prepend(str(archive))
    event = events.GeventDidPatchAllEvent({}, {})
    events.notify_and_call_entry_points(event)
    assert sys.modules.pop("archived_plugin").seen == [event]


def test_blocked():
    event = events.EventLoopBlocked("greenlet", 1.5, ["line"], hub="hub")
    assert vars(event) == {
        "greenlet": "greenlet",
        "blocking_time": 1.5,
        "info": ["line"],
        "hub": "hub",
    }
    assert events.EventLoopBlocked("greenlet", 1.5, []).hub is None


def test_memory():
    event = events.MemoryUsageThresholdExceeded(1, 2, 3)
    assert repr(event) == "<MemoryUsageThresholdExceeded used=1 max=2 details=3>"
    event = events.MemoryUsageUnderThreshold(1, 2, 3, 4)
    assert (event.mem_usage, event.max_allowed, event.memory_info) == (1, 2, 3)
    assert event.max_memory_usage == 4


@pytest.mark.parametrize(
    ("name", "arguments", "group"),
    [
        ("PeriodicMonitorThreadStartedEvent", [1], "hub.periodic_monitor_thread_started"),
        ("GeventWillPatchModuleEvent", ["m", 1, 2, []], "monkey.will_patch_module"),
        ("GeventDidPatchModuleEvent", ["m", 1, 2], "monkey.did_patch_module"),
        ("GeventWillPatchAllEvent", [{}, {}], "monkey.will_patch_all"),
        ("GeventDidPatchBuiltinModulesEvent", [{}, {}], "monkey.did_patch_builtins"),
        ("GeventDidPatchAllEvent", [{}, {}], "monkey.did_patch_all"),
    ],
)
def test_entry_point_groups(name, arguments, group):
    name = getattr(events, name)(*arguments).ENTRY_POINT_NAME
    assert name.removeprefix("gevent.plugins.") == group


def test_patch_events():
    event = events.GeventWillPatchModuleEvent("m", "source", "target", ["item"])
    assert (event.module_name, event.source, event.target) == ("m", "source", "target")
    assert event.target_item_names == ["item"]
    assert repr(event).startswith("<GeventWillPatchModuleEvent source='source' target='target' at")


def test_patch_all_arguments_cannot_be_changed():
    event = events.GeventWillPatchAllEvent({"socket": True, "os": False}, {"extra": 1})
    event.patch_all_arguments["os"] = True
    assert event.patch_all_arguments == {"socket": True, "os": False}
    assert event.patch_all_kwargs == {"extra": 1}
    assert event.will_patch_module("socket") is True
    assert event.will_patch_module("os") is False
    assert event.will_patch_module("unknown") is None


def test_do_not_patch_is_no_ordinary_error():
    assert issubclass(events.DoNotPatch, BaseException)
    assert not issubclass(events.DoNotPatch, Exception)


def test_interfaces():
    verify = pytest.importorskip("zope.interface.verify")
    for name in events.__all__:
        event_class = getattr(events, name)
        interface = getattr(events, f"I{name}", None)
        if inspect.isclass(event_class) and interface is not None:
            assert interface.implementedBy(event_class)
            assert verify.verifyClass(interface, event_class, tentative=True)


def test_without_zope():
    code = """
import sys
sys.modules["zope.event"] = sys.modules["zope.interface"] = None
from gevent import events
events.subscribers.append(print)
events.notify("told")
assert not isinstance(events.IEventLoopBlocked, str)
print(events.GeventDidPatchModuleEvent("m", 1, 2).module_name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "told\nm\n"


@pytest.mark.parametrize("name", ["_subscribe_signal_os", "of_another_release"])
def test_a_distribution_of_gevent_beside_does_no_harm(run_python, tmp_path, name):
    folder = tmp_path / "gevent-26.9.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: gevent\nVersion: 26.9.0\n")
    group = "gevent.plugins.monkey.will_patch_all"
    point = f"[{group}]\nsignal_os_incompat = gevent.monkey:{name}\n"
    (folder / "entry_points.txt").write_text(point)
    result = run_python(
        f"""
        import importlib.metadata as metadata
        assert metadata.entry_points(group={group!r})
        from gevent import monkey
        monkey.patch_all()
        import gevent, time
        if {name!r} == "_subscribe_signal_os":
            from gevent import events
            arguments = dict(signal=True, os=False)
            monkey._subscribe_signal_os(events.GeventWillPatchAllEvent(arguments, {{}}))
        gevent.spawn(time.sleep, 0).join()
        print("patched")
        """,
        PYTHONPATH=str(tmp_path),
    )
    assert (result.stdout, result.stderr) == ("patched\n", "")
