# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lines about the progress of a task, and when the callback prints them."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.callback import progress as callback
from ansible_collections.kvm.hotplug.plugins.plugin_utils.progress import (
    Guests,
    Progress,
    guests_of,
    is_started_only,
)


def of_batch(guests: int, failed: int = 0, skipped: int = 0) -> dict[str, Any]:
    return {"summary": {"guests": guests, "changed": 0, "unchanged": 0, "failed": failed, "skipped": skipped}}


@pytest.mark.parametrize(
    ("result", "guests"),
    [
        (of_batch(15), (15, 0)),
        (of_batch(15, failed=1, skipped=2), (15, 3)),
        ({"guests": [{}, {}], "failed_guests": [{}]}, (3, 1)),
        ({"guests": [{}], "failed_guests": []}, (1, 0)),
        ({"changed": True, "steps": []}, (1, 0)),
        ({"failed": True, "msg": "no Python"}, (1, 1)),
        ({"failed": False, "error_code": "unplug_refused"}, (1, 1)),
        ({"failed": True, "invocation": {"module_args": {"guests": [{}, {}]}}}, (0, 0)),
        ({"skipped": True}, (0, 0)),
        ({"unreachable": True}, (0, 0)),
    ],
)
def test_guests_of_each_kind_of_result(result: Mapping[str, Any], guests: tuple[int, int]) -> None:
    assert guests_of(result) == Guests(*guests)


def test_a_line_counts_hosts_and_guests() -> None:
    progress = Progress("Change the guests", 3, began=100.0)
    progress.host_done("kvm1", of_batch(15))
    assert progress.line(131.9) == "progress of 'Change the guests', 1 of 3 hosts, 15 guests, 0:00:31"
    progress.host_done("kvm2", of_batch(1, failed=1))
    assert progress.line(3700.0) == "progress of 'Change the guests', 2 of 3 hosts, 16 guests, 1 failed, 1:00:00"
    assert not progress.is_complete
    progress.host_done("kvm3", {"unreachable": True})
    assert (
        progress.line(3701.0)
        == "progress of 'Change the guests', 3 of 3 hosts, 1 unreachable, 16 guests, 1 failed, 1:00:01"
    )
    assert progress.is_complete


def test_items_of_a_loop_are_counted_when_they_are_done_and_only_once() -> None:
    progress = Progress("In slices", 1, began=0.0)
    progress.item_done("kvm1", of_batch(50))
    assert progress.line(1.0) == "progress of 'In slices', 0 of 1 host, 50 guests, 0:00:01"
    progress.item_done("kvm1", of_batch(50, failed=2))
    progress.host_done("kvm1", {"results": [of_batch(50), of_batch(50, failed=2)]})
    assert progress.line(2.0) == "progress of 'In slices', 1 of 1 host, 100 guests, 2 failed, 0:00:02"


def test_a_started_job_is_not_a_result() -> None:
    assert is_started_only({"ansible_job_id": "j1", "started": 1, "finished": 0})
    assert not is_started_only({"ansible_job_id": "j1", "finished": 1, **of_batch(2)})
    assert not is_started_only(of_batch(2))


class Player:
    """Calls the callback as Ansible does; ``lines`` has what it has printed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, interval: float) -> None:
        self.lines: list[str] = []
        self.now = 1000.0
        # It gets imitations of Ansible's objects.
        self.callback: Any = callback.CallbackModule()
        monkeypatch.setattr(callback.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(self.callback, "get_option", {"interval": interval}.get)
        monkeypatch.setattr(self.callback, "_display", SimpleNamespace(display=self._display))

    def _display(self, line: str, stderr: bool) -> None:
        assert stderr, "the output of other callbacks may be read by a program"
        self.lines.append(line.partition(", ")[2])

    def play(self, uuid: str, *hosts: str) -> None:
        manager = SimpleNamespace(get_vars=lambda play: {"ansible_play_hosts_all": list(hosts)})
        self.callback.v2_playbook_on_play_start(SimpleNamespace(_uuid=uuid, get_variable_manager=lambda: manager))

    def task(self, action: str = "kvm.hotplug.vcpu_batch") -> SimpleNamespace:
        task = SimpleNamespace(action=action, get_path=lambda: "play.yml:7", get_name=lambda: "Change the guests")
        self.callback.v2_playbook_on_task_start(task, False)
        return task

    def ok(self, task: SimpleNamespace, host: str, **result: Any) -> None:
        named = SimpleNamespace(get_name=lambda: host)
        self.callback.v2_runner_on_ok(SimpleNamespace(_task=task, _host=named, _result={**of_batch(2), **result}))


@pytest.mark.parametrize(
    "action", ["kvm.hotplug.vcpu_batch", "vcpu_batch", "kvm.hotplug.vcpu", "kvm.hotplug.vcpu_info"]
)
def test_each_host_of_a_task_of_ours_is_printed(monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    player = Player(monkeypatch, 0)
    player.play("p1", "kvm1", "kvm2")
    task = player.task(action)
    player.ok(task, "kvm1")
    player.ok(task, "kvm2")
    assert player.lines == ["1 of 2 hosts, 2 guests, 0:00:00", "2 of 2 hosts, 4 guests, 0:00:00"]


@pytest.mark.parametrize("action", ["ansible.builtin.ping", "other.hotplug.vcpu", "ping"])
def test_nothing_is_printed_about_other_tasks(monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    player = Player(monkeypatch, 0)
    player.play("p1", "kvm1")
    player.ok(player.task(action), "kvm1")
    player.callback.v2_playbook_on_stats(None)
    assert player.lines == []


def test_a_job_that_was_only_started_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    player = Player(monkeypatch, 0)
    player.play("p1", "kvm1")
    player.ok(player.task(), "kvm1", ansible_job_id="j1", finished=0)
    assert player.lines == []


def test_lines_are_at_least_the_interval_apart_and_the_last_one_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    player = Player(monkeypatch, 10)
    player.play("p1", *(f"kvm{number}" for number in range(1, 7)))
    task = player.task()
    for number in range(1, 6):  # kvm6 failed in an earlier task
        player.ok(task, f"kvm{number}")
        player.now += 4
    assert [line.partition(",")[0] for line in player.lines] == ["1 of 6 hosts", "4 of 6 hosts"]
    player.task("ansible.builtin.debug")
    assert player.lines[2:] == ["5 of 6 hosts, 10 guests, 0:00:20"]
    player.callback.v2_playbook_on_stats(None)
    assert len(player.lines) == 3


def test_the_batches_of_serial_are_counted_together_and_other_plays_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    player = Player(monkeypatch, 0)
    for host in ("kvm1", "kvm2"):
        player.play("p1", "kvm1", "kvm2")
        player.ok(player.task(), host)
    player.play("p2", "kvm1")
    player.ok(player.task(), "kvm1")
    assert [line.partition(",")[0] for line in player.lines] == ["1 of 2 hosts", "2 of 2 hosts", "1 of 1 host"]
