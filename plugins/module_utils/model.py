# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest is to the planner: its layout of entities, and the state of each vCPU, live and in config; its host.

Records are named tuples wherever they can be: each task makes these classes anew, and data classes take five times as
long.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple, Union

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import format_cpulist
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    COUNT_UNREACHABLE,
    HOTPLUG_UNSUPPORTED,
    NOT_HOTPLUGGABLE,
    HotplugError,
    printable,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.placement import Placement, Tuning, differences

LIVE = "live"
CONFIG = "config"
GUEST = "guest"

# How much of a guest is returned.
FULL = "full"
CHANGED = "changed"
NONE = "none"

ENABLED = "enabled"
DISABLED = "disabled"

EMPTY: Mapping[Any, Any] = MappingProxyType({})

# From the outermost to the innermost: the order in which a vCPU's position gives it its id.
LEVELS = ("drawer", "book", "socket", "die", "cluster", "module", "core", "thread")


@dataclass(frozen=True)
class Entity:
    """What the machine plugs or unplugs at once.

    ``vcpus`` are ascending and adjacent ids. ``position`` maps those of ``LEVELS`` the machine has to
    their numbers; the thread is missing where an entity is a whole core.
    """

    index: int
    vcpus: tuple[int, ...]
    node: int | None = None
    position: Mapping[str, int] = field(default_factory=dict)

    @property
    def core(self) -> tuple[object, ...]:
        """Equal for entities that are threads of one core."""
        if "core" not in self.position:
            return ("alone", self.index)
        return tuple(self.position.get(level) for level in LEVELS[:-1])

    def thread_of(self, vcpu: int) -> int | None:
        """The thread number of one of this entity's vCPUs, or None where the machine has no threads."""
        if len(self.vcpus) > 1:
            return vcpu - self.vcpus[0]
        return self.position.get("thread")


class Layout(NamedTuple):
    """Every vCPU the machine can have, by entity; entities are ordered by their ids, which run from 0 without a gap.

    A machine without ``hotplug`` has the first so many of them as long as it runs, and any number at the next boot.
    """

    entities: tuple[Entity, ...]
    hotplug: bool = True

    @property
    def max_vcpus(self) -> int:
        return self.entities[-1].vcpus[-1] + 1 if self.entities else 0

    @property
    def entity_size(self) -> int:
        return max((len(entity.vcpus) for entity in self.entities), default=1)

    @property
    def nodes(self) -> dict[int, tuple[Entity, ...]]:
        """The entities of each node that has any, by node id, ascending."""
        found: dict[int, list[Entity]] = {}
        for entity in self.entities:
            if entity.node is not None:
                found.setdefault(entity.node, []).append(entity)
        return {node: tuple(found[node]) for node in sorted(found)}

    @property
    def by_vcpu(self) -> dict[int, Entity]:
        return {vcpu: entity for entity in self.entities for vcpu in entity.vcpus}

    @property
    def by_thread(self) -> Layout:
        """The same vCPUs, each an entity of its own, as a guest's own system sees them."""
        return Layout(
            tuple(
                replace(
                    entity,
                    index=vcpu,
                    vcpus=(vcpu,),
                    position={**entity.position, "thread": thread} if len(entity.vcpus) > 1 else entity.position,
                )
                for entity in self.entities
                for thread, vcpu in enumerate(entity.vcpus)
            ),
            self.hotplug,
        )


class Blocker(NamedTuple):
    """Why an entity cannot be enabled or disabled now.

    ``passing`` blockers may go away within a step's timeout (a guest that is still booting), so the
    planner plans through them and only the applied step finds out.
    """

    code: str
    reason: str
    remedy: str
    passing: bool = False

    @property
    def structural(self) -> bool:
        """Whether it holds as long as the guest runs; other blockers are about the moment."""
        return self.code in (NOT_HOTPLUGGABLE, HOTPLUG_UNSUPPORTED)


