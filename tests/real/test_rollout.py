# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rollouts over three hypervisors: they succeed, fail and are reverted, are interrupted and continue; and audits."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

from lab import behaviours, eyes
from lab.daemon import Daemon
from lab.guest import Guest

from .conftest import SHUT_OFF, TWO_CELLS, TWO_NODES, Boot, Domains
from .playbooks import Hypervisors

THREE = {**TWO_NODES, "smp": "3,sockets=4,cores=2,threads=1,maxcpus=8"}
PAUSED = {**TWO_NODES, "boot": False, "paused": True, "memory": 64}


def shut_off(path: Path) -> Path:
    """Write the config of a guest that does not run, with 2 of 8 vCPUs."""
    path.write_text(SHUT_OFF)
    return path


def config(path: Path) -> list[int]:
    """The vCPUs that a guest's next boot has."""
    text = path.read_text()
    single = re.findall(r"<vcpu id='(\d+)' enabled='yes'", text)
    current = re.search(r"current='(\d+)'", text)
    assert current
    return [int(number) for number in single] or list(range(int(current.group(1))))


def by_count(guest: Guest, count: int) -> dict[str, Any]:
    return {"qmp_socket": guest.qmp_socket, "count": count}


def test_a_rollout_shows_its_plan_converges_wave_by_wave_and_does_nothing_twice(boot: Boot, tmp_path: Path) -> None:
    guests = [boot(**PAUSED) for _number in range(4)]
    db = shut_off(tmp_path / "db.xml")
    hosts = {
        "h1": [by_count(guests[0], 4)],
        "h2": [by_count(guests[1], 2), by_count(guests[2], 3)],
        "h3": [by_count(guests[3], 3), {"domain_xml": str(db), "vcpus": [{"id": "5", "state": "enabled"}]}],
    }
    fleet = Hypervisors(tmp_path, hosts)

    dry = fleet.play("rollout", "--check", rollout_id="first")
    assert dry.status == 0, dry
    assert dry.row(guests[0].qmp_socket, 0) == "h1 paused 0-1 0-3 plug 2-3"
    assert dry.row(db, 0) == "h3 shutoff 0-1 0-1,5 enable 5"
    assert [eyes.enabled_ids(guest.eyes) for guest in guests] == [[0, 1]] * 4
    assert config(db) == [0, 1]
    assert not fleet.state.exists()

    done = fleet.play("rollout", rollout_id="first")
    assert done.status == 0, done
    assert [eyes.enabled_ids(guest.eyes) for guest in guests] == [[0, 1, 2, 3], [0, 1], [0, 1, 2], [0, 1, 2]]
    assert config(db) == [0, 1, 5]
    assert [done.recap(host)["changed"] for host in hosts] == [1, 1, 1]
    record = fleet.record("first", "h3")
    assert record["completed"]
    assert [guest["before"] for guest in record["guests"].values()] == [
        {"live": "0-1", "config": None, "online": None},
        {"live": None, "config": "0-1", "online": None},
    ]

    again = fleet.play("rollout", rollout_id="first")
    assert (again.status, [again.recap(host)["changed"] for host in hosts]) == (0, [0, 0, 0])
    assert fleet.record("first", "h3") == record


def test_a_blocker_anywhere_keeps_all_from_being_changed(boot: Boot, tmp_path: Path) -> None:
    good, bad = boot(**PAUSED), boot(**PAUSED)
    hosts = {"h1": [by_count(good, 3)], "h2": [{**by_count(bad, 1), "max_disable": 0}], "h3": []}
    fleet = Hypervisors(tmp_path, hosts)
    stopped = fleet.play("rollout")
    assert stopped.status == 2
    assert "conflicting_request" in stopped or "guest_not_ready" in stopped
    assert "Nothing was changed on any hypervisor: 1 of 2 guests" in " ".join(stopped.split())
    assert eyes.enabled_ids(good.eyes) == [0, 1]

    assert fleet.play("rollout", "--extra-vars", "rollout_skip_blocked=false").status == 2
    without = fleet.play("rollout", "--extra-vars", "rollout_skip_blocked=true rollout_serial=50%")
    assert without.status == 0, without
    assert eyes.enabled_ids(good.eyes) == [0, 1, 2]
    assert eyes.enabled_ids(bad.eyes) == [0, 1]


