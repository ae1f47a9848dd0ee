# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kills of the module and of whole playbooks at random moments: nothing is torn, and the next run converges."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from random import Random
from typing import Any

from endurance import runs
from endurance.runs import Outcome, Started
from endurance.subjects import PLUGGED, Seen, Subject, calm

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def wish(random: Random, seen: Seen) -> list[int]:
    """Return a desired set of enabled vCPUs that differs from what is enabled."""
    while True:
        wanted = {0, *random.sample(PLUGGED, random.randint(0, len(PLUGGED)))}
        if wanted not in seen.enabled:
            return sorted(wanted)


def desired(subject: Subject, wanted: list[int]) -> dict[str, Any]:
    """Return the options of a run.

    Forced, because the vCPUs come back: these guests run no code on them, which QEMU cannot report.
    """
    return {**subject.source, "enabled": ",".join(str(vcpu) for vcpu in wanted), "force": True, "details": "full"}


def usual_seconds(subject: Subject, random: Random) -> float:
    """Return how long a run takes that changes the guest, without a disturbance."""
    began = time.monotonic()
    runs.run(desired(subject, wish(random, subject.seen())), subject.client)
    return time.monotonic() - began


def kill_module(subject: Subject, random: Random, usual: float) -> str:
    """Kill one run of the module at a random moment, and check what is left; return the signal's name."""
    before = calm(subject)
    wanted = wish(random, before)
    number = random.choice(SIGNALS)
    run = runs.start(desired(subject, wanted), subject.client)
    _kill(run, random, number, usual, group=False)
    outcome = run.end()
    outcome.check(startup=True)
    after = subject.seen()
    _check_interrupted(outcome, before, after, number)
    check_recovery(subject, before, wanted)
    return number.name


def kill_playbook(subject: Subject, random: Random, usual: float, folder: Path) -> str:
    """Kill one run of ``ansible-playbook`` at a random moment: its first process, or all."""
    before = calm(subject)
    wanted = wish(random, before)
    number = random.choice(SIGNALS)
    run = runs.start_playbook(folder, desired(subject, wanted), subject.client)
    _kill(run, random, number, usual, group=random.random() < 0.5)
    outcome = run.end()
    text = outcome.out + outcome.err
    assert "\x1b" not in text, text
    assert "kvm/hotplug" not in text or "Traceback" not in text, text
    check_recovery(subject, before, wanted)
    return number.name


def _kill(run: Started, random: Random, number: signal.Signals, usual: float, group: bool) -> None:
    # Most of the time at moments when the module itself runs, and not Python's start.
    time.sleep(random.uniform(0.3 if random.random() < 0.8 else 0.0, 1.05) * usual)
    run.send(number, group)


def _check_interrupted(outcome: Outcome, before: Seen, after: Seen, number: signal.Signals) -> None:
    """Check how a run ended that got a signal, and that its result is true."""
    changed = (before.live, before.text) != (after.live, after.text)
    if outcome.result is None:
        assert outcome.status == -number or outcome.stopped_python_itself, outcome
        assert number == signal.SIGKILL or not changed, f"{number.name} ended a run that does not report its changes"
        return
    result = outcome.result
    # A process that has printed its result may still get the signal while it ends.
    assert outcome.status in (1 if result.get("failed") else 0, -number), outcome
    assert result.get("error_code") in (None, "connection_lost"), result
    unknown = [step for step in result["steps"] if step["status"] in ("pending", "failed")]
    enabled = f"{before.enabled} before, {after.enabled} after"
    assert result["changed"] == changed or unknown, f"{number.name}: {enabled}, in {outcome.out}; {before}, {after}"


def check_recovery(subject: Subject, before: Seen, wanted: list[int]) -> None:
    """Check a guest after a run that was killed; then run twice more, the second time without a change."""
    left = calm(subject)
    goal = frozenset(wanted)
    for was, now in zip(before.enabled, left.enabled):
        assert was & goal <= now <= was | goal, f"from {sorted(was)} to {wanted}: {sorted(now)}"
    second = runs.run(desired(subject, wanted), subject.client)
    reached = subject.seen()
    assert second.get("error_code") is None, second
    assert reached.enabled == (goal, goal), f"{reached.enabled} instead of {wanted}: {second}"
    assert second["changed"] == (left != reached), f"changed is {second['changed']}, before {left}, after {reached}"
    assert left.text in (before.text, reached.text), f"the config was torn: {left.text}"
    assert not subject.leftovers(), subject.leftovers()
    third = runs.run(desired(subject, wanted), subject.client)
    assert (third["changed"], third["steps"], third.get("error_code")) == (False, [], None), third
    assert "may be unplugged at any time" not in third.warnings, third.warnings
    assert subject.seen() == reached
