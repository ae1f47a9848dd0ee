# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plain synchronous QMP client, and the queries of the tests to QEMU and the guest."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import typing as t

from . import LabError

if t.TYPE_CHECKING:
    from .contact import Contact

Message = dict[str, t.Any]
Trace = t.Callable[[str, Message], None]

TOPOLOGY = ("drawer", "book", "socket", "die", "cluster", "module", "core", "thread")


class MonitorError(LabError):
    """QEMU answered a command with an error."""

    def __init__(self, error: Message) -> None:
        super().__init__(error.get("desc", str(error)))
        self.error = error


class Monitor:
    """One QMP connection; every event that passes by is kept in `events`."""

    def __init__(self, path: str | os.PathLike[str], timeout: float = 10, trace: Trace | None = None):
        self.events: list[Message] = []
        self._trace = trace
        self._buffer = b""
        self._id = 0
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(os.fspath(path))
            self.greeting = self._receive(time.monotonic() + timeout)
            self.execute("qmp_capabilities", timeout=timeout)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def execute(self, command: str, *, timeout: float = 30, **arguments: t.Any) -> t.Any:
        """Run a command and return what it returns; underscores in names of arguments stand for dashes."""
        deadline = time.monotonic() + timeout
        tag = self.send(command, **arguments)
        while True:
            message = self._receive(deadline)
            if message.get("id") != tag:
                continue
            if "error" in message:
                raise MonitorError(message["error"])
            return message["return"]

    def send(self, command: str, **arguments: t.Any) -> str:
        """Send a command without waiting for its answer; return the id the answer will carry."""
        self._id += 1
        message: Message = {"execute": command, "id": f"observer-{self._id}"}
        if arguments:
            message["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        if self._trace:
            self._trace(">", message)
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        return str(message["id"])

    def wait_event(self, name: str, timeout: float, since: int = 0, **data: t.Any) -> Message:
        """Return the first event `name` at index `since` or later whose data (or `info`) has these members."""
        deadline = time.monotonic() + timeout
        seen = since
        while True:
            for event in self.events[seen:]:
                body = event.get("data", {})
                body = body.get("info", body)
                if event["event"] == name and all(body.get(key.replace("_", "-")) == data[key] for key in data):
                    return event
            seen = len(self.events)
            self._receive(deadline)

    def listen(self, seconds: float) -> list[Message]:
        """Collect events for a while and return those that came."""
        first = len(self.events)
        deadline = time.monotonic() + seconds
        with contextlib.suppress(TimeoutError):
            while True:
                self._receive(deadline)
        return self.events[first:]

    def _receive(self, deadline: float) -> Message:
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("QEMU's monitor said nothing in time")
            self._socket.settimeout(left)
            try:
                chunk = self._socket.recv(65536)
            except socket.timeout:
                raise TimeoutError("QEMU's monitor said nothing in time") from None
            if not chunk:
                raise ConnectionError("QEMU closed the monitor")
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        message: Message = json.loads(line)
        if self._trace:
            self._trace("<", message)
        if "event" in message:
            self.events.append(message)
        return message


def slots(monitor: Monitor) -> list[Message]:
    """Return the machine's possible CPUs by topology, each with `ids`, the vCPU ids it stands for."""

    def place(slot: Message) -> tuple[int, ...]:
        return tuple(slot["props"].get(f"{level}-id", -1) for level in TOPOLOGY)

    result: list[Message] = []
    first = 0
    for slot in sorted(monitor.execute("query-hotpluggable-cpus"), key=place):
        result.append({**slot, "ids": list(range(first, first + slot["vcpus-count"]))})
        first += slot["vcpus-count"]
    return result


def thread_of(monitor: Monitor, vcpu: int) -> int:
    """The host thread of a vCPU, as QEMU reports it."""
    path = slot_of(monitor, vcpu)["qom-path"]
    return int(next(cpu["thread-id"] for cpu in monitor.execute("query-cpus-fast") if cpu["qom-path"] == path))


def slot_of(monitor: Monitor, vcpu: int) -> Message:
    """Return the slot a vCPU id belongs to."""
    for slot in slots(monitor):
        if vcpu in slot["ids"]:
            return slot
    raise LabError(f"this machine has no vCPU {vcpu}")


def enabled_ids(monitor: Monitor) -> list[int]:
    """Return the ids of the vCPUs QEMU has now."""
    return [vcpu for slot in slots(monitor) if "qom-path" in slot for vcpu in slot["ids"]]


def possible_ids(monitor: Monitor) -> list[int]:
    """Return the ids of all vCPUs the machine can have."""
    return [vcpu for slot in slots(monitor) for vcpu in slot["ids"]]


def ids_by_node(monitor: Monitor) -> dict[int, list[int]]:
    """Return the possible vCPU ids of each guest NUMA node."""
    nodes: dict[int, list[int]] = {}
    for slot in slots(monitor):
        if "node-id" in slot["props"]:
            nodes.setdefault(slot["props"]["node-id"], []).extend(slot["ids"])
    return nodes


def plug(monitor: Monitor, vcpu: int, name: str | None = None) -> None:
    """Plug the entity of a vCPU, as bare `device_add`."""
    slot = slot_of(monitor, vcpu)
    monitor.execute("device_add", driver=slot["type"], id=name or f"vcpu{vcpu}", **slot["props"])


def removing(monitor: Monitor) -> list[str]:
    """Return the QOM paths of the vCPUs that are in no slot any more, and that QEMU has not yet removed."""
    listed = slots(monitor)
    present = {slot.get("qom-path") for slot in listed}
    kinds = {f"child<{slot['type']}>" for slot in listed}
    return [
        f"{folder}/{device['name']}"
        for folder in ("/machine/peripheral", "/machine/unattached")
        for device in monitor.execute("qom-list", path=folder)
        if device["type"] in kinds and f"{folder}/{device['name']}" not in present
    ]


def wait_enabled(monitor: Monitor, vcpus: t.Iterable[int], timeout: float = 30) -> None:
    """Wait until exactly these vCPUs are enabled, and QEMU has removed the others."""
    wanted = sorted(vcpus)
    deadline = time.monotonic() + timeout
    while enabled_ids(monitor) != wanted or removing(monitor):
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"vCPUs {enabled_ids(monitor)} are enabled, not {wanted}, or {removing(monitor)} is being removed, "
                f"after {timeout} s"
            )
        time.sleep(0.05)