def test_within_the_budget_the_others_go_on_and_what_is_unreachable_has_failed(boot: Boot, tmp_path: Path) -> None:
    web, stubborn = boot(**PAUSED), boot(**THREE)
    behaviours.forbid_ejects(stubborn)
    hosts = {"h1": [by_count(stubborn, 2)], "h2": [], "h3": [by_count(web, 3)], "gone": [by_count(web, 3)]}
    away = "{{ (inventory_hostname == 'gone') | ternary('ssh', 'local') }}"
    # Not every machine has an ssh; this one cannot connect.
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\necho Connection refused >&2\nexit 255\n")
    ssh.chmod(0o755)
    fleet = Hypervisors(tmp_path, hosts, ansible_connection=away, ansible_ssh_executable=str(ssh))
    blocked = fleet.play("rollout")
    assert blocked.status == 2
    assert blocked.row("(all)") == "gone unknown ? ? unreachable"
    assert eyes.enabled_ids(web.eyes) == [0, 1]

    half = {"rollout_canary": 0, "rollout_serial": 2, "rollout_max_fail_percentage": 50}
    gone_on = fleet.play("rollout", rollout_skip_blocked=True, **half)
    assert gone_on.status == 2
    assert [gone_on.recap(host)["failed"] for host in hosts] == [1, 0, 0, 0]
    assert gone_on.row(web.qmp_socket) == "h3 0-1 0-2 plug 2 changed"
    assert eyes.enabled_ids(web.eyes) == [0, 1, 2]


def test_a_guest_that_is_a_host_has_a_wish_of_its_own(boot: Boot, tmp_path: Path) -> None:
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
    assert done.row(web.qmp_socket) == "localhost 0-1 0-3 plug 2-3 changed"
    assert (eyes.enabled_ids(web.eyes), eyes.enabled_ids(db.eyes)) == ([0, 1, 2, 3], [0, 1])
    audit = fleet.play("audit", audit_qmp_sockets=sockets, **state)
    assert (audit.status, "0 of 2 guests have drifted" in audit) == (0, True)


def test_a_failing_wave_is_reverted_with_all_before_it_and_nothing_else(boot: Boot, tmp_path: Path) -> None:
    web1, web2, web3 = boot(**TWO_NODES), boot(**THREE), boot(**PAUSED)
    db1, db2 = shut_off(tmp_path / "db1.xml"), shut_off(tmp_path / "db2.xml")
    behaviours.forbid_ejects(web2)
    hosts = {
        "h1": [by_count(web1, 4), {"domain_xml": str(db1), "count": 3}],
        "h2": [by_count(web2, 2), {"domain_xml": str(db2), "count": 4}],
        "h3": [by_count(web3, 4)],
    }
    fleet = Hypervisors(tmp_path, hosts)

    failed = fleet.play("rollout", rollout_id="one", rollout_serial=1)
    assert failed.status == 2
    assert failed.row(web2.qmp_socket, 1) == "h2 0-2 0-2 unplug 2 (refused) failed: unplug_refused"
    assert failed.row(db2, 1) == "h2 0-1 0-3 enable 2-3 changed"
    assert failed.row(db2) == "h2 0-3 0-1 disable 2-3 reverted"
    assert [eyes.enabled_ids(guest.eyes) for guest in (web1, web2, web3)] == [[0, 1], [0, 1, 2], [0, 1]]
    assert (config(db1), config(db2)) == ([0, 1], [0, 1])
    assert "not begun: h3" in failed
    assert not (fleet.state / "one" / "h3.json").exists()

    kept = fleet.play("rollout", rollout_id="one", rollout_serial=1, rollout_on_failure="keep")
    assert kept.status == 2
    assert (eyes.enabled_ids(web1.eyes), config(db1), config(db2)) == ([0, 1, 2, 3], [0, 1, 2], [0, 1, 2, 3])
    eyes.plug(web1.eyes, 7)

    reverted = fleet.play("revert", rollout_id="one")
    assert reverted.status == 0, reverted
    assert eyes.enabled_ids(web1.eyes) == [0, 1, 2, 3, 7]
    assert "left alone: somebody changed it, live was 0-3 after the rollout and is 0-3,7" in reverted
    assert (config(db1), config(db2)) == ([0, 1], [0, 1])

    again = fleet.play("revert", rollout_id="one")
    assert (again.status, [again.recap(host)["changed"] for host in hosts]) == (0, [0, 0, 0])
    assert eyes.enabled_ids(web1.eyes) == [0, 1, 2, 3, 7]

    unknown = fleet.play("revert", rollout_id="none")
    assert unknown.status == 2
    assert "Those that are: one." in " ".join(unknown.split())