class LiveState(NamedTuple):
    """The running QEMU. Blockers are keyed by entity index, everything else by vCPU id.

    ``unsafe_plugs`` are the entities whose plug may end the guest; those that are enabled would be, once unplugged.
    ``recorded`` is what libvirt's record has enabled, None for a guest it does not run and where the record cannot be
    compared with QEMU; ``order`` and ``tuning`` are the record's, None without one. ``placements`` are those of the
    vCPUs' threads, by the host's kernel; a vCPU whose thread was not found is missing. ``host_nodes`` are the host
    nodes that each may run on. ``hidden`` is why the threads cannot be observed, ``host_cpus`` are the
    online CPUs of the host, None if unknown. ``migrated``: this QEMU has loaded the state of the guest, from
    another QEMU or from a file; the guest may have been rebooted since.
    """

    enabled: frozenset[int]
    running: bool = True
    acknowledges: bool = False
    ejecting: frozenset[int] = frozenset()
    cannot_enable: Mapping[int, Blocker] = EMPTY
    cannot_disable: Mapping[int, Blocker] = EMPTY
    unsafe_plugs: Mapping[int, Blocker] = EMPTY
    aliases: Mapping[int, str] = EMPTY
    thread_ids: Mapping[int, int] = EMPTY
    recorded: frozenset[int] | None = None
    order: Mapping[int, int] = EMPTY
    tuning: Tuning | None = None
    placements: Mapping[int, Placement] = EMPTY
    host_nodes: Mapping[int, frozenset[int]] = EMPTY
    hidden: Blocker | None = None
    host_cpus: frozenset[int] | None = None
    migrated: bool = False

    @property
    def without_unsafe_plugs(self) -> LiveState:
        """The same state, where what may end the guest cannot be enabled."""
        return self._replace(cannot_enable={**self.unsafe_plugs, **self.cannot_enable}) if self.unsafe_plugs else self


class Maximum(NamedTuple):
    """The number of vCPUs that the next boot can have at most, and the node of those that it gains.

    Without a ``node`` they are distributed evenly over all nodes with vCPUs.
    """

    vcpus: int
    node: int | None = None

    def check(self, enabled: Collection[int]) -> None:
        """Refuse a maximum below a vCPU that is ``enabled`` in config; raises ``HotplugError`` (count_unreachable)."""
        above = [vcpu for vcpu in enabled if vcpu >= self.vcpus]
        if above:
            raise HotplugError(
                COUNT_UNREACHABLE,
                f"maximum is {self.vcpus}, but vCPU {format_cpulist(above)} is enabled in config: disable it in the "
                f"same task, or set a maximum of {max(above) + 1} or more",
            )


class ConfigState(NamedTuple):
    """What the next boot will have. Blockers are keyed by entity index, everything else by vCPU id.

    ``boot_vcpus_fixed`` is why no enabled vCPU can be made hotpluggable, None where all but vCPU 0 can. ``layout`` is
    that of the next boot where its maximum differs from that of the running guest, else None.
    """

    enabled: frozenset[int]
    cannot_enable: Mapping[int, Blocker] = EMPTY
    cannot_disable: Mapping[int, Blocker] = EMPTY
    hotpluggable: frozenset[int] = frozenset()
    order: Mapping[int, int] = EMPTY
    tuning: Tuning = Tuning()
    boot_vcpus_fixed: Blocker | None = None
    layout: Layout | None = None


class OnlineState(NamedTuple):
    """What the guest's own system uses, by its agent; all by vCPU id.

    ``enabled`` are the vCPUs it runs on. ``known`` are those of which it is known whether it does.
    """

    enabled: frozenset[int]
    known: frozenset[int] = frozenset()
    cannot_enable: Mapping[int, Blocker] = EMPTY
    cannot_disable: Mapping[int, Blocker] = EMPTY


Scope = Union[LiveState, ConfigState, OnlineState]


class _Facts(NamedTuple):
    name: str | None
    uuid: str | None
    state: str
    arch: str | None
    machine: str | None


class GuestFacts(_Facts):
    """Who the guest is, safe to print; ``state`` is running, paused, shutoff or QEMU's own word for anything else.

    Those who define or configure a guest choose these texts, and they reach messages, diffs, tables and terminals.
    """

    __slots__ = ()

    def __new__(
        cls,
        name: str | None = None,
        uuid: str | None = None,
        state: str = "shutoff",
        arch: str | None = None,
        machine: str | None = None,
    ) -> GuestFacts:
        texts = (None if text is None else printable(text) for text in (name, uuid, state, arch, machine))
        return cls._make(texts)


