# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ACPI codes of guests and refusals of QEMU, and invalid ones of hostile peers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.acpi import (
    BUSY,
    EJECTED,
    EJECTING,
    FAILED,
    INSERTED,
    NOT_INSERTED,
    REJECTED,
    read_ospm_status,
    read_ost,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.error_texts import classify

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("source", "status", "kind"),
    [
        (1, 0, INSERTED),
        (1, 1, NOT_INSERTED),
        (3, 132, EJECTING),
        (3, 0, EJECTED),
        (0x103, 0, EJECTED),
        (3, 129, BUSY),
        (3, 130, BUSY),
        (3, 131, BUSY),
        (3, 128, REJECTED),
        (3, 1, FAILED),
        (0x103, 132, EJECTING),
    ],
)
def test_an_acknowledgement_has_a_meaning(source: int, status: int, kind: str) -> None:
    word = read_ost(source, status)
    assert word is not None
    assert word.kind == kind


@pytest.mark.parametrize(("source", "status"), [(0, 0), (2, 0), (None, None), ("3", "0"), ([], {})])
def test_reports_on_other_devices_are_ignored(source: object, status: object) -> None:
    assert read_ost(source, status) is None


@pytest.mark.parametrize(
    ("source", "status", "meaning", "remedy"),
    [
        (3, 130, "the CPU is busy (_OST 3/130)", "free it there"),
        (3, 128, "it does not support ejecting this CPU (_OST 3/128)", "have the guest OS offline the CPU"),
        (3, 2, "it does not know this notification (_OST 3/2)", "have the guest OS offline the CPU"),
        (3, 1, "an unspecific failure (_OST 3/1)", "see the guest's kernel log for the reason"),
        (3, 77, "_OST 3/77", "see the guest's kernel log"),
        (1, 130, "that it does not support inserting this CPU (_OST 1/130)", "unplug it again"),
        (1, 129, "that the CPU's driver failed to load (_OST 1/129)", "see the guest's kernel log"),
    ],
)
def test_a_refusal_has_the_guests_own_code_and_a_remedy_that_fits_it(
    source: int, status: int, meaning: str, remedy: str
) -> None:
    report = read_ost(source, status)
    assert report is not None
    said, advice = report.detail.split("; ", 1)
    assert said == meaning
    assert remedy in advice
    assert ("free it" in advice) is (status == 130 and source == 3)


def test_an_insertion_in_progress_is_no_outcome_yet() -> None:
    assert read_ost(1, 128) is None


@pytest.mark.parametrize("status", ["130", "\x1b[31mred", {"a": "\x07"}, None])
def test_an_invalid_code_is_ignored(status: object) -> None:
    assert read_ost(3, status) is None


def slot(number: object, source: object = 3, status: object = 0, kind: str = "CPU") -> dict[str, Any]:
    return {"slot": number, "slot-type": kind, "source": source, "status": status}


def test_the_latest_statuses_are_read_for_cpus_only() -> None:
    words = read_ospm_status([slot("0", 0), slot("5"), slot("3", kind="DIMM")])
    assert set(words) == {0, 5}
    assert words[0] is None
    assert words[5] is not None


@pytest.mark.parametrize(
    "reply",
    [
        None,
        {},
        "CPU",
        [None],
        [[]],
        [{}],
        [{"slot-type": "CPU"}],
        [slot(None)],
        [slot("-1")],
        [slot("1.5")],
        [slot("²")],
        [slot("9" * 5000)],
    ],
    ids=lambda reply: repr(reply)[:40],
)
def test_malformed_statuses_are_ignored(reply: object) -> None:
    assert read_ospm_status(reply) == {}


@given(json_values)
def test_any_reply_instead_of_statuses_is_handled(reply: object) -> None:
    assert isinstance(read_ospm_status(reply), dict)
    assert isinstance(read_ospm_status([reply]), dict)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        # Recorded: tests/unit/support/recordings.
        ("acpi: device unplug request for not supported device type: qemu64-x86_64-cpu", "guest_not_ready"),
        ("Boot CPU is unpluggable", "not_hotpluggable"),
        ("machine does not support hot-plugging CPUs", "hotplug_unsupported"),
        ("The feature 'query-hotpluggable-cpus' is not enabled", "hotplug_unsupported"),
        ("CPU[4] with APIC ID 4 exists", None),
        ("Duplicate device ID 'vcpu4'", None),
        # Read in QEMU's source.
        ("Boot CPU core may not be unplugged", "not_hotpluggable"),
        ("cpu hotplug with SMI wasn't enabled by firmware", "hotplug_unsupported"),
        ("Device vcpu5 is already in the process of unplug", "unplug_pending"),
        ("device_add not allowed while migrating", "migration_in_progress"),
        ("device_del not allowed while migrating", "migration_in_progress"),
        ("CPU hot unplug not supported on this machine", "hotplug_unsupported"),
        ("CPU hotplug not supported for this machine", "hotplug_unsupported"),
        ("CPU hot unplug not supported without ACPI", "hotplug_unsupported"),
        ("Device 'qemu64-x86_64-cpu' does not support hotplugging", "hotplug_unsupported"),
        ("Something else went wrong", None),
        ("", None),
    ],
)
def test_a_refusal_of_qemu_is_recognised_by_its_text(words: str, code: str | None) -> None:
    found, remedy = classify(words)
    assert found == code
    assert remedy
