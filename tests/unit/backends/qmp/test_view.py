# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The replies of QEMU parsed for the planner, and invalid replies of hostile peers."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.run_states import run_state, run_state_of_domain
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import CommandError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.slots import read_slots, thread_ids
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.view import QUESTIONS, QmpView
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError, printable
from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestState
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import MachineView
from ansible_collections.kvm.hotplug.plugins.module_utils.report.info import info_report
from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import Observation

from ...support.replay import usually
from ...support.scripted_qemu import PSERIES, Q35, Hardware
from ...support.strategies import json_values


def slot(vcpus: int = 1, path: str | None = None, **props: int) -> dict[str, Any]:
    named = {f"{level}-id" if level != "node" else "node-id": number for level, number in props.items()}
    return {"type": "cpu", "vcpus-count": vcpus, "props": named, **({"qom-path": path} if path else {})}


def listing(hardware: Hardware = Q35, *plugged: int) -> list[dict[str, Any]]:
    """The slots as QEMU lists them, the highest first."""
    return [
        {**entry, **({"qom-path": f"/machine/unattached/device[{number}]"} if number in plugged else {})}
        for number, entry in reversed(list(enumerate(hardware.slots)))
    ]


READY = [{"slot": "0", "slot-type": "CPU", "source": 0, "status": 0}]


def view(hardware: Hardware = Q35, **replies: Any) -> MachineView:
    """What is seen of a QEMU that has vCPU 0 plugged and answers as recorded, but for ``replies``."""
    answers: dict[str, Any] = {}
    for question, (command, arguments) in QUESTIONS.items():
        usual = hardware.answers.get(command) or usually(
            "q35", {"execute": command, **({"arguments": arguments} if arguments else {})}
        )
        error = usual.get("error")
        answers[question] = CommandError(error["class"], error["desc"]) if error else usual["return"]
    answers["slots"] = listing(hardware, 0)
    return QmpView({**answers, "status": {"status": "running"}, **replies}).machine_view()


def read_or_refused(read: Callable[[], Any]) -> Any:
    """What ``read`` returns, or the code of its error."""
    try:
        return read()
    except HotplugError as error:
        return error.code


def test_slots_are_numbered_by_their_position_in_the_topology_in_any_order() -> None:
    places = [(1, 1), (0, 0), (1, 0), (0, 1)]
    slots = read_slots([slot(socket=socket, core=core, thread=0) for socket, core in places])
    found = [(entry.entity.vcpus[0], entry.props["socket-id"], entry.props["core-id"]) for entry in slots]
    assert found == [(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1)]


def test_levels_that_a_machine_does_not_have_are_missing_from_the_position() -> None:
    assert read_slots([slot(socket=1, core=2, thread=3)])[0].entity.position == {"socket": 1, "core": 2, "thread": 3}


@pytest.mark.parametrize(
    "levels", [("drawer", "book"), ("book", "socket"), ("die", "cluster"), ("cluster", "module"), ("module", "core")]
)
def test_outer_levels_decide_before_inner_ones(levels: tuple[str, str]) -> None:
    outer, inner = levels
    slots = read_slots([slot(**{outer: 1, inner: 0}), slot(**{outer: 0, inner: 1})])
    assert [entry.props[f"{outer}-id"] for entry in slots] == [0, 1]


def test_an_entity_takes_as_many_ids_as_it_has_vcpus() -> None:
    slots = read_slots([slot(8, core=8), slot(8, core=0)])
    assert [entry.entity.vcpus for entry in slots] == [tuple(range(8)), tuple(range(8, 16))]


@pytest.mark.parametrize(
    ("path", "alias"),
    [
        ("/machine/peripheral/vcpu5", "vcpu5"),
        ("/machine/peripheral-anon/device[0]", None),
        ("/machine/unattached/device[2]", None),
        (None, None),
    ],
)
def test_only_a_vcpu_that_was_plugged_with_an_id_has_an_alias(path: str | None, alias: str | None) -> None:
    assert read_slots([slot(path=path, core=0)])[0].alias == alias


def test_the_memory_that_slots_can_take_is_bounded() -> None:
    with pytest.raises(HotplugError):
        read_slots([slot(40000, core=0), slot(40000, core=1)])


