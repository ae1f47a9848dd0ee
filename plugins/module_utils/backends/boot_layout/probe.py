# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start a temporary QEMU to query the CPU slots of a domain that cannot be derived, and remove all of its files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout import probe_cache
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.memory_args import numa_arguments
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.predict import (
    PLAIN_VALUE,
    PSERIES,
    X86,
    ConfigLayout,
    driver_of,
    fixed_layout,
    machine_family,
    topology_of,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.boot_layout.qemu_args import smp_argument
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.machine_validation import check_machine
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.error_texts import classify
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.session import CommandError
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qemu.slots import invalid_reply, read_slots
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.qmp.monitor import Monitor
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    BACKEND_MISSING,
    CONFIG_INVALID,
    HOTPLUG_UNSUPPORTED,
    HotplugError,
    printable,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.timeouts import within

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.backends.domain_xml.domain import Domain

# Run by `python -c`. It executes QEMU, which the kernel kills when the thread of this process ends for any reason.
# setpriv could do that, but not the one of Red Hat Enterprise Linux 8.
_TIED = """
import os, sys
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
except (AttributeError, ImportError, OSError):
    pass
try:
    if os.getppid() == int(sys.argv[1]):
        os.execv(sys.argv[2], sys.argv[2:])
except OSError as error:
    print(error.strerror, flush=True)
os._exit(127)
"""
_NOT_STARTED = (126, 127)

# No guest uses the memory; this size is sufficient to start every machine.
_NODE_MIB = 64
_NODE_MIB_PSERIES = 256
_LONGEST_SOCKET_PATH = 107
_POLL_SECONDS = 0.01
_MOST_REFUSALS = 5
_ENDING_SECONDS = 1.0
_OUTPUT_LIMIT = 4096

_COMMAND = "query-hotpluggable-cpus"


async def probe(binary: str, domain: Domain, timeout: float) -> ConfigLayout:
    """Return the slots of ``domain`` on ``binary``, from the cache if it was probed before.

    A machine without CPU hotplug is no error. Raises ``HotplugError``: backend_missing if ``binary`` is no QEMU that
    replies within ``timeout`` seconds, config_invalid if it refuses the domain.
    """
    check_machine(domain)
    path = _executable(binary)
    arguments = probe_arguments(domain)
    key = _key(path, arguments)
    for known in probe_cache.recall(key):
        with contextlib.suppress(HotplugError):
            return _read(domain, known)
    reply = await _run(path, arguments, timeout)
    layout = _read(domain, reply)
    probe_cache.keep(key, reply)
    return layout


def probe_arguments(domain: Domain) -> list[str]:
    """Return the arguments of a QEMU with only the vCPUs and nodes of the domain.

    Raises ``HotplugError`` (config_invalid) for a machine or model that is not a plain name.
    """
    arguments = []
    model = _model(domain)
    for option, name in (("-machine", domain.machine), ("-cpu", model)):
        if name is not None:
            if not PLAIN_VALUE.fullmatch(name):
                raise HotplugError(CONFIG_INVALID, f"{printable(name, 60)!r} is no valid name for {option}")
            arguments += [option, name]
    pseries = machine_family(domain) == PSERIES
    arguments += ["-smp", smp_argument(domain, topology_of(domain)["threads"] if pseries else 1)]
    if domain.cells:
        node = _NODE_MIB_PSERIES if pseries else _NODE_MIB
        arguments += numa_arguments(domain, {cell.id: node if cell.memory else 0 for cell in domain.cells})
    # A QEMU without TCG uses KVM; with TCG, /dev/kvm is not used.
    return [*arguments, "-accel", "tcg", "-accel", "kvm", "-S", "-nodefaults", "-no-user-config", "-display", "none"]


def _model(domain: Domain) -> str | None:
    """Return the CPU model to start with: none if it would need KVM and the slots do not depend on it."""
    named = domain.cpu_mode in (None, "custom") and not (domain.arch or "").startswith("s390")
    return domain.cpu_model if named else None


def _read(domain: Domain, reply: object) -> ConfigLayout:
    """Return the domain's layout from QEMU's reply; a refusal of QEMU is None."""
    if reply is None:
        return fixed_layout(domain)
    slots = [slot._replace(qom_path=None) for slot in read_slots(reply)]
    if sum(len(slot.entity.vcpus) for slot in slots) != domain.max_vcpus:
        raise invalid_reply(_COMMAND, reply)
    # With KVM, the default model of pseries and s390x may be different.
    has_default = domain.cpu_mode is None and machine_family(domain) in (X86, None)
    is_known = _model(domain) is not None or has_default
    if not is_known:
        slots = [slot._replace(driver=driver_of(domain)) for slot in slots]
    return ConfigLayout(tuple(slots))


def _executable(binary: str) -> str:
    path = shutil.which(binary)
    if path is None:
        raise HotplugError(
            BACKEND_MISSING,
            f"there is no QEMU at {printable(binary)} to probe for the domain's vCPUs: install it, "
            "or set the option emulator",
        )
    return os.path.abspath(path)


def _key(path: str, arguments: list[str]) -> str:
    try:
        return probe_cache.key_of(path, arguments)
    except OSError as error:
        raise _no_qemu(path, error.strerror or "it is gone") from error


async def _run(path: str, arguments: list[str], timeout: float) -> Any:
    with _private_folder() as folder:
        address = os.path.join(folder, "qmp")
        monitor = Monitor(address, timeout)
        process = await asyncio.create_subprocess_exec(
            *_tied(path),
            *arguments,
            *("-chardev", f"socket,id=probe,path={address},server=on,wait=off", "-mon", "chardev=probe,mode=control"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        output = asyncio.ensure_future(_last_output(process))
        try:
            return await within(timeout, _query(process, address, monitor))
        except asyncio.TimeoutError:
            raise _no_qemu(path, f"it did not reply within {timeout:g} s") from None
        except HotplugError as error:
            with contextlib.suppress(asyncio.TimeoutError):
                await within(_ENDING_SECONDS, process.wait())
            if process.returncode is None:
                raise _no_qemu(path, error.msg) from error
            await asyncio.wait([output], timeout=_ENDING_SECONDS)
            raise _ended(path, process.returncode, output.result() if output.done() else "") from error
        finally:
            await _reap(process)
            await asyncio.wait([output], timeout=_ENDING_SECONDS)
            output.cancel()


def _tied(path: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), path] if sys.executable else [path]


async def _query(process: asyncio.subprocess.Process, address: str, monitor: Monitor) -> Any:
    try:
        await _connect(process, address, monitor)
        return await monitor.execute(_COMMAND)
    except CommandError as refusal:
        if classify(refusal.desc)[0] == HOTPLUG_UNSUPPORTED:
            return None
        raise invalid_reply(_COMMAND, refusal.desc) from refusal
    finally:
        await monitor.close()


async def _connect(process: asyncio.subprocess.Process, address: str, monitor: Monitor) -> None:
    refusals = 0
    while process.returncode is None:
        if _accepts_connections(address):
            try:
                return await monitor.connect()
            except HotplugError:
                # For a moment, a socket has a name but accepts no connections yet.
                refusals += 1
                if refusals == _MOST_REFUSALS:
                    raise
                await monitor.close()
        await asyncio.sleep(_POLL_SECONDS)
    raise HotplugError(BACKEND_MISSING, "it ended without a monitor")


def _accepts_connections(path: str) -> bool:
    return os.path.exists(path)


async def _last_output(process: asyncio.subprocess.Process) -> str:
    """Read everything that QEMU prints, in bounded memory, and return the last part of it when QEMU has ended."""
    kept = b""
    while process.stdout is not None:
        chunk = await process.stdout.read(_OUTPUT_LIMIT)
        if not chunk:
            break
        kept = (kept + chunk)[-_OUTPUT_LIMIT:]
    return kept.decode(errors="replace")


async def _reap(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


@contextlib.contextmanager
def _private_folder() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="kvm.hotplug-")
    if len(os.path.join(folder, "qmp")) > _LONGEST_SOCKET_PATH or "," in folder:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="kvm.hotplug-", dir="/tmp")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _no_qemu(path: str, why: str) -> HotplugError:
    return HotplugError(
        BACKEND_MISSING,
        f"{printable(path)} cannot be probed for the domain's vCPUs: {why}; set the option emulator to another QEMU",
    )


def _ended(path: str, status: int, output: str) -> HotplugError:
    lines = [line for line in output.splitlines() if line.strip() and "warning:" not in line]
    if status <= 0 or status in _NOT_STARTED or not lines:
        return _no_qemu(path, f"it exited with status {status} ({printable(' '.join(lines)) or 'and printed nothing'})")
    return HotplugError(
        CONFIG_INVALID,
        f"{printable(path)} does not start with this machine and vCPUs: {printable(' '.join(lines))}",
    )
