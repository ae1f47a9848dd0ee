# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rollouts over several hypervisors: they succeed, fail and are reverted, are interrupted and continue."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

from ansible_collections.kvm.hotplug.plugins.plugin_utils.page.render import rollout_page
from lab import observer
from lab.daemon import Daemon
from lab.domains import LibvirtGuest
from lab.guest import Guest

from .conftest import SHUT_OFF, TWO_CELLS, TWO_NODES, Boot, BootOspm, Domains
from .support.playbooks import PATIENCE, Hypervisors

THREE = {**TWO_NODES, "smp": "3,sockets=4,cores=2,threads=1,maxcpus=8"}
PAUSED = {**TWO_NODES, "boot": False, "paused": True, "memory": 64}


def shut_off(path: Path) -> Path:
    """Write the config of a guest that does not run, named like the file, with 2 of 8 vCPUs."""
    path.write_text(SHUT_OFF.replace("<name>db</name>", f"<name>{path.stem}</name>"))
    return path


def config(path: Path) -> list[int]:
    """The vCPUs that a guest's next boot has."""
    text = path.read_text()
    single = re.findall(r"<vcpu id='(\d+)' enabled='yes'", text)
    current = re.search(r"current='(\d+)'", text)
    assert current
    return [int(number) for number in single] or list(range(int(current.group(1))))


def enabled_at_boot(guest: LibvirtGuest) -> int:
    return int(guest.virsh("vcpucount", "--config", "--current"))


def by_count(guest: Guest, count: int) -> dict[str, Any]:
    return {"qmp_socket": guest.qmp_socket, "count": count}


def test_a_rollout_shows_its_plan_converges_in_waves_and_changes_nothing_twice(boot: Boot, tmp_path: Path) -> None:
    guests = [boot(**PAUSED, name=f"web{number}") for number in range(4)]
    db = shut_off(tmp_path / "db.xml")
    hosts = {
        "h1": [by_count(guests[0], 4)],
        "h2": [by_count(guests[1], 2), by_count(guests[2], 3)],
        "h3": [by_count(guests[3], 3), {"domain_xml": str(db), "vcpus": [{"id": "5", "state": "enabled"}]}],
    }
    fleet = Hypervisors(tmp_path, hosts)

    file, page = tmp_path / "rollout.json", tmp_path / "rollout.html"

    dry = fleet.play("rollout", "--check", rollout_id="first", rollout_json=str(file), rollout_html=str(page))
    assert dry.status == 0, dry
    assert dry.row("web0", 0) == ["h1", "paused", "0-1", "0-3", "plug 2-3", ""]
    assert dry.row("db", 0) == ["h3", "shutoff", "0-1", "0-1,5", "enable 5", ""]
    assert dry.row("web0")[-1] == dry.row("db")[-1] == "would change"
    assert dry.row("web1")[-1] == "as desired"
    assert [observer.enabled_ids(guest.observer) for guest in guests] == [[0, 1]] * 4
    assert config(db) == [0, 1]
    assert not fleet.state.exists()
    report = json.loads(file.read_text())
    of_web0, of_db = ({guest["guest"]: guest for guest in report["guests"]}[name] for name in ("web0", "db"))
    assert (report["rollout"], report["phase"], report["reverted"]) == ("first", "outcome", [])
    assert (of_web0["live"], of_web0["planned"]["live"], of_web0["result"]) == ("0-1", "0-3", "would change")
    assert (of_db["config"], of_db["headroom"]) == ("0-1", {"live": None, "config": 6})
    assert page.read_text() == rollout_page(report) + "\n"

    done = fleet.play("rollout", rollout_id="first", rollout_json=str(file))
    assert done.status == 0, done
    assert [observer.enabled_ids(guest.observer) for guest in guests] == [[0, 1, 2, 3], [0, 1], [0, 1, 2], [0, 1, 2]]
    assert config(db) == [0, 1, 5]
    assert [done.recap(host)["changed"] for host in hosts] == [1, 1, 1]
    of_web0 = json.loads(file.read_text())["guests"][0]
    assert (of_web0["live"], of_web0["headroom"]["live"], of_web0["result"]) == ("0-3", 4, "changed")
    record = fleet.record("first", "h3")
    assert record["completed"]
    assert [guest["before"] for guest in record["guests"].values()] == [
        {"live": "0-1", "config": None, "online": None},
        {"live": None, "config": "0-1", "online": None},
    ]

    fleet.environment["ANSIBLE_CALLBACK_RESULT_FORMAT"] = "yaml"
    again = fleet.play("rollout", rollout_id="first")
    lines = [line.rstrip() for line in again.splitlines() if "| h3 " in line]
    assert len(lines) == 4
    assert {(len(line), line.index("| h3 ")) for line in lines[:2]} == {(len(lines[0]), lines[0].index("| h3 "))}
    assert (again.status, [again.recap(host)["changed"] for host in hosts]) == (0, [0, 0, 0])
    assert fleet.record("first", "h3") == record


