# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stops a rollout or skips its guests: blockers, invalid options, failing hypervisors, no desired state."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lab import observer

from .conftest import Boot, BootOspm
from .support.playbooks import Hypervisors
from .test_rollout import PAUSED, THREE, by_count

# Connects to this machine, as long as the file DOWN does not exist.
SSH = f"""\
#!{sys.executable}
import os, sys
if os.path.exists("DOWN"):
    sys.exit("Connection refused" and 255)
words = sys.argv[1:]
os.execvp("sh", ["sh", "-c", " ".join(words[words.index("gone") + 1 :])])
"""


def behind_ssh(folder: Path, down: Path) -> dict[str, Any]:
    """Return the variables that connect to the hypervisor ``gone`` by ssh, until there is a file ``down``."""
    ssh = folder / "ssh"
    ssh.write_text(SSH.replace("DOWN", str(down)), encoding="utf-8")
    ssh.chmod(0o755)
    return {
        "ansible_connection": "{{ (inventory_hostname == 'gone') | ternary('ssh', 'local') }}",
        "ansible_ssh_executable": str(ssh),
        "ansible_pipelining": True,
    }


def test_one_blocker_prevents_all_changes(boot: Boot, tmp_path: Path) -> None:
    good, bad = boot(**PAUSED, name="good"), boot(**PAUSED, name="bad")
    hosts = {"h1": [by_count(good, 3)], "h2": [{**by_count(bad, 1), "max_disable": 0}], "h3": []}
    fleet = Hypervisors(tmp_path, hosts)
    stopped = fleet.play("rollout")
    assert stopped.status == 2
    assert stopped.row("bad")[-1] in ("conflicting_request", "guest_not_ready")
    assert "because 1 of 2 guests cannot be changed. bad on h2: " in stopped.text
    assert "no desired state: h3" in stopped
    assert observer.enabled_ids(good.observer) == [0, 1]

    assert fleet.play("rollout", "--extra-vars", "rollout_skip_blocked=false").status == 2
    without = fleet.play("rollout", "--extra-vars", "rollout_skip_blocked=true rollout_serial=50%")
    assert without.status == 0, without
    assert without.row("bad")[-1].startswith("left out: ")
    assert observer.enabled_ids(good.observer) == [0, 1, 2]
    assert observer.enabled_ids(bad.observer) == [0, 1]


def test_a_misspelled_option_skips_only_its_guest_and_the_play_fails(boot: Boot, tmp_path: Path) -> None:
    web1, web2, web3 = (boot(**PAUSED, name=f"web{number}") for number in (1, 2, 3))
    hosts = {"h1": [by_count(web1, 3), {"qmp_socket": web2.qmp_socket, "cuont": 3}], "h2": [by_count(web3, 3)]}
    fleet = Hypervisors(tmp_path, hosts, rollout_id="typo")
    stopped = fleet.play("rollout")
    assert stopped.status == 2
    assert stopped.row(web2.qmp_socket)[-1] == "conflicting_request"
    assert f"because 1 of 3 guests cannot be changed. {web2.qmp_socket} on h1: " in stopped.text
    assert "cuont. Supported parameters include" in stopped.text
    assert [observer.enabled_ids(guest.observer) for guest in (web1, web2, web3)] == [[0, 1]] * 3

    without = fleet.play("rollout", rollout_skip_blocked=True)
    assert (without.status, without.recap("h1")["failed"], without.recap("h2")["failed"]) == (2, 1, 0)
    assert without.row(web2.qmp_socket)[-1] == "failed: invalid options"
    assert without.row("web1")[-1] == without.row("web3")[-1] == "changed"
    assert [observer.enabled_ids(guest.observer) for guest in (web1, web2, web3)] == [[0, 1, 2], [0, 1], [0, 1, 2]]
    assert "completed" not in fleet.record("typo", "h2")


def test_an_unreachable_hypervisor_stops_the_rollout_even_if_blocked_guests_are_skipped(
    boot: Boot, tmp_path: Path
) -> None:
    web = boot(**PAUSED, name="web")
    down = tmp_path / "down"
    down.touch()
    hosts = {"h1": [by_count(web, 3)], "gone": [by_count(web, 3), {"name": "db", "count": 2}]}
    fleet = Hypervisors(tmp_path, hosts, **behind_ssh(tmp_path, down))
    for skip in (False, True):
        stopped = fleet.play("rollout", rollout_skip_blocked=skip)
        assert stopped.status == 2
        assert stopped.row("db") == ["gone", "unknown", "?", "", "", "unreachable"]
        assert "because 2 of 3 guests cannot be changed. gone (2 guests): " in stopped.text
        assert "leave out these hypervisors with --limit" in stopped.text
        assert observer.enabled_ids(web.observer) == [0, 1]
    assert fleet.play("rollout", "--limit", "h1").status == 0
    assert observer.enabled_ids(web.observer) == [0, 1, 2]

    audit = fleet.play("audit")
    assert audit.row("db") == ["gone", "unknown", "-", "-", "unreachable"]
    assert "2 of 3 guests have drifted or could not be inspected" in audit
    assert "qemu:///system on gone: unreachable: " in audit.text


