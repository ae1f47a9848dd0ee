# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many hosts and guests a task has done so far, counted from the results of hosts and of items of loops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple


class Guests(NamedTuple):
    """How many guests a result is about, and how many of them failed or were skipped after a failure."""

    total: int
    failed: int


@dataclass
class Progress:
    """One task of a play: the name of the task, how many hosts the play has, and when the task began, in seconds."""

    task: str
    hosts: int
    began: float
    _done: dict[str, Guests] = field(default_factory=dict)
    _items: dict[str, list[Guests]] = field(default_factory=dict)
    _unreachable: set[str] = field(default_factory=set)

    @property
    def is_complete(self) -> bool:
        """Whether all hosts are done."""
        return len(self._done) >= self.hosts

    def item_done(self, host: str, result: Mapping[str, Any]) -> None:
        """Count an item of a loop that a host has finished."""
        self._items.setdefault(host, []).append(guests_of(result))

    def host_done(self, host: str, result: Mapping[str, Any]) -> None:
        """Count a host that has finished the task, or that is not to run it."""
        items = self._items.pop(host, [])
        self._done[host] = _sum(items) if items else guests_of(result)
        if result.get("unreachable"):
            self._unreachable.add(host)

    def line(self, now: float) -> str:
        """Return the line to print."""
        guests = _sum([*self._done.values(), *(guests for items in self._items.values() for guests in items)])
        parts = [f"{len(self._done)} of {_counted(self.hosts, 'host')}"]
        if self._unreachable:
            parts.append(f"{len(self._unreachable)} unreachable")
        parts.append(_counted(guests.total, "guest"))
        if guests.failed:
            parts.append(f"{guests.failed} failed")
        parts.append(str(timedelta(seconds=int(now - self.began))))
        return f"progress of '{self.task}', {', '.join(parts)}"


def is_started_only(result: Mapping[str, Any]) -> bool:
    """Return whether a result is of a task with ``poll=0``, which has only started the module."""
    return bool(result.get("ansible_job_id")) and not result.get("finished")


def guests_of(result: Mapping[str, Any]) -> Guests:
    """Return the guests of a result of one of the collection's modules; a host that was skipped has none."""
    if result.get("skipped") or result.get("unreachable"):
        return Guests(0, 0)
    summary = result.get("summary")  # of a batch, and of a step of a rollout
    if isinstance(summary, Mapping):
        return Guests(summary["guests"], summary["failed"] + summary["skipped"])
    if isinstance(result.get("guests"), list):
        failed = len(result.get("failed_guests", ()))
        return Guests(len(result["guests"]) + failed, failed)
    if "guests" in result.get("invocation", {}).get("module_args", {}):
        return Guests(0, 0)  # a batch that was refused as a whole
    # ``error_code`` is also there if the task has ``failed_when``.
    return Guests(1, int(bool(result.get("failed") or result.get("error_code"))))


def _sum(guests: list[Guests]) -> Guests:
    return Guests(sum(one.total for one in guests), sum(one.failed for one in guests))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
