# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Audits: every drift in a table and a file, and nothing changed."""

from __future__ import annotations

import json
from pathlib import Path

from ansible_collections.kvm.hotplug.plugins.plugin_utils.page.render import audit_page
from lab import observer

from .conftest import Boot
from .support.playbooks import Hypervisors
from .test_rollout import PAUSED, by_count, shut_off


def test_an_audit_shows_every_drift_in_a_table_and_a_file_and_changes_nothing(boot: Boot, tmp_path: Path) -> None:
    fine, other, dead, unnamed = (boot(**PAUSED, name=name) for name in ("fine", "other", "dead", "unnamed"))
    # A guest's domain XML has the guest's name.
    of_other = shut_off(tmp_path / "other.xml")
    hosts = {
        "h1": [by_count(fine, 2)],
        "h2": [{**by_count(other, 4), "domain_xml": str(of_other)}],
        "h3": [by_count(dead, 2)],
    }
    fleet = Hypervisors(tmp_path, hosts, audit_qmp_sockets=[unnamed.qmp_socket, fine.qmp_socket])
    observer.plug(other.observer, 5)
    dead.kill()
    file, page = tmp_path / "audit.json", tmp_path / "audit.html"

    audit = fleet.play("audit", audit_json=str(file), audit_html=str(page))
    assert (audit.status, [audit.recap(host)["changed"] for host in hosts]) == (0, [0, 0, 0])
    assert audit.row("fine", 0) == ["h1", "paused", "0-1", "-", ""]
    assert audit.row("other") == ["h2", "paused", "0-1,5", "0-1", "config: 5, desired: plug 2, enable 2,5"]
    assert audit.row(dead.qmp_socket) == ["h3", "unknown", "-", "-", "monitor_unreachable"]
    report = json.loads(file.read_text())
    of_h1 = {guest["guest"]: guest for guest in report["guests"] if guest["hypervisor"] == "h1"}
    of_h2 = {guest["guest"]: guest for guest in report["guests"] if guest["hypervisor"] == "h2"}
    assert of_h2["other"]["drift"] == {"config": "5", "libvirt": "", "placement": "", "desired": "plug 2, enable 2,5"}
    assert of_h1["fine"]["drift"] == {"config": "", "libvirt": "", "placement": "", "desired": ""}
    assert (set(of_h1), report["failures"]) == ({"fine", "unnamed"}, [])
    assert observer.enabled_ids(other.observer) == [0, 1, 5]
    assert len(of_h2["other"]["cores"]) == 8
    assert of_h2["other"]["cores"][5] == {"node": 1, "socket": 2, "core": 1, "vcpus": "5"}
    assert of_h2["other"]["headroom"] == {"live": 5, "config": 6}
    assert of_h2["other"]["planned"]["live"] == "0-2,5"
    assert of_h1["unnamed"]["headroom"] == {"live": 6, "config": None}
    assert page.read_text() == audit_page(report) + "\n"

    written = [(path.stat().st_mtime_ns, path.stat().st_ino) for path in (file, page)]
    failed = fleet.play("audit", "--check", audit_json=str(file), audit_html=str(page), audit_fail_on_drift=True)
    assert [(path.stat().st_mtime_ns, path.stat().st_ino) for path in (file, page)] == written
    assert failed.status == 2
    assert "other on h2: config: 5, desired: plug 2, enable 2,5" in failed.text


def test_an_audit_lists_the_daemons_and_sockets_that_it_could_not_inspect(boot: Boot, tmp_path: Path) -> None:
    fine = boot(**PAUSED, name="fine")
    fleet = Hypervisors(tmp_path, {"h1": [by_count(fine, 2)]}, audit_qmp_sockets=["/nowhere/*.sock"])
    file = tmp_path / "audit.json"
    audit = fleet.play("audit", audit_json=str(file))
    assert (audit.status, audit.row("fine")[-1]) == (0, "")
    assert "audit_qmp_sockets on h1: conflicting_request: qmp_sockets: no file matches /nowhere/*.sock" in audit.text
    assert "0 of 1 guests have drifted or could not be inspected" in audit
    assert [one["error_code"] for one in json.loads(file.read_text())["failures"]] == ["conflicting_request"]
    assert fleet.play("audit", audit_fail_on_drift=True).status == 2


def test_an_audit_covers_the_guests_that_the_inventory_shows(boot: Boot, tmp_path: Path) -> None:
    web = boot(**PAUSED, name="web")
    fleet = Hypervisors(tmp_path, {"h1": []}, kvm_hotplug_guests=["shown"])
    inventory = json.loads(fleet.inventory.read_text())
    shown = {"shown": {"kvm_hotplug_options": {"qmp_socket": web.qmp_socket}}}
    fleet.inventory.write_text(json.dumps({**inventory, "guests": {"hosts": shown}}))
    audit = fleet.play("audit")
    assert (audit.status, audit.row("web")) == (0, ["h1", "paused", "0-1", "-", ""])