def test_each_vcpu_has_its_host_thread_unless_they_share_one() -> None:
    slots = read_slots([slot(path="/a", core=0), slot(path="/b", core=1), slot(path="/c", core=2)])
    cpus = [{"qom-path": path, "thread-id": thread} for path, thread in (("/a", 7), ("/b", 8), ("/c", 8), ("/x", 9))]
    assert thread_ids(slots, cpus) == {0: 7}


def test_the_threads_of_a_core_have_their_host_threads() -> None:
    slots = read_slots([slot(2, path="/core", core=0)])
    cpus = [{"qom-path": f"/core/thread[{number}]", "thread-id": 100 + number} for number in range(2)]
    assert thread_ids(slots, cpus) == {0: 100, 1: 101}


@pytest.mark.parametrize(
    ("status", "state", "code"),
    [
        ("running", "running", None),
        ("paused", "paused", "guest_not_ready"),
        ("prelaunch", "paused", "guest_not_ready"),
        ("io-error", "paused", "guest_not_ready"),
        ("watchdog", "paused", "guest_not_ready"),
        ("internal-error", "paused", "guest_not_ready"),
        ("a word of tomorrow", "paused", "guest_not_ready"),
        ("suspended", "pmsuspended", "guest_not_ready"),
        ("shutdown", "shutoff", "guest_not_ready"),
        ("guest-panicked", "crashed", "guest_not_ready"),
        ("inmigrate", "paused", "migration_in_progress"),
        ("finish-migrate", "paused", "migration_in_progress"),
        ("postmigrate", "paused", "migration_in_progress"),
    ],
)
def test_a_run_state_of_qemu_has_a_word_and_what_it_blocks(status: str, state: str, code: str | None) -> None:
    seen = view(slots=listing(Q35, 0, 1), status={"status": status}, ospm=READY)
    assert (seen.facts.state, seen.live.running) == (state, state == "running")
    blocker = seen.live.cannot_disable.get(1)
    assert (None if blocker is None else blocker.code) == code
    plug = seen.live.cannot_enable.get(2)
    assert (None if plug is None else plug.code) == (
        "migration_in_progress" if code == "migration_in_progress" else None
    )


@pytest.mark.parametrize(
    ("reply", "migrated"),
    [
        ({}, False),
        ({"status": "completed"}, True),
        ({"status": "completed", "ram": {"total": 33890304}, "total-time": 21}, False),
        ({"status": "failed"}, False),
        ([], False),
    ],
)
def test_a_completed_migration_without_statistics_was_one_to_this_qemu(reply: Any, migrated: bool) -> None:
    assert view(slots=listing(Q35, 0, 1), migration=reply, ospm=READY).live.migrated is migrated


@pytest.mark.parametrize(
    ("domain", "status"),
    [
        ((1, 1), "running"),
        ((2, 0), "running"),
        ((3, 1), "paused"),
        ((3, 2), "finish-migrate"),
        ((3, 3), "save-vm"),
        ((3, 5), "io-error"),
        ((3, 6), "watchdog"),
        ((3, 10), "guest-panicked"),
        ((3, 11), "prelaunch"),
        ((3, 99), "paused"),
        ((4, 0), "shutdown"),
        ((6, 0), "guest-panicked"),
        ((7, 0), "suspended"),
        ((99, 0), "paused"),
    ],
)
def test_a_state_of_a_domain_is_that_of_its_qemu(domain: tuple[int, int], status: str) -> None:
    assert run_state_of_domain(*domain) == run_state(status)


def test_a_guest_without_a_name_and_a_uuid_has_none() -> None:
    facts = view(name={}, uuid={"UUID": "00000000-0000-0000-0000-000000000000"}).facts
    assert (facts.name, facts.uuid) == (None, None)


def test_vcpu_0_is_blocked_for_good_and_the_others_are_not() -> None:
    seen = view(slots=listing(Q35, 0, 1), ospm=[{"slot": "0", "slot-type": "CPU", "source": 0, "status": 0}])
    assert {index: blocker.code for index, blocker in seen.live.cannot_disable.items()} == {0: "not_hotpluggable"}


