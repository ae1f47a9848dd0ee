# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test whether this host's KVM accepts a vCPU again that has run, with a virtual machine of one instruction.

QEMU parks the KVM vCPU of an unplugged CPU and reuses it when that CPU is plugged again: it sets the same CPUID once
more (KVM_SET_CPUID2). After a vCPU has run, Linux accepts that only if nothing changed; Linux 5.16 never does, and a
kernel that adds to the given CPUID compares with its own. QEMU exits if it is refused.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import functools
import mmap
import os
import platform
import struct

# linux/kvm.h
_CREATE_VM = 0xAE01
_GET_VCPU_MMAP_SIZE = 0xAE04
_GET_SUPPORTED_CPUID = 0xC008AE05
_CREATE_VCPU = 0xAE41
_SET_USER_MEMORY_REGION = 0x4020AE46
_RUN = 0xAE80
_SET_REGS = 0x4090AE82
_GET_SREGS = 0x8138AE83
_SET_SREGS = 0x4138AE84
_SET_CPUID2 = 0x4008AE90
_EXIT_IO = 2

_CPUID_ENTRIES = 256
_CPUID_SIZE = 8 + 40 * _CPUID_ENTRIES
_REGS_SIZE = 144
_SREGS_SIZE = 312
# In struct kvm_regs: after 16 general registers, the instruction pointer and the flags, of which bit 1 is always set.
_RIP_AND_FLAGS = 128
# In struct kvm_sregs, whose first segment is the code's: base, limit, selector.
_CODE_SELECTOR = 12
_EXIT_REASON = 8
# out %al, $0x80: exits the virtual machine immediately, whatever the state of its interrupts.
_PROGRAM = b"\xe6\x80"


@functools.cache
def takes_back_vcpus() -> bool | None:
    """Return whether a vCPU that has run can be plugged again; None if it cannot be tested."""
    if platform.machine() != "x86_64":
        return None
    try:
        return _set_cpuid_again()
    except OSError:
        return None


async def query_takes_back() -> bool | None:
    """Return the same without blocking the event loop while the kernel is tested, which is once."""
    if takes_back_vcpus.cache_info().currsize:
        return takes_back_vcpus()
    return await asyncio.to_thread(takes_back_vcpus)


def _set_cpuid_again() -> bool | None:
    """Raises ``OSError`` without KVM, or without permission to use it."""
    opened: list[int] = []
    try:
        kvm = _kept(opened, os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
        machine = _kept(opened, fcntl.ioctl(kvm, _CREATE_VM, 0))
        memory = mmap.mmap(-1, mmap.PAGESIZE)
        memory[: len(_PROGRAM)] = _PROGRAM
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        fcntl.ioctl(machine, _SET_USER_MEMORY_REGION, struct.pack("=IIQQQ", 0, 0, 0, len(memory), address))
        vcpu = _kept(opened, fcntl.ioctl(machine, _CREATE_VCPU, 0))
        cpuid = bytearray(_CPUID_SIZE)
        struct.pack_into("=I", cpuid, 0, _CPUID_ENTRIES)
        fcntl.ioctl(kvm, _GET_SUPPORTED_CPUID, cpuid)
        fcntl.ioctl(vcpu, _SET_CPUID2, cpuid)
        _start_at_zero(vcpu)
        with mmap.mmap(vcpu, fcntl.ioctl(kvm, _GET_VCPU_MMAP_SIZE)) as shared:
            fcntl.ioctl(vcpu, _RUN, 0)
            if struct.unpack_from("=I", shared, _EXIT_REASON) != (_EXIT_IO,):
                return None
        try:
            fcntl.ioctl(vcpu, _SET_CPUID2, cpuid)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return False
        return True
    finally:
        for number in reversed(opened):
            os.close(number)


def _kept(opened: list[int], number: int) -> int:
    opened.append(number)
    return number


def _start_at_zero(vcpu: int) -> None:
    """Set a new vCPU to the start of its memory, in real mode."""
    segments = bytearray(_SREGS_SIZE)
    fcntl.ioctl(vcpu, _GET_SREGS, segments)
    struct.pack_into("=Q", segments, 0, 0)
    struct.pack_into("=H", segments, _CODE_SELECTOR, 0)
    fcntl.ioctl(vcpu, _SET_SREGS, segments)
    registers = bytearray(_REGS_SIZE)
    struct.pack_into("=QQ", registers, _RIP_AND_FLAGS, 0, 2)
    fcntl.ioctl(vcpu, _SET_REGS, registers)