def test_a_failing_wave_is_reverted_with_all_before_it_and_nothing_else(
    boot: Boot, boot_ospm: BootOspm, tmp_path: Path
) -> None:
    # Under TCG, because a KVM may not accept a vCPU again.
    web1, web2 = (
        boot_ospm(**options, name=name, accel="tcg") for name, options in (("web1", TWO_NODES), ("web2", THREE))
    )
    web3 = boot(**PAUSED, name="web3")
    db1, db2 = shut_off(tmp_path / "db1.xml"), shut_off(tmp_path / "db2.xml")
    web2.ospm.refuse(2, status=128)
    hosts = {
        "h1": [by_count(web1, 4), {"domain_xml": str(db1), "count": 3}],
        "h2": [by_count(web2, 2), {"domain_xml": str(db2), "count": 4}],
        "h3": [by_count(web3, 4)],
    }
    fleet = Hypervisors(tmp_path, hosts)

    failed = fleet.play("rollout", rollout_id="one", rollout_serial=1)
    assert failed.status == 2
    assert failed.row("web2", 1) == ["h2", "0-2", "0-2", "unplug 2 (refused)", "failed: unplug_refused"]
    assert failed.row("db2", 1) == ["h2", "0-1", "0-3", "enable 2-3", "changed"]
    assert failed.row("db2") == ["h2", "0-3", "0-1", "disable 2-3", "reverted"]
    assert failed.row("web3", 1) == ["h3", "0-1", "", "", "not started"]
    assert "web2 on h2: could not unplug vCPU 2" in failed.text
    assert [observer.enabled_ids(guest.observer) for guest in (web1, web2, web3)] == [[0, 1], [0, 1, 2], [0, 1]]
    assert (config(db1), config(db2)) == ([0, 1], [0, 1])
    assert "not started: h3" in failed
    assert not (fleet.state / "one" / "h3.json").exists()

    kept = fleet.play("rollout", rollout_id="one", rollout_serial=1, rollout_on_failure="keep")
    assert kept.status == 2
    assert (observer.enabled_ids(web1.observer), config(db1), config(db2)) == ([0, 1, 2, 3], [0, 1, 2], [0, 1, 2, 3])
    observer.plug(web1.observer, 7)

    reverted = fleet.play("revert", rollout_id="one")
    assert reverted.status == 0, reverted
    assert observer.enabled_ids(web1.observer) == [0, 1, 2, 3, 7]
    assert reverted.row("web1") == [
        "h1",
        "0-3,7",
        "",
        "",
        "left alone: changed since, live was 0-3 after the rollout, is 0-3,7",
    ]
    assert (config(db1), config(db2)) == ([0, 1], [0, 1])

    again = fleet.play("revert", rollout_id="one")
    assert (again.status, [again.recap(host)["changed"] for host in hosts]) == (0, [0, 0, 0])
    assert observer.enabled_ids(web1.observer) == [0, 1, 2, 3, 7]

    unknown = fleet.play("revert", rollout_id="none")
    assert unknown.status == 2
    assert "Rollouts that have records: one. Set rollout_id" in unknown.text


def test_two_guests_of_one_name_on_one_hypervisor_are_distinguished(newest_daemon: Daemon, tmp_path: Path) -> None:
    with Daemon(newest_daemon.release) as other, contextlib.ExitStack() as domains:
        booted_with = {newest_daemon: 2, other: 3}
        web1, another = (
            domains.enter_context(
                LibvirtGuest(daemon, name="web1", start=False, boot=False, vcpus=f"<vcpu current='{count}'>8</vcpu>")
            )
            for daemon, count in booted_with.items()
        )
        guests = [{"name": "web1", "uri": daemon.uri, "count": count + 2} for daemon, count in booted_with.items()]
        fleet = Hypervisors(tmp_path, {"h1": guests}, newest_daemon, rollout_id="both")
        done = fleet.play("rollout")
        assert done.status == 0, done
        assert done.row(f"web1 (web1 at {newest_daemon.uri})") == ["h1", "0-1", "0-3", "enable 2-3", "changed"]
        assert done.row(f"web1 (web1 at {other.uri})") == ["h1", "0-2", "0-4", "enable 3-4", "changed"]
        recorded = fleet.record("both", "h1")["guests"]
        after = {key: guest["attempts"][0]["after"]["config"] for key, guest in recorded.items()}
        assert after == {f"web1 at {newest_daemon.uri}": "0-3", f"web1 at {other.uri}": "0-4"}
        assert (enabled_at_boot(web1), enabled_at_boot(another)) == (4, 5)

        file, page = tmp_path / "revert.json", tmp_path / "revert.html"
        reverted = fleet.play("revert", rollout_json=str(file), rollout_html=str(page))
        assert reverted.status == 0, reverted
        assert (enabled_at_boot(web1), enabled_at_boot(another)) == (2, 3)
        report = json.loads(file.read_text())
        assert (report["rollout"], report["phase"], report["guests"]) == ("both", "revert", [])
        found = sorted((guest["config"], guest["headroom"]["config"], guest["result"]) for guest in report["reverted"])
        assert found == [("0-1", 6, "reverted"), ("0-2", 5, "reverted")]
        assert page.read_text() == rollout_page(report) + "\n"
        assert "nothing is left to revert" in fleet.play("revert")