def test_a_guest_in_its_firmware_blocks_an_unplug_only_for_the_moment() -> None:
    blocker = view(slots=listing(Q35, 0, 1), ospm=[]).live.cannot_disable[1]
    assert (blocker.code, blocker.passing) == ("guest_not_ready", True)


def test_an_s390x_machine_plugs_vcpus_and_never_unplugs_them() -> None:
    seen = view(slots=listing(Q35, 0, 1), target={"arch": "s390x"})
    assert {blocker.code for blocker in seen.live.cannot_disable.values()} == {"not_hotpluggable"}
    assert seen.live.cannot_enable == {}


def test_a_pseries_machine_is_ready_without_acpi() -> None:
    seen = view(PSERIES, slots=listing(PSERIES, 0, 1))
    assert (seen.live.acknowledges, sorted(seen.live.cannot_disable)) == (False, [0])
    assert seen.layout.entity_size == 8


@pytest.mark.parametrize(
    ("slots", "arguments"),
    [
        ([0, 1], ("-smp", "cpus=2,maxcpus=8,sockets=4,cores=2,threads=1")),
        (
            [0, 1, 5],
            (
                "-smp",
                "cpus=2,maxcpus=8,sockets=4,cores=2,threads=1",
                "-device",
                "cpu,id=vcpu5,core-id=1,socket-id=2,thread-id=0",
            ),
        ),
    ],
)
def test_a_destination_gets_the_first_ids_by_number_and_the_others_as_devices(
    slots: list[int], arguments: tuple[str, ...]
) -> None:
    there = [
        slot(
            path=f"/machine/unattached/device[{vcpu}]" if vcpu in slots else None,
            socket=vcpu // 2,
            core=vcpu % 2,
            thread=0,
        )
        for vcpu in range(8)
    ]
    assert view(slots=there).destination_args == arguments


def test_the_destination_arguments_of_a_guest_with_nodes_are_unknown() -> None:
    assert view().destination_args == ()


def test_a_destination_of_pseries_needs_no_node_where_the_memory_is_in_none() -> None:
    smp = {"cpus": 8, "maxcpus": 32, "sockets": 1, "cores": 4, "threads": 8}
    seen = {"slots": listing(PSERIES, 0, 2), "smp": smp}
    assert view(PSERIES, memory="/objects/ppc_spapr.ram", **seen).destination_args == (
        *("-smp", "cpus=8,maxcpus=32,sockets=1,cores=4,threads=8"),
        *("-device", "power9_v2.2-spapr-cpu-core,id=vcpu16,core-id=16,node-id=0"),
    )
    for memory in ("", None, 7):
        assert view(PSERIES, memory=memory, **seen).destination_args == ()


# As QEMU 7.2 replied for pseries-2.6 with -smp 2.
OLD_PSERIES: dict[str, Any] = {
    "slots": CommandError("GenericError", "The feature 'query-hotpluggable-cpus' is not enabled"),
    "target": {"arch": "ppc64"},
    "machine": "pseries-2.6-machine",
    "smp": {"cpus": 2, "maxcpus": 2, "sockets": 2, "cores": 1, "threads": 1},
    "cpus": [
        {
            "thread-id": 7114 + core,
            "props": {"core-id": core, "node-id": 0},
            "qom-path": f"/machine/unattached/device[{core}]/thread[0]",
            "cpu-index": core,
            "target": "ppc64",
        }
        for core in range(2)
    ],
}


def test_an_old_pseries_machine_is_judged_by_what_qemu_says_of_it() -> None:
    seen = view(**OLD_PSERIES)
    assert (seen.layout.hotplug, seen.live.enabled, seen.destination_args) == (False, {0, 1}, ())
    blocker = seen.live.cannot_disable[1]
    assert blocker.code == "hotplug_unsupported"
    assert "pseries-2.7 or newer" in blocker.remedy