class GuestState(NamedTuple):
    """All that was observed of a guest at one moment; a scope it does not have is None."""

    facts: GuestFacts
    layout: Layout
    live: LiveState | None = None
    config: ConfigState | None = None
    online: OnlineState | None = None

    def scope(self, name: str) -> Scope | None:
        """The state of ``LIVE``, ``CONFIG`` or ``GUEST``."""
        scopes: dict[str, Scope | None] = {LIVE: self.live, CONFIG: self.config, GUEST: self.online}
        return scopes[name]

    @property
    def tuning(self) -> Tuning | None:
        """The placement that the vCPUs are to have: that of libvirt's record of a running guest, else of the config."""
        if self.live is not None and self.live.tuning is not None:
            return self.live.tuning
        return None if self.config is None else self.config.tuning

    @property
    def misplaced(self) -> Mapping[int, tuple[str, ...]] | None:
        """How the threads of enabled vCPUs differ from their tuning, by id; None if that is unknown."""
        if self.live is None or self.tuning is None:
            return None
        requested = {vcpu: wanted for vcpu, wanted in self.tuning.placements.items() if vcpu in self.live.enabled}
        placements = self.live.placements
        if requested and not placements:
            return None
        found = {
            vcpu: differences(requested[vcpu], placements[vcpu], self.live.host_cpus)
            for vcpu in requested
            if vcpu in placements
        }
        return {vcpu: texts for vcpu, texts in found.items() if texts}

    def layout_of(self, scope: str) -> Layout:
        """The layout of ``LIVE``, ``CONFIG`` or ``GUEST``: the next boot may have another maximum."""
        if scope == CONFIG and self.config is not None and self.config.layout is not None:
            return self.config.layout
        return self.layout

    @property
    def widest_layout(self) -> Layout:
        """The layout with the most vCPUs: that of the running guest, or of its next boot."""
        return max(self.layout, self.layout_of(CONFIG), key=lambda layout: layout.max_vcpus)

    def with_next_boot(self, layout: Layout) -> GuestState:
        """The same guest, with ``layout`` as that of its next boot."""
        if self.config is None:
            raise ValueError("a guest without a config state has no next boot")
        if self.live is None:
            return self._replace(layout=layout)
        differs = layout.max_vcpus != self.layout.max_vcpus
        return self._replace(config=self.config._replace(layout=layout if differs else None))


class Host(NamedTuple):
    """A hypervisor: its CPUs, and how many vCPUs each of its guests has enabled, by UUID, as far as that is known."""

    name: str
    cpus: int
    guests: Mapping[str, int] = EMPTY


class StepKind(NamedTuple):
    """What a step does to its entity in the scope ``target``.

    ``adds`` says whether the entity is enabled (or online) afterwards, None if the step changes neither: one that
    places concerns a vCPU that is enabled, and changes only where its thread runs. The kinds that change the maximum
    concern the vCPUs that the next boot gains or loses, which are disabled.
    """

    name: str
    target: str
    adds: bool | None = None


PLUG = StepKind("plug", LIVE, adds=True)
UNPLUG = StepKind("unplug", LIVE, adds=False)
PLACE = StepKind("place", LIVE)
ENABLE = StepKind("enable", CONFIG, adds=True)
DISABLE = StepKind("disable", CONFIG, adds=False)
ADD = StepKind("add", CONFIG, adds=False)
REMOVE = StepKind("remove", CONFIG, adds=False)
ONLINE = StepKind("online", GUEST, adds=True)
OFFLINE = StepKind("offline", GUEST, adds=False)

STEP_KINDS: Mapping[str, StepKind] = {
    kind.name: kind for kind in (PLUG, UNPLUG, PLACE, ENABLE, DISABLE, ADD, REMOVE, ONLINE, OFFLINE)
}


class Step(NamedTuple):
    """One thing to do to one entity, or to one ``vcpu`` of it.

    ``makes_hotpluggable``: it is enabled in config already, and only becomes hotpluggable there.
    """

    kind: StepKind
    entity: Entity
    makes_hotpluggable: bool = False
    vcpu: int | None = None

    @property
    def vcpus(self) -> tuple[int, ...]:
        return self.entity.vcpus if self.vcpu is None else (self.vcpu,)

    @property
    def target(self) -> str:
        return self.kind.target
