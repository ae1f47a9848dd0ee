# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Another maximum of the next boot, alone and with a desired state, of guests that run and that are shut off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.writers import DirectSource
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import GuestFacts, Maximum
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import ConfigView
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Source
from ansible_collections.kvm.hotplug.plugins.module_utils.report.info import info_report
from ansible_collections.kvm.hotplug.plugins.module_utils.report.results import convergence_report
from ansible_collections.kvm.hotplug.plugins.module_utils.request.desired_state import CountTarget
from ansible_collections.kvm.hotplug.plugins.module_utils.request.parse import Request
from ansible_collections.kvm.hotplug.plugins.module_utils.run.convergence import Convergence
from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import inspect

from ..support.json_store import JsonFile
from ..support.peer import Peer
from ..support.queries import code, converge, desired, opener, run, steps
from ..support.scripted_qemu import REFUSES_FOR_GOOD, Imitation

StartPeer = Callable[..., Peer]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "guest.json"
    store(file, 8, [0, 1])
    return file


def store(path: Path, maximum: int, enabled: list[int]) -> None:
    path.write_text(json.dumps({"name": "db", "maximum": maximum, "enabled": enabled}), encoding="utf-8")


def stored(path: Path) -> tuple[int, list[int]]:
    found = json.loads(path.read_bytes())
    return found["maximum"], found["enabled"]


def shut_off(path: Path) -> Source:
    return DirectSource(config=JsonFile(path))


def converges(source: Callable[[], Source], path: Path, request: Request) -> Convergence:
    """Check, apply, check and apply again; return what was applied."""
    before = stored(path)
    predicted = converge(source(), request._replace(check_mode=True))
    assert stored(path) == before
    applied = converge(source(), request)
    assert applied.error is None
    assert steps(applied) == [step.replace("planned", "done") for step in steps(predicted)]
    reports = [convergence_report(result) for result in (predicted, applied)]
    assert reports[0]["diff"] == reports[1]["diff"]
    assert reports[0]["headroom"] == reports[1]["headroom"]
    for check in (True, False):
        again = converge(source(), request._replace(check_mode=check))
        assert (again.error, again.changed, steps(again)) == (None, False, [])
    return applied


def test_the_maximum_can_be_all_that_is_desired(path: Path) -> None:
    applied = converges(lambda: shut_off(path), path, Request(None, maximum=Maximum(12)))
    assert steps(applied) == ["add 8-11: done"]
    assert stored(path) == (12, [0, 1])
    report = convergence_report(applied)
    assert report["diff"]["before"].startswith("maximum: config 8\nvCPU 0")
    assert report["diff"]["after"].startswith("maximum: config 12\nvCPU 0")
    assert report["headroom"] == {"live": None, "config": 10}


def test_a_desired_state_is_planned_on_the_new_maximum(path: Path) -> None:
    applied = converges(lambda: shut_off(path), path, Request(desired("10"), maximum=Maximum(12)))
    assert steps(applied) == ["add 8-11: done", "enable 10: done"]
    lowered = converges(lambda: shut_off(path), path, Request(CountTarget(2), maximum=Maximum(4)))
    assert steps(lowered) == ["disable 10: done", "remove 4-11: done"]
    assert stored(path) == (4, [0, 1])


def test_the_maximum_is_never_below_an_enabled_vcpu(path: Path) -> None:
    store(path, 8, [0, 5])
    for check in (True, False):
        refused = converge(shut_off(path), Request(None, maximum=Maximum(4), check_mode=check))
        assert code(refused) == "count_unreachable"
        assert "vCPU 5 is enabled" in str(refused.error)
        assert refused.changed is False
    assert stored(path) == (8, [0, 5])


def test_what_the_store_cannot_have_is_refused(path: Path) -> None:
    assert code(converge(shut_off(path), Request(None, maximum=Maximum(9)))) == "count_unreachable"


def test_a_running_guest_keeps_its_own_maximum(path: Path, peer: StartPeer) -> None:
    machine = peer(Imitation())

    def running() -> Source:
        return DirectSource(opener(machine.address), JsonFile(path))

    applied = converges(running, path, Request(None, maximum=Maximum(12)))
    assert machine.changes == []
    report = convergence_report(applied)
    assert report["guest"]["max_vcpus"] == 8
    assert report["headroom"]["config"] == 10
    assert [vcpu["live"] for vcpu in report["vcpus"]][8:] == [None] * 4
    assert "maximum: live 8, config 12\n" in report["diff"]["after"]

    both = converges(running, path, Request(desired("4"), timeout=10.0))
    assert steps(both) == ["plug 4: done", "enable 4: done"]
    assert code(converge(running(), Request(desired("10")))) == "unknown_vcpu"
    refused = converge(running(), Request(CountTarget(10)))
    assert code(refused) == "count_unreachable"
    assert "option" in str(refused.error)
    assert "maximum and scope: config" in str(refused.error)
    later = converges(running, path, Request(desired("10"), scope="config"))
    assert stored(path) == (12, [0, 1, 4, 10])
    assert "12 vCPUs at most, the running guest 8" in " ".join(later.warnings)
    seen = info_report(run(lambda: inspect(running()))[0])
    assert seen["drift"]["config"] == "10"
    assert seen["vcpus"][9]["can_enable"]["code"] == "unknown_vcpu"
    assert seen["vcpus"][10]["can_disable"] is None
    exact = converges(running, path, Request(CountTarget(3)))
    assert steps(exact) == ["disable 10: done"]


def test_a_vcpu_whose_unplug_fails_is_not_removed(path: Path, peer: StartPeer) -> None:
    store(path, 8, [0, 1, 2])
    machine = peer(Imitation(unplug={1: REFUSES_FOR_GOOD}))
    source = DirectSource(opener(machine.address), JsonFile(path))
    failed = converge(source, Request(desired("0", exclusive=True), maximum=Maximum(1 + 1), timeout=10.0))
    assert failed.error is not None
    assert "remove 2-7" in " ".join(steps(failed))
    assert 1 in stored(path)[1]


def test_a_desired_state_that_only_the_next_boot_can_have_names_scope_config(path: Path, peer: StartPeer) -> None:
    machine = peer(Imitation())
    source = DirectSource(opener(machine.address), JsonFile(path))
    refused = converge(source, Request(CountTarget(10), maximum=Maximum(12)))
    assert code(refused) == "count_unreachable"
    assert "with scope config it sets maximum and the desired state" in str(refused.error)
    assert stored(path) == (8, [0, 1])


def test_live_cannot_have_another_maximum(path: Path, peer: StartPeer) -> None:
    machine = peer(Imitation())
    source = DirectSource(opener(machine.address), JsonFile(path))
    assert code(converge(source, Request(None, scope="current", maximum=Maximum(12)))) == "conflicting_request"
    alone = DirectSource(opener(machine.address))
    assert code(converge(alone, Request(None, maximum=Maximum(12)))) == "conflicting_request"


def test_a_config_with_other_entities_than_the_running_machine_is_not_changed(path: Path, peer: StartPeer) -> None:
    class WithCores(JsonFile):
        async def observe(self, running: GuestFacts | None = None) -> ConfigView:
            view = await super().observe(running)
            assert view.layout is not None
            pair = view.layout.entities[0].__class__(0, (0, 1))
            return view._replace(layout=view.layout._replace(entities=(pair, *view.layout.entities[2:])))

    store(path, 10, [0, 1])
    machine = peer(Imitation())
    refused = converge(DirectSource(opener(machine.address), WithCores(path)), Request(desired("4")))
    assert code(refused) == "config_invalid"
    assert isinstance(refused.error, HotplugError)