@pytest.mark.parametrize("number", [float("inf"), float("nan"), "7", None, [], 10**400])
def test_a_host_thread_that_is_no_number_is_refused(number: object) -> None:
    cpus = [{"qom-path": "/machine/unattached/device[0]", "thread-id": number, "cpu-index": 0, "props": {}}]
    found = read_or_refused(lambda: view(cpus=cpus).live.thread_ids[0])
    assert found == "monitor_unreachable" or isinstance(found, int)


NO_HOTPLUG = CommandError("GenericError", "machine does not support hot-plugging CPUs")


@pytest.mark.parametrize(
    "cpus",
    [
        [{"qom-path": 7, "thread-id": 1, "cpu-index": 0}],
        [{"qom-path": None, "thread-id": 1, "cpu-index": 0}],
        [{"qom-path": "/a", "thread-id": 1, "cpu-index": 0, "props": None}],
        [{"qom-path": "/a", "thread-id": 1, "cpu-index": 0, "props": ["node-id"]}],
        [{"qom-path": "/a", "thread-id": 1, "cpu-index": 0, "props": {"core-id": "0"}}],
        [{"qom-path": "/a", "thread-id": 1}],
        [{"thread-id": 1, "cpu-index": 0}],
        [{"cpu-index": "0"}, {"cpu-index": 1}],
        [7],
        {},
    ],
)
def test_malformed_cpus_are_refused_without_hotplug_too(cpus: object) -> None:
    with pytest.raises(HotplugError) as caught:
        view(slots=NO_HOTPLUG, cpus=cpus)
    assert caught.value.code == "monitor_unreachable"


@pytest.mark.parametrize(
    "words",
    [
        "machine does not support hot-plugging CPUs",
        # QEMU 7.2
        "The feature 'query-hotpluggable-cpus' is not enabled",
    ],
)
def test_a_machine_without_cpu_hotplug_is_recognised_by_its_error(words: str) -> None:
    seen = view(slots=CommandError("GenericError", words))
    assert {blocker.code for blocker in seen.live.cannot_enable.values()} == {"hotplug_unsupported"}


@pytest.mark.parametrize(
    ("arch", "remedy"),
    [
        ("x86_64", "such as q35 or pc"),
        ("ppc64", "such as pseries"),
        ("aarch64", "use scope config"),
        (None, "use scope"),
    ],
)
def test_the_remedy_names_a_machine_type_that_the_architecture_has(arch: str | None, remedy: str) -> None:
    seen = view(slots=NO_HOTPLUG, target={"arch": arch})
    (found,) = {blocker.remedy for blocker in seen.live.cannot_enable.values()}
    assert remedy in found
    assert ("q35" in found) is (arch == "x86_64")


@given(st.sampled_from(list(QUESTIONS)), json_values)
def test_any_reply_to_any_query_is_parsed_or_refused(question: str, reply: object) -> None:
    def report() -> dict[str, Any]:
        seen = view(**{question: reply})
        return info_report(Observation(GuestState(seen.facts, seen.layout, live=seen.live), seen.destination_args))

    found = read_or_refused(report)
    assert found == "monitor_unreachable" or "vcpus" in found


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "type": json_values,
            "vcpus-count": json_values | st.integers(1, 4),
            "props": json_values | st.dictionaries(st.sampled_from(["core-id", "node-id", "x"]), json_values),
            "qom-path": json_values,
        },
    )
)
def test_any_slot_is_parsed_or_refused(entry: dict[str, Any]) -> None:
    found = read_or_refused(lambda: read_slots([entry])[0].entity.vcpus[0])
    assert found in ("monitor_unreachable", 0)


@pytest.mark.parametrize("text", ["\x1b[31m", "a\nb", "\x00", "\x9b", "\x7f", "\ud800", "\U0001f600"])
def test_untrusted_text_is_quoted_without_control_characters(text: str) -> None:
    assert printable(f"a{text}b").isprintable()


@pytest.mark.parametrize("text", ["\u202e", "\u2066", "\u2028", "\u200b", "\ufeff"])
def test_untrusted_text_cannot_reverse_the_line_or_hide(text: str) -> None:
    assert printable(f"a{text}b").isprintable()


def test_untrusted_text_is_quoted_up_to_a_limit() -> None:
    assert printable("x" * 1000) == "x" * 197 + "..."
    assert printable("  ä  ") == "ä"