def cpulist(text: str) -> list[int]:
    """Expand the kernel's `0-2,5` to numbers."""
    numbers: list[int] = []
    for part in text.strip().split(","):
        if part:
            low, dash, high = part.partition("-")
            numbers.extend(range(int(low), int(high if dash else low) + 1))
    return numbers


class GuestCpu(t.NamedTuple):
    """The position of an online CPU, as the guest reports it."""

    package: int
    die: int
    core: int
    thread: int
    node: int | None


def guest_cpus(guest: Contact, state: str = "online") -> list[int]:
    """Return the guest's own numbers of its `online` or `present` CPUs."""
    return cpulist(guest.shell(f"cat /sys/devices/system/cpu/{state}"))


def guest_nodes(guest: Contact) -> dict[int, list[int]]:
    """Return the guest's own numbers of its online CPUs, by NUMA node."""
    text = guest.shell("cd /sys/devices/system/node; for n in node*; do echo ${n#node} $(cat $n/cpulist); done")
    nodes = (line.partition(" ") for line in text.splitlines())
    return {int(node): cpulist(cpus) for node, space, cpus in nodes}


def guest_topology(guest: Contact) -> dict[int, GuestCpu]:
    """Return the position of each online CPU of the guest; threads are numbered within their core."""
    text = guest.shell(
        "cd /sys/devices/system/cpu; for c in cpu[0-9]*; do [ -d $c/topology ] || continue; "
        "for f in physical_package_id die_id core_id; do "
        "printf '%s ' $(cat $c/topology/$f 2>/dev/null || echo 0); done; "
        "echo ${c#cpu} $(cd $c; echo node* | sed 's/node//'); done"
    )
    cpus: dict[int, GuestCpu] = {}
    cores: dict[tuple[int, int, int], int] = {}
    rows = sorted((line.split() for line in text.splitlines()), key=lambda row: int(row[3]))
    for package, die, core, cpu, node in rows:
        place = int(package), int(die), int(core)
        cpus[int(cpu)] = GuestCpu(*place, cores.get(place, 0), int(node) if node.isdigit() else None)
        cores[place] = cores.get(place, 0) + 1
    return cpus