def test_an_interpreter_that_does_not_start_is_reported_with_the_shells_error(boot: Boot, tmp_path: Path) -> None:
    web = boot(**PAUSED, name="web")
    python = f"{{{{ (inventory_hostname == 'h2') | ternary('/nowhere/python3', '{sys.executable}') }}}}"
    hosts = {"h1": [by_count(web, 3)], "h2": [{"name": "db", "count": 2}]}
    fleet = Hypervisors(tmp_path, hosts, ansible_python_interpreter=python)
    for name, column in (("rollout", -1), ("audit", -1)):
        failed = fleet.play(name, rollout_skip_blocked=True)
        assert failed.row("db")[column] == "failed"
        assert "/nowhere/python3" in failed.text
        assert "internal" not in failed
        assert failed.status == (2 if name == "rollout" else 0)
    assert observer.enabled_ids(web.observer) == [0, 1]


def test_a_hypervisor_whose_desired_state_is_no_valid_template_stops_the_rollout(boot: Boot, tmp_path: Path) -> None:
    web = boot(**PAUSED, name="web")
    hosts = {"h1": [by_count(web, 3)], "h2": [{"name": "db", "count": "{{ undefined_variable }}"}]}
    stopped = Hypervisors(tmp_path, hosts).play("rollout", rollout_skip_blocked=True)
    assert stopped.status == 2
    assert "undefined_variable" in stopped
    assert "because planning failed on h2" in stopped.text
    assert observer.enabled_ids(web.observer) == [0, 1]


def test_a_misspelled_variable_is_an_error(boot: Boot, tmp_path: Path) -> None:
    web = boot(**PAUSED, name="web")
    fleet = Hypervisors(tmp_path, {})
    inventory = json.loads(fleet.inventory.read_text())
    inventory["hypervisors"]["hosts"] = {
        "h1": {"kvm_hotplug_desired_guest": [by_count(web, 3)]},
        "h2": {"kvm_hotplug_guests": ["web"]},
    }
    fleet.inventory.write_text(json.dumps({**inventory, "guests": {"hosts": {"web": {}}}}))
    for name in ("rollout", "audit"):
        failed = fleet.play(name)
        assert failed.status == 2
        for variable in ("kvm_hotplug_desired_guests", "kvm_hotplug_desired ", "kvm_hotplug_guests"):
            assert variable in failed.text, name
        assert "h1, h2" in failed.text
    # An audit may be about other guests.
    audit = fleet.play("audit", audit_qmp_sockets=[web.qmp_socket])
    assert (audit.status, audit.row("web")) == (0, ["h2", "paused", "0-1", "-", ""])


def test_within_the_budget_the_waves_continue_and_unreachable_hypervisors_have_failed(
    boot: Boot, boot_ospm: BootOspm, tmp_path: Path
) -> None:
    web, stubborn = boot(**PAUSED, name="web"), boot_ospm(**THREE, name="stubborn")
    db = boot(**PAUSED, name="db")
    stubborn.ospm.refuse(2, status=128)
    hosts = {"h1": [by_count(stubborn, 2)], "h2": [], "h3": [by_count(web, 3)], "gone": [by_count(db, 3)]}
    # The hypervisor is gone once the first wave has been recorded.
    down = tmp_path / "state" / "half" / "h1.json"
    fleet = Hypervisors(tmp_path, hosts, **behind_ssh(tmp_path, down))
    half = {"rollout_canary": 0, "rollout_serial": 2, "rollout_max_fail_percentage": 50, "rollout_id": "half"}
    gone_on = fleet.play("rollout", **half)
    assert gone_on.status == 2
    assert [gone_on.recap(host)["failed"] for host in hosts] == [1, 0, 0, 1]
    assert gone_on.row("stubborn")[-1] == "failed: unplug_refused"
    assert gone_on.row("web") == ["h3", "0-1", "0-2", "plug 2", "changed"]
    assert gone_on.row("db")[-1] == "failed: unreachable", gone_on
    assert observer.enabled_ids(web.observer) == [0, 1, 2]
    assert observer.enabled_ids(db.observer) == [0, 1]


def test_a_guest_that_is_a_host_has_its_own_desired_state(boot: Boot, tmp_path: Path) -> None:
    web, db = boot(**PAUSED, name="web"), boot(**PAUSED, name="db")
    folder = tmp_path / "inventory"
    (folder / "host_vars").mkdir(parents=True)
    sockets = [guest.qmp_socket for guest in (web, db)]
    (folder / "guests.yml").write_text(json.dumps({"plugin": "kvm.hotplug.guests", "qmp_sockets": sockets}))
    (folder / "host_vars" / "web.yml").write_text(json.dumps({"kvm_hotplug_desired": {"count": 4}}))
    fleet = Hypervisors(tmp_path, {})
    fleet.inventory = folder
    state = {"rollout_state_dir": str(fleet.state)}
    done = fleet.play("rollout", **state)
    assert done.status == 0, done
    assert done.row("web") == ["localhost", "0-1", "0-3", "plug 2-3", "changed"]
    assert (observer.enabled_ids(web.observer), observer.enabled_ids(db.observer)) == ([0, 1, 2, 3], [0, 1])
    audit = fleet.play("audit", audit_qmp_sockets=sockets, **state)
    assert (audit.status, "0 of 2 guests have drifted" in audit) == (0, True)