def test_an_interrupted_rollout_continues_and_can_still_be_reverted_to_its_beginning(
    boot: Boot, tmp_path: Path
) -> None:
    web2 = boot(**THREE)
    db1, db3 = shut_off(tmp_path / "db1.xml"), shut_off(tmp_path / "db3.xml")
    hosts = {
        "h1": [{"domain_xml": str(db1), "count": 3}],
        "h2": [by_count(web2, 2)],
        "h3": [{"domain_xml": str(db3), "count": 4}],
    }
    fleet = Hypervisors(tmp_path, hosts)
    behaviours.dawdle(web2, 2)
    with fleet.begin("rollout", rollout_serial=1) as process:
        deadline = time.monotonic() + 120
        while not list(fleet.state.glob("*/h2.json")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        time.sleep(4)
    assert (config(db1), config(db3)) == ([0, 1, 2], [0, 1])
    rollout = next(fleet.state.iterdir()).name
    assert next(iter(fleet.record(rollout, "h2")["guests"].values()))["attempts"][0]["open"]
    behaviours.hurry(web2, 2)
    eyes.wait_enabled(web2.eyes, [0, 1])

    continued = fleet.play("rollout", rollout_serial=1)
    assert continued.status == 0, continued
    assert [continued.recap(host)["changed"] for host in hosts] == [0, 0, 1]
    assert (config(db1), eyes.enabled_ids(web2.eyes), config(db3)) == ([0, 1, 2], [0, 1], [0, 1, 2, 3])

    assert fleet.play("revert").status == 0
    assert (config(db1), eyes.enabled_ids(web2.eyes), config(db3)) == ([0, 1], [0, 1, 2], [0, 1])


def test_guests_of_libvirts_show_that_they_use_their_vcpus_and_go_back(
    newest_daemon: Daemon, newest_domain: Domains, tmp_path: Path
) -> None:
    plugged = newest_domain(**TWO_CELLS, name="plugged", agent=True, as_kvm=True)
    onlined = newest_domain(**TWO_CELLS, name="onlined", agent=True, vcpus="<vcpu current='3'>8</vcpu>")
    uri = {"uri": newest_daemon.uri}
    hosts = {"h1": [{"name": "plugged", "count": 4}, {"name": "onlined", "method": "agent", "count": 2}]}
    fleet = Hypervisors(tmp_path, hosts, newest_daemon, kvm_hotplug_defaults=uri, rollout_id="both")
    done = fleet.play("rollout")
    assert done.status == 0, done
    assert done.row("plugged") == "h1 0-1 0-3 plug 2-3, online 2-3, enable 2-3 changed"
    assert done.row("onlined", 0).endswith(" offline 2")
    assert (len(eyes.guest_cpus(plugged)), len(eyes.guest_cpus(onlined))) == (4, 2)

    audit = fleet.play("audit")
    assert audit.row("plugged") == "h1 running 0-3 0-3"

    reverted = fleet.play("revert")
    assert reverted.status == 0, reverted
    assert (eyes.enabled_ids(plugged.eyes), eyes.enabled_ids(onlined.eyes)) == ([0, 1], [0, 1, 2])
    assert (len(eyes.guest_cpus(plugged)), len(eyes.guest_cpus(onlined))) == (2, 3), reverted
    again = fleet.play("revert")
    assert (again.status, "nothing is left to revert" in again) == (0, True)


def test_an_audit_tells_every_drift_in_a_table_and_a_file_and_changes_nothing(boot: Boot, tmp_path: Path) -> None:
    as_wished, other, dead, unnamed = (boot(**PAUSED) for _number in range(4))
    db = shut_off(tmp_path / "db.xml")
    hosts = {
        "h1": [by_count(as_wished, 2)],
        "h2": [{**by_count(other, 4), "domain_xml": str(db)}],
        "h3": [by_count(dead, 2)],
    }
    fleet = Hypervisors(tmp_path, hosts, audit_qmp_sockets=[unnamed.qmp_socket, as_wished.qmp_socket])
    eyes.plug(other.eyes, 5)
    dead.kill()
    told = tmp_path / "audit.json"

    audit = fleet.play("audit", audit_json=str(told))
    assert (audit.status, [audit.recap(host)["changed"] for host in hosts]) == (0, [0, 0, 0])
    assert audit.row(as_wished.qmp_socket) == "h1 paused 0-1 -"
    assert audit.row(other.qmp_socket) == "h2 paused 0-1,5 0-1 config: 5, inventory: plug 2, enable 2,5"
    assert audit.row(dead.qmp_socket) == "h3 unknown - - monitor_unreachable"
    report = {guest["guest"]: guest for guest in json.loads(told.read_text())["guests"]}
    assert report[other.qmp_socket]["drift"] == {"config": "5", "libvirt": "", "inventory": "plug 2, enable 2,5"}
    assert report[as_wished.qmp_socket]["drift"] == {"config": "", "libvirt": "", "inventory": ""}
    assert len(report) == 4
    assert eyes.enabled_ids(other.eyes) == [0, 1, 5]

    assert fleet.play("audit", audit_fail_on_drift=True).status == 2