def test_a_guest_that_has_a_template_as_its_name_is_only_shown(boot: Boot, tmp_path: Path) -> None:
    guests = [boot(**PAUSED, name="{{6*7}}") for _number in range(2)]
    fleet = Hypervisors(tmp_path, {"h1": [by_count(guest, 3) for guest in guests]}, rollout_id="hostile")
    done = fleet.play("rollout")
    assert done.status == 0, done
    for guest in guests:
        assert done.row(f"{{{{6*7}}}} ({guest.qmp_socket})") == ["h1", "0-1", "0-2", "plug 2", "changed"]
    # Paused guests release no vCPU.
    reverted = fleet.play("revert")
    assert reverted.row(f"{{{{6*7}}}} ({guests[0].qmp_socket})")[-1] == "failed: guest_not_ready"
    assert f"{{{{6*7}}}} ({guests[0].qmp_socket}) on h1: " in reverted.text


def test_an_interrupted_rollout_continues_and_can_still_be_reverted_to_its_beginning(
    boot_ospm: BootOspm, tmp_path: Path
) -> None:
    web2 = boot_ospm(**THREE, accel="tcg")
    db1, db3 = shut_off(tmp_path / "db1.xml"), shut_off(tmp_path / "db3.xml")
    hosts = {
        "h1": [{"domain_xml": str(db1), "count": 3}],
        "h2": [by_count(web2, 2)],
        "h3": [{"domain_xml": str(db3), "count": 4}],
    }
    fleet = Hypervisors(tmp_path, hosts)
    web2.ospm.hold(2, times=1)
    with fleet.begin("rollout", rollout_serial=1):
        web2.ospm.wait("hold 2", timeout=PATIENCE)
    assert (config(db1), config(db3)) == ([0, 1, 2], [0, 1])
    rollout = next(fleet.state.iterdir()).name
    assert next(iter(fleet.record(rollout, "h2")["guests"].values()))["attempts"][0]["open"]
    web2.ospm.release()
    observer.wait_enabled(web2.observer, [0, 1])

    continued = fleet.play("rollout", rollout_serial=1)
    assert continued.status == 0, continued
    assert [continued.recap(host)["changed"] for host in hosts] == [0, 0, 1]
    assert (config(db1), observer.enabled_ids(web2.observer), config(db3)) == ([0, 1, 2], [0, 1], [0, 1, 2, 3])

    assert fleet.play("revert").status == 0
    assert (config(db1), observer.enabled_ids(web2.observer), config(db3)) == ([0, 1], [0, 1, 2], [0, 1])


def test_libvirt_guests_are_verified_and_reverted(
    newest_daemon: Daemon, newest_domain: Domains, tmp_path: Path
) -> None:
    plugged = newest_domain(**TWO_CELLS, name="plugged", agent=True, as_kvm=True)
    onlined = newest_domain(**TWO_CELLS, name="onlined", agent=True, vcpus="<vcpu current='3'>8</vcpu>")
    uri = {"uri": newest_daemon.uri}
    hosts = {"h1": [{"name": "plugged", "count": 4}, {"name": "onlined", "method": "agent", "count": 2}]}
    fleet = Hypervisors(tmp_path, hosts, newest_daemon, kvm_hotplug_defaults=uri, rollout_id="both")
    done = fleet.play("rollout")
    assert done.status == 0, done
    assert done.row("plugged") == ["h1", "0-1", "0-3", "plug 2-3, online 2-3, enable 2-3", "changed"]
    assert done.row("onlined", 0)[-2:] == ["offline 2", ""]
    assert (len(observer.guest_cpus(plugged)), len(observer.guest_cpus(onlined))) == (4, 2)

    audit = fleet.play("audit")
    assert audit.row("plugged") == ["h1", "running", "0-3", "0-3", ""]

    reverted = fleet.play("revert")
    assert reverted.status == 0, reverted
    assert (observer.enabled_ids(plugged.observer), observer.enabled_ids(onlined.observer)) == ([0, 1], [0, 1, 2])
    assert (len(observer.guest_cpus(plugged)), len(observer.guest_cpus(onlined))) == (2, 3), reverted
    again = fleet.play("revert")
    assert (again.status, "nothing is left to revert" in again) == (0, True)
