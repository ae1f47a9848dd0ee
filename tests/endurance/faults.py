# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults at random moments of a run: peers that are killed, files that cannot be written or that others change."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from random import Random

from endurance import runs
from endurance.kills import check_recovery, desired, wish
from endurance.runs import Outcome
from endurance.subjects import DOMAIN, Direct, Domain, calm, direct, enabled_in

# What a run may report whose peer was killed.
OF_LOST_PEERS = (None, "connection_lost", "monitor_unreachable", "guest_not_running", "guest_not_found")


def qemu_killed(folder: Path, random: Random, usual: float) -> str:
    """Kill QEMU during a run; a run with the guest's next QEMU converges."""
    with direct(folder) as subject:
        before = subject.seen()
        wanted = wish(random, before)
        run = runs.start(desired(subject, wanted))
        time.sleep(random.uniform(0.3, 1.0) * usual)
        os.kill(subject.guest.pid, signal.SIGKILL)
        _check(run.end(), OF_LOST_PEERS)
        text = subject.file.read_text(encoding="utf-8")
        # vCPUs that were plugged before QEMU ended are enabled in the config too.
        goal = frozenset(wanted)
        assert before.config & goal <= enabled_in(text) <= before.config | goal, text
        again = runs.run({**desired(subject, wanted), "scope": "config"})
        assert (again.get("error_code"), enabled_in(subject.file.read_text())) == (None, frozenset(wanted)), again
        assert [path.name for path in subject.folder.iterdir()] == ["lab.xml"]
    return "QEMU killed"


def domain_killed(subject: Domain, random: Random, usual: float) -> str:
    """Kill the QEMU of a domain during a run; the next run after its start converges."""
    before = calm(subject)
    wanted = wish(random, before)
    run = runs.start(desired(subject, wanted), subject.client)
    time.sleep(random.uniform(0.3, 1.0) * usual)
    os.kill(subject.guest.pid, signal.SIGKILL)
    _check(run.end(), OF_LOST_PEERS)
    _until_shut_off(subject)
    subject.guest.start()
    subject.guest.wait_ready()
    # The domain has started with what its config was then.
    check_recovery(subject, subject.seen(), wanted)
    return "QEMU of a domain killed"


def _until_shut_off(subject: Domain) -> None:
    deadline = time.monotonic() + 20
    while subject.guest.state != "shut off":
        assert time.monotonic() < deadline, subject.guest.state
        time.sleep(0.02)


def libvirtd_killed(subject: Domain, random: Random, usual: float) -> str:
    """Kill libvirtd during a run; the next run after its start converges."""
    before = calm(subject)
    wanted = wish(random, before)
    run = runs.start(desired(subject, wanted), subject.client)
    time.sleep(random.uniform(0.3, 1.0) * usual)
    subject.guest.daemon.stop_daemon(hard=True)
    outcome = run.end()
    subject.guest.daemon.start_daemon()
    _check(outcome, OF_LOST_PEERS)
    check_recovery(subject, before, wanted)
    return "libvirtd killed"


# Mounts a file system in a namespace of its own, so that nothing of it is left. $1 is the folder, $2 its options.
FULL = """
cp -p "$1/lab.xml" "$1/../kept.xml" && mount -t tmpfs -o "$2" none "$1" &&
    cp -p "$1/../kept.xml" "$1/lab.xml" || exit 99
dd if=/dev/zero of="$1/filler" bs=4096 2>/dev/null
folder=$1; shift 2; "$@"; status=$?; rm "$folder/filler"; ls -A "$folder" >&2; cat "$folder/lab.xml" >&2; exit $status
"""
READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 99
folder=$1; shift 2; "$@"; status=$?; ls -A "$folder" >&2; cat "$folder/lab.xml" >&2; exit $status
"""
MOUNTS = {"full": (FULL, "size=16k,mode=755"), "read-only": (READ_ONLY, "-")}


def can_mount() -> bool:
    """Whether this user may mount in a namespace of its own."""
    return subprocess.run(_unshared("true"), capture_output=True, check=False).returncode == 0


def _unshared(*command: str) -> list[str]:
    own = [] if os.geteuid() == 0 else ["--map-root-user", "--user"]
    return ["unshare", *own, "--mount", *command]


def file_system(subject: Direct, random: Random, kind: str) -> str:
    """Have a run write to a file system that is full or read-only: the file stays as it is, and nothing is left."""
    before = calm(subject)
    wanted = wish(random, before)
    script, options = MOUNTS[kind]
    wrapper = _unshared("sh", "-c", script, "sh", str(subject.folder), options)
    request = {**desired(subject, wanted), "backup": random.random() < 0.5}
    outcome = runs.start(request, wrapper=wrapper).end()
    assert outcome.result is not None, outcome
    assert "Traceback" not in outcome.out + outcome.err, outcome
    names, _newline, text = outcome.err.partition("\n")
    writes = frozenset(wanted) != before.config
    assert (names, text) == ("lab.xml", before.text), f"the folder has {names}, the file {text}"
    assert outcome.result.get("error_code") == ("config_invalid" if writes else None), outcome.result
    assert outcome.result["changed"] == (subject.seen() != before), outcome.result
    check_recovery(subject, before, wanted)
    return f"file system {kind}"


def file_changed(subject: Direct, random: Random, usual: float, number: int) -> str:
    """Have another process replace or rewrite the file during a run, without locking it: its change is kept."""
    before = calm(subject)
    wanted = wish(random, before)
    mark = f"changed {number}"
    theirs = DOMAIN.format(title=mark)
    run = runs.start(desired(subject, wanted))
    time.sleep(random.uniform(0.3, 1.0) * usual)
    if random.random() < 0.5:
        subject.file.write_text(theirs, encoding="utf-8")
    else:
        new = subject.folder.parent / "theirs.xml"
        new.write_text(theirs, encoding="utf-8")
        new.replace(subject.file)
    # A file that is being rewritten in place may be read empty.
    outcome = run.end()
    _check(outcome, (None, "config_locked", "config_invalid"))
    after = subject.seen()
    assert mark in after.text, f"a change by another process was lost: {after.text}"
    # A run that has planned before that applies its steps to their file, and warns if that is not the desired state.
    warned = "changed by something else" in str(outcome.result)
    assert after.text == theirs or warned or after.config == frozenset(wanted), f"{outcome}: {after.text}"
    check_recovery(subject, after, wanted)
    assert mark in subject.seen().text
    return "file changed by another process"


def _check(outcome: Outcome, codes: tuple[str | None, ...]) -> None:
    outcome.check()
    assert outcome.result is not None, outcome
    assert outcome.result.get("error_code") in codes, outcome.result
