# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several runs that unplug the same vCPU over libvirt, in any order of their calls: one reports the change."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, Callable, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt import notes
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.errors import LibvirtCallError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.libvirt.unplug_request import (
    UnplugRequest,
    remove_note,
    write_note,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.machine import (
    DONE,
    FAILED,
    PENDING,
    REFUSED,
    StepOutcome,
)

RUNS = 3
GUEST = RUNS
KILL = RUNS + 1


class Turn:
    """A place where another run may continue."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class MadeUpDomain:
    """A domain with vCPU 3, and its connection; each call is one turn."""

    def __init__(self) -> None:
        self.metadata: dict[str, str] = {}
        self.is_plugged = True
        self.is_requested = False

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        await Turn()
        return function(*arguments)

    def setMetadata(self, _kind: int, element: str | None, _prefix: str | None, namespace: str, _flags: int) -> None:
        self.metadata.pop(namespace, None)
        if element is not None:
            self.metadata[namespace] = element

    def XMLDesc(self, _flags: int) -> str:
        elements = "".join(f'<kvm-hotplug:x xmlns:kvm-hotplug="{namespace}"/>' for namespace in self.metadata)
        return f"<domain><metadata>{elements}</metadata></domain>"

    @property
    def notes(self) -> list[tuple[str, str]]:
        return [(note.kind, note.run) for note in notes.read_notes(self.XMLDesc(0))]


def note(run: int, thread: int = 0) -> notes.Note:
    return notes.Note(notes.REQUESTED, 3, 7, thread, f"{run:032x}")


def request(domain: MadeUpDomain, run: int) -> UnplugRequest:
    made_up = cast(Any, domain)
    return UnplugRequest(made_up, made_up, note(run), notes.read_notes(domain.XMLDesc(0)))


async def disable(domain: MadeUpDomain, run: int) -> bool | None:
    """What a run does, without waiting for time to pass; return whether it reports the change."""
    requested = request(domain, run)
    assert await requested.announce() is None
    await Turn()
    if domain.is_plugged:
        assert await requested.confirm() is None
        domain.is_requested = True
    while domain.is_plugged:
        await Turn()
    answer, outdated = await requested.end(StepOutcome(DONE, took_effect=True))
    for one in outdated:
        await remove_note(cast(Any, domain), cast(Any, domain), one)
    return answer.took_effect


def reported(domain: MadeUpDomain, order: list[int]) -> tuple[list[bool | None], int]:
    """Have the runs continue in this order, and then in turn; return what they report, and how many were killed."""
    working: dict[int, Coroutine[Any, Any, bool | None]] = {run: disable(domain, run) for run in range(RUNS)}
    results: list[bool | None] = []
    killed = 0
    in_turn = [*range(RUNS + 1)] * 100
    for run in [*order, *in_turn]:
        if run == GUEST:
            domain.is_plugged = domain.is_plugged and not domain.is_requested
        elif run >= KILL:
            if run - KILL in working and killed < RUNS - 1:
                killed += 1
                working.pop(run - KILL).close()
        elif run in working:
            try:
                working[run].send(None)
            except StopIteration as end:
                results.append(end.value)
                del working[run]
    assert not working
    return results, killed


@example([0, 0, 2, 2, 2, 3, 2, 2, 2, 1, 1])  # run 1 still sees the vCPU when run 2 has noted its completion
@given(st.lists(st.integers(0, GUEST), max_size=60))
def test_exactly_one_of_several_runs_reports_the_change_and_no_note_is_left(order: list[int]) -> None:
    domain = MadeUpDomain()
    results, _killed = reported(domain, order)
    assert sorted(results, key=bool) == [False, False, True]
    assert domain.notes == []


@given(st.lists(st.integers(0, KILL + RUNS - 1), max_size=60))
def test_of_runs_of_which_some_are_killed_at_most_one_reports_the_change(order: list[int]) -> None:
    results, killed = reported(MadeUpDomain(), order)
    assert len(results) == RUNS - killed
    assert sum(map(bool, results)) <= 1


@given(st.lists(st.sampled_from([notes.REQUESTED, notes.COMPLETED]), max_size=3), st.integers(0, 1))
def test_notes_of_killed_runs_keep_no_run_from_reporting(kinds: list[str], thread: int) -> None:
    domain = MadeUpDomain()
    for number, kind in enumerate(kinds, RUNS):
        domain.metadata[note(number, thread)._replace(kind=kind).namespace] = ""
    results, _killed = reported(domain, [])
    assert sorted(results, key=bool) == [False, False, True]
    assert domain.notes == []


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        (StepOutcome(PENDING), [1, 2]),
        (StepOutcome(REFUSED), []),
        (StepOutcome(FAILED), [1]),
        (StepOutcome(DONE, took_effect=True), []),
    ],
    ids=lambda value: value.status if isinstance(value, StepOutcome) else "",
)
def test_a_note_is_left_as_long_as_the_guest_may_carry_out_the_request(answer: StepOutcome, left: list[int]) -> None:
    domain = MadeUpDomain()

    async def work() -> StepOutcome:
        made_up = cast(Any, domain)
        await write_note(made_up, made_up, note(1))
        requested = request(domain, 2)
        await requested.announce()
        await requested.confirm()
        outcome, outdated = await requested.end(answer)
        for one in outdated:
            await remove_note(made_up, made_up, one)
        return outcome

    assert run_alone(work()) == answer
    assert domain.notes == [("requested", f"{number:032x}") for number in left]


def run_alone(work: Coroutine[Any, Any, Any]) -> Any:
    while True:
        try:
            work.send(None)
        except StopIteration as end:
            return end.value


def test_without_its_note_no_request_is_sent() -> None:
    class Busy(MadeUpDomain):
        def setMetadata(self, *_arguments: object) -> None:
            raise LibvirtCallError(68, "cannot acquire state change lock")

    found = run_alone(request(Busy(), 1).announce())
    assert isinstance(found, LibvirtCallError)


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (note(2), True),
        (note(2, thread=4711), True),
        (note(2, thread=4712), False),
        (note(2)._replace(domain=8), False),
        (note(2)._replace(vcpu=4), False),
    ],
)
def test_a_note_is_on_one_vcpu_of_one_start_of_the_domain(other: notes.Note, is_same: bool) -> None:
    assert note(1, thread=4711).is_of_same_vcpu(other) is is_same


def test_other_metadata_is_no_note() -> None:
    namespace = note(1).namespace
    xml = (
        f'<a xmlns:x="{namespace}0"/><b xmlns:x="{namespace.replace("requested", "other")}"/><c xmlns:x="{namespace}"/>'
    )
    assert notes.read_notes(xml) == (note(1),)
