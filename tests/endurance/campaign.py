# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A campaign: rounds of kills, races and faults, whose random numbers follow from a seed."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeVar

from endurance import faults, kills, races
from endurance.subjects import Direct, Domain, Subject, direct, domain
from lab import LabError, kvm
from lab.daemon import Daemon

S = TypeVar("S", bound=Subject)
Where = TypeVar("Where")
Guest = contextlib.AbstractContextManager[S]

# A playbook needs as much more than the module, which Ansible starts in it.
OF_ANSIBLE = 1.2
# After so many rounds a line is printed.
SHOWN_ROUNDS = 20


class Counts(NamedTuple):
    """How many rounds there are of each; kills and races are divided between QMP and libvirt."""

    kills: int
    playbooks: int
    races: int
    faults: int


class Part(NamedTuple):
    """Rounds of one kind; each gets its random numbers and its number, and returns what was done."""

    name: str
    rounds: int
    play: Callable[[Random, int], str]


@dataclass
class Record:
    """What was done, how often, the failures, and the seconds that it took."""

    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


def carry_out(parts: Sequence[Part], seed: str, record: Record, only: tuple[str, int] | None = None) -> None:
    """Play all rounds, or ``only`` the one of this part and number; a failure does not end the campaign."""
    began = time.monotonic()
    for part in parts:
        failed = len(record.failures)
        for number in range(part.rounds):
            if only not in (None, (part.name, number)):
                continue
            try:
                record.done[part.name, part.play(Random(f"{seed}/{part.name}/{number}"), number)] += 1
            except (AssertionError, LabError, OSError) as error:
                record.failures.append(f"SEED={seed} ROUND='{part.name}/{number}': {error!r:.3000}")
                print(record.failures[-1], flush=True)
            if number % SHOWN_ROUNDS == SHOWN_ROUNDS - 1:
                print(f"{part.name}: {number + 1} of {part.rounds}", flush=True)
        held = sum(count for (name, _what), count in record.done.items() if name == part.name)
        print(f"{part.name}: {held} held, {len(record.failures) - failed} failed", flush=True)
    record.seconds += time.monotonic() - began


@contextlib.contextmanager
def over_qmp(folder: Path, counts: Counts) -> Iterator[list[Part]]:
    """Give the parts with a guest that is not managed by libvirt."""
    with _guests(direct, folder / "guest", kvm.accelerator()) as guests:
        yield list(_of_direct(guests, folder, counts))


@contextlib.contextmanager
def over_libvirt(folder: Path, counts: Counts, release: str) -> Iterator[list[Part]]:
    """Give the parts with a domain."""
    with Daemon(release) as daemon, _guests(domain, daemon, kvm.domains_accelerator()) as guests:
        yield list(_of_domain(guests, folder, counts))


@contextlib.contextmanager
def _guests(start: Callable[[Where], Guest[S]], where: Where, accelerator: str) -> Iterator[Callable[[], Guest[S]]]:
    """Give a function that returns the guest of a round: always the same, or under TCG a new one.

    Under TCG, QEMU aborts once more vCPUs were plugged in its life than the machine can have.
    """
    with contextlib.nullcontext() if accelerator == "tcg" else start(where) as subject:
        yield lambda: start(where) if subject is None else contextlib.nullcontext(subject)


def _usual_seconds(guests: Callable[[], Guest[S]]) -> float:
    with guests() as subject:
        return min(kills.usual_seconds(subject, Random(number)) for number in range(3))


def _with(guests: Callable[[], Guest[S]], play: Callable[[S, Random, int], str]) -> Callable[[Random, int], str]:
    """Return the function that plays a round with its guest."""

    def play_with_guest(random: Random, number: int) -> str:
        with guests() as subject:
            return play(subject, random, number)

    return play_with_guest


def _of_direct(guests: Callable[[], Guest[Direct]], folder: Path, counts: Counts) -> Iterator[Part]:
    usual = _usual_seconds(guests)
    yield from _of_both("QMP", guests, folder, counts, usual)
    yield Part("QEMU killed", counts.faults, lambda r, n: faults.qemu_killed(folder / f"qemu-{n}", r, usual))
    changed = _with(guests, lambda subject, r, n: faults.file_changed(subject, r, usual, n))
    yield Part("file changed", counts.faults, changed)
    if faults.can_mount():
        for kind in faults.MOUNTS:
            yield _of_file_system(guests, counts, kind)


def _of_file_system(guests: Callable[[], Guest[Direct]], counts: Counts, kind: str) -> Part:
    play = _with(guests, lambda subject, r, _n: faults.file_system(subject, r, kind))
    return Part(f"file system {kind}", counts.faults, play)


def _of_domain(guests: Callable[[], Guest[Domain]], folder: Path, counts: Counts) -> Iterator[Part]:
    usual = _usual_seconds(guests)
    yield from _of_both("libvirt", guests, folder, counts, usual)
    libvirtd = _with(guests, lambda subject, r, _n: faults.libvirtd_killed(subject, r, usual))
    yield Part("libvirtd killed", counts.faults, libvirtd)
    qemu = _with(guests, lambda subject, r, _n: faults.domain_killed(subject, r, usual))
    yield Part("domain killed", counts.faults, qemu)


def _of_both(way: str, guests: Callable[[], Guest[S]], folder: Path, counts: Counts, usual: float) -> Iterator[Part]:
    module = _with(guests, lambda subject, r, _n: kills.kill_module(subject, r, usual))
    yield Part(f"kill over {way}", counts.kills // 2, module)
    playbook = _with(guests, lambda subject, r, _n: kills.kill_playbook(subject, r, usual + OF_ANSIBLE, folder))
    yield Part(f"playbook killed over {way}", counts.playbooks // 2, playbook)
    race = _with(guests, lambda subject, r, n: (races.race_together if n % 2 else races.race_apart)(subject, r))
    yield Part(f"race over {way}", counts.races // 2, race)
