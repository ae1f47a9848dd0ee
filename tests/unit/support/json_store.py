# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A config store that the collection does not have, a JSON file: what a third adapter of the config port takes."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFIG_INVALID,
    COUNT_UNREACHABLE,
    NOT_HOTPLUGGABLE,
    HotplugError,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.model import (
    Blocker,
    ConfigState,
    Entity,
    GuestFacts,
    Layout,
    Maximum,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import ConfigView, WriteResult

BOOT_VCPU = Blocker(NOT_HOTPLUGGABLE, "a guest boots on vCPU 0", "leave it enabled")


class Stored(NamedTuple):
    """The content of the file: ``{"name": "db", "maximum": 8, "enabled": [0, 1]}``."""

    name: str
    maximum: int
    enabled: frozenset[int]


class JsonFile:
    """A guest with one core per vCPU, defined by a JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._observed: Stored | None = None

    async def observe(self, running: GuestFacts | None = None) -> ConfigView:
        found = self._observed = self._read()
        return ConfigView(
            facts=GuestFacts(found.name, arch="x86_64", machine="q35"),
            state=ConfigState(
                found.enabled, cannot_disable={0: BOOT_VCPU}, hotpluggable=frozenset(range(1, found.maximum))
            ),
            max_vcpus=found.maximum,
            source=str(self._path),
            layout=_layout(found.maximum),
            boot_arguments=self._boot_arguments,
        )

    async def resized(self, maximum: Maximum) -> Layout:
        if maximum.vcpus % 2:
            raise HotplugError(COUNT_UNREACHABLE, f"{self._path}: the maximum is a multiple of 2")
        return _layout(maximum.vcpus)

    def check(
        self,
        enabled: frozenset[int],
        layout: Layout | None = None,
        hotpluggable: frozenset[int] = frozenset(),
        maximum: Maximum | None = None,
    ) -> None:
        if 0 not in enabled:
            raise HotplugError(CONFIG_INVALID, f"{self._path}: vCPU 0 would be disabled, and every guest boots on it")

    async def write(
        self,
        enabled: frozenset[int],
        layout: Layout | None = None,
        hotpluggable: frozenset[int] = frozenset(),
        maximum: Maximum | None = None,
    ) -> WriteResult:
        found = self._read()
        most = found.maximum if maximum is None else maximum.vcpus
        before = (self._observed or found).enabled
        wanted = (found.enabled | (enabled - before)) - (before - enabled)
        self.check(wanted, layout)
        if max(wanted) >= most:
            raise HotplugError(COUNT_UNREACHABLE, f"{self._path}: vCPU {max(wanted)} is enabled")
        self._observed = found._replace(enabled=wanted, maximum=most)
        changed = self._observed != found
        if changed:
            self._path.write_text(json.dumps({**self._observed._asdict(), "enabled": sorted(wanted)}), encoding="utf-8")
        return WriteResult(changed, wanted, hotpluggable=frozenset(range(1, most)), max_vcpus=most)

    async def close(self) -> None:
        return None

    def _read(self) -> Stored:
        return Stored(**json.loads(self._path.read_bytes(), object_hook=_with_frozen_ids))

    def _boot_arguments(self, enabled: Collection[int]) -> tuple[str, ...]:
        devices = [("-device", f"cpu,id=vcpu{vcpu}") for vcpu in sorted(enabled) if vcpu]
        maximum = self._read().maximum
        return ("-smp", f"cpus=1,maxcpus={maximum}", *(word for device in devices for word in device))


def _layout(maximum: int) -> Layout:
    return Layout(tuple(Entity(vcpu, (vcpu,), None, {"core": vcpu, "thread": 0}) for vcpu in range(maximum)))


def _with_frozen_ids(found: dict[str, object]) -> dict[str, object]:
    ids = found["enabled"]
    assert isinstance(ids, list)
    return {**found, "enabled": frozenset(ids)}
