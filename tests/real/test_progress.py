# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far a rollout and a batch in parts are, as Ansible and the callback `kvm.hotplug.progress` print it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lab import observer

from .conftest import TWO_NODES, Boot
from .support.playbooks import Hypervisors

PAUSED = {**TWO_NODES, "boot": False, "paused": True, "memory": 64}
ENABLED = {"ANSIBLE_CALLBACKS_ENABLED": "kvm.hotplug.progress", "KVM_HOTPLUG_PROGRESS_INTERVAL": "0"}
# As in docs/fleets.md.
IN_PARTS: dict[str, Any] = {
    "name": "In parts",
    "kvm.hotplug.vcpu_batch": {"guests": "{{ item }}", "defaults": {"count": 4}},
    "loop": "{{ all_guests | batch(2) }}",
    "loop_control": {
        "extended": True,
        "extended_allitems": False,
        "label": "{{ ansible_loop.index }} of {{ ansible_loop.length }} parts",
    },
}


def progress(output: str, task: str) -> list[str]:
    """Return the lines about a task without its durations."""
    found = re.findall(rf"^progress of '(?:[\w.]+ : )?{task}', (.*), \d+:\d\d:\d\d$", output, re.MULTILINE)
    return [str(line) for line in found]


def test_a_rollout_shows_how_many_of_its_hypervisors_and_guests_are_done(boot: Boot, tmp_path: Path) -> None:
    guests = [boot(**PAUSED, name=f"web{number}") for number in range(4)]
    wanted = [{"qmp_socket": guest.qmp_socket, "count": 3} for guest in guests]
    fleet = Hypervisors(tmp_path, {"h1": wanted[:1], "h2": wanted[1:3], "h3": wanted[3:]})
    fleet.environment.update(ENABLED)
    done = fleet.play("rollout", rollout_serial=1)
    assert done.status == 0, done
    assert progress(done, "Plan the changes of the guests on this hypervisor")[-1] == "3 of 3 hosts, 4 guests"
    wave_after_wave = ["1 of 3 hosts, 1 guest", "2 of 3 hosts, 3 guests", "3 of 3 hosts, 4 guests"]
    assert progress(done, "Plan again, and record the state of the guests and the planned changes") == wave_after_wave
    assert progress(done, "Change the guests") == wave_after_wave
    assert [observer.enabled_ids(guest.observer) for guest in guests] == [[0, 1, 2]] * 4


def test_a_batch_in_parts_shows_each_part_when_it_is_done(boot: Boot, tmp_path: Path) -> None:
    guests = [boot(**PAUSED, name=f"web{number}") for number in range(4)]
    guests[2].kill()
    named = [{"qmp_socket": guest.qmp_socket} for guest in guests]
    play = {"hosts": "all", "gather_facts": False, "vars": {"all_guests": named}, "tasks": [IN_PARTS]}
    file = tmp_path / "play.json"
    file.write_text(json.dumps([play]), encoding="utf-8")
    fleet = Hypervisors(tmp_path, {"h1": []})
    fleet.environment.update(ENABLED)
    done = fleet.play(str(file))
    assert progress(done, "In parts") == [
        "0 of 1 host, 2 guests",
        "0 of 1 host, 4 guests, 1 failed",
        "1 of 1 host, 4 guests, 1 failed",
    ]
    assert "(item=1 of 2 parts)" in done
    assert [observer.enabled_ids(guests[number].observer) for number in (0, 1, 3)] == [[0, 1, 2, 3]] * 3
