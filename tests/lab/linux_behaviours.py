# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make a Linux guest refuse or delay unplugs, and accept them again."""

from __future__ import annotations

from . import LabError
from .contact import Contact
from .observer import Monitor, slot_of

# A task with a deadline has its time reserved on the CPU, which the kernel then cannot give up. The CPU has to be
# a scheduling domain of its own for that, and a CPU that has just come online cannot be one at once.
REFUSE = """
    if [ ! -d /run/cgroup ]; then
        mkdir /run/cgroup && mount -t cgroup2 cgroup /run/cgroup || exit
    fi
    cd /run/cgroup && echo +cpuset > cgroup.subtree_control && mkdir cpu{cpu} && cd cpu{cpu} || exit
    for attempt in $(seq 100); do
        echo {cpu} > cpuset.cpus && echo root > cpuset.cpus.partition
        [ "$(cat cpuset.cpus.partition) $(cat cpuset.cpus.effective)" = "root {cpu}" ] && break
        echo member > cpuset.cpus.partition
        usleep 20000
    done
    (echo 0 > cgroup.procs && exec chrt -d -T 18000000 -P 20000000 -D 20000000 0 sleep 1000000) &
    for attempt in $(seq 100); do
        # The kernel may lose track of the task if its CPU is to go while it still runs.
        case $(cat /proc/$!/stat) in *"(sleep) S"*) usleep 50000; exit 0 ;; esac
        usleep 20000
    done
    exit 1
"""
# The reserved time is given back a period after the task's end, which is a while after the signal.
ALLOW = """
    cd /run/cgroup/cpu{cpu} && kill $(cat cgroup.procs) || exit
    while [ -n "$(cat cgroup.procs)" ]; do usleep 10000; done
    usleep 50000
    cd .. && rmdir cpu{cpu}
"""
ALLOW_AFTER = """
    refusals() {{ dmesg | grep -c 'Offline failed'; }}
    last=$(($(refusals) + {times}))
    (until [ $(refusals) -ge $last ]; do usleep 10000; done; {allow}) &
"""


def guest_cpu(guest: Contact, monitor: Monitor, vcpu: int) -> int:
    """Return the guest's own number of a vCPU it has online, found by APIC id (x86)."""
    apic = _apic_id(monitor, vcpu)
    number = -1
    for line in guest.shell("grep -E '^(processor|initial apicid)' /proc/cpuinfo").splitlines():
        key, _colon, value = line.partition(":")
        if key.strip() == "processor":
            number = int(value)
        elif int(value) == apic:
            return number
    raise LabError(f"the guest has no CPU with APIC id {apic} (vCPU {vcpu}) online")


def _apic_id(monitor: Monitor, vcpu: int) -> int:
    return int(monitor.execute("qom-get", path=slot_of(monitor, vcpu)["qom-path"], property="apic-id"))


def refuse(guest: Contact, cpu: int, times: int = 0) -> None:
    """Let the guest refuse to offline one CPU, as busy (status 130): until `allow`, or a number of times."""
    guest.shell(REFUSE.format(cpu=cpu))
    if times:
        guest.shell(ALLOW_AFTER.format(times=times, allow=ALLOW.format(cpu=cpu)))


def allow(guest: Contact, cpu: int) -> None:
    """Undo `refuse`."""
    guest.shell(ALLOW.format(cpu=cpu))


def forbid_ejects(guest: Contact, forbidden: bool = True) -> None:
    """Let the guest refuse every CPU's eject, as not supported (status 128); or allow them again."""
    guest.shell(f"echo {int(not forbidden)} > /sys/firmware/acpi/hotplug/processor/enabled")


def delay_unplugs(guest: Contact, cpu: int) -> None:
    """Let the guest begin to offline a CPU on request, and not complete it before `stop_delaying`.

    A real-time task keeps the CPU for itself. What would leave a share of it to others, and so to the kernel's own
    work, is turned off: the throttling of real-time tasks, and since Linux 6.12 the fair server.
    """
    guest.shell(
        f"until [ $(cat /sys/devices/system/cpu/cpu{cpu}/online) = 1 ]; do usleep 20000; done; "
        "echo -1 > /proc/sys/kernel/sched_rt_runtime_us; "
        "[ -d /sys/kernel/debug/sched ] || mount -t debugfs debug /sys/kernel/debug; "
        f"server=/sys/kernel/debug/sched/fair_server/cpu{cpu}/runtime; [ ! -e $server ] || echo 0 > $server; "
        f"taskset {1 << cpu:x} chrt -f 98 sh -c 'while :; do :; done' > /dev/null 2>&1 & echo $! > /run/delay-{cpu}; "
        # Not before it has the CPU: until then the guest would do as it is asked.
        "until chrt -p $! | grep -q FIFO && [ $(cut -d ' ' -f 14 /proc/$!/stat) -gt 2 ]; do usleep 10000; done"
    )


def stop_delaying(guest: Contact, cpu: int) -> None:
    """Undo `delay_unplugs`."""
    guest.shell(f"kill $(cat /run/delay-{cpu}); rm /run/delay-{cpu}")
