# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The laboratory's commands: prepare what tests need, and start, use and stop guests and libvirtds by hand."""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import shlex
import signal
import sys
import typing as t

from . import LabError, binaries, browser, detached, image, kvm, migration, packages, software
from .architectures import ARCHITECTURES, NEWEST_ONLY
from .contact import Shell, ShellError
from .guest import Guest
from .observer import Monitor, cpulist, enabled_ids
from .ospm import OspmGuest

SMP = "2,sockets=4,cores=2,threads=1,maxcpus=8"


def _node(text: str) -> dict[str, list[int]]:
    """Read `sockets=0-1` or `cores=0,8`, what one node consists of."""
    level, _equals, ids = text.partition("=")
    if level not in ("cpus", "sockets", "dies", "clusters", "modules", "cores", "threads"):
        raise argparse.ArgumentTypeError(f"{text!r} is not like sockets=0-1 or cores=0,8")
    return {level: cpulist(ids)}


def _counts(text: str) -> dict[str, int]:
    """Read `sockets=4,cores=2,threads=1`."""
    try:
        return {level: int(count) for level, count in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like sockets=4,cores=2,threads=1") from None


def _vcpus(text: str) -> str:
    """Read `2/8`, or XML."""
    enabled, _slash, maximum = text.partition("/")
    return text if text.startswith("<") else f"<vcpu current='{enabled}'>{maximum or enabled}</vcpu>"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    prepare = commands.add_parser("prepare", help="install, download and build what tests need, if it is not there")
    prepare.add_argument("--ppc64", action="store_true", help="also what ppc64 guests need")
    prepare.add_argument("--libvirt", action="store_true", help="also what domains of libvirt need")
    prepare.add_argument(
        "--newest",
        action="store_true",
        help="also the newest QEMU, libvirt and Linux, those that Debian unstable has now",
    )
    prepare.add_argument(
        "--architectures",
        action="store_true",
        help=f"also the newest QEMU and Linux for guests of other architectures: {', '.join(NEWEST_ONLY)}",
    )

    commands.add_parser("prepare-browser", help="install the browser that the tests of pages need")

    boot = commands.add_parser("boot", help="boot a guest that stays, and print its sockets and pid as JSON")
    boot.add_argument("dir", type=pathlib.Path, help="a folder for its sockets and logs")
    boot.add_argument("--smp", default=SMP, help="QEMU's -smp (default: %(default)s)")
    boot.add_argument(
        "--numa", action="append", default=[], type=_node, metavar="LEVEL=IDS",
        help="a NUMA node and what is in it, such as sockets=0-1; once for each node",
    )  # fmt: skip
    boot.add_argument("--machine", help="QEMU's -machine")
    boot.add_argument("--cpu", help="QEMU's -cpu")
    boot.add_argument("--memory", type=int, help="in MiB (default: 256, of an OSPM guest 32)")
    boot.add_argument("--name", default="lab", help="the guest's name (default: %(default)s)")
    boot.add_argument("--uuid", help="the guest's UUID")
    boot.add_argument("--append", default="", help="more for the kernel's command line, such as lab.onliner=0")
    boot.add_argument("--extra", default="", help="more of QEMU's arguments, quoted as for a shell")
    boot.add_argument("--arch", default="x86_64", choices=sorted(ARCHITECTURES), help="(default: %(default)s)")
    boot.add_argument("--agent", action="store_true", help="with a guest agent")
    boot.add_argument("--tcp", action="store_true", help="with a monitor on a TCP port too")
    boot.add_argument("--paused", action="store_true", help="do not start its CPUs (QEMU's -S)")
    boot.add_argument("--firmware", action="store_true", help="no kernel: the firmware finds nothing to boot")
    boot.add_argument("--ospm", action="store_true", help="no Linux, but the OSPM guest, under KVM where it works")
    boot.add_argument("--incoming", action="store_true", help="wait for a guest that migrates to it")
    _add_qemu(boot)

    migrate = commands.add_parser("migrate", help="migrate a guest to one that was booted with --incoming")
    migrate.add_argument("dir", type=pathlib.Path, help="the folder it was booted in")
    migrate.add_argument("destination", type=pathlib.Path, help="the folder the other was booted in")

    shell = commands.add_parser("shell", help="run a command in a guest")
    shell.add_argument("--timeout", type=float, default=30, help="seconds (default: %(default)s)")
    shell.add_argument("dir", type=pathlib.Path, help="the folder it was booted in, or its shell's socket")
    shell.add_argument("words", nargs=argparse.REMAINDER, metavar="command", help="the command")

    seen = commands.add_parser("observer", help="print the ids of the vCPUs that QEMU itself has now, as JSON")
    seen.add_argument("dir", type=pathlib.Path, help="the folder the guest was booted in, or its observer's socket")

    stop = commands.add_parser("stop", help="end a guest")
    stop.add_argument("dir", type=pathlib.Path, help="the folder it was booted in")
    _add_libvirt(commands)
    return parser


def _add_qemu(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--qemu",
        choices=packages.RELEASES,
        help="whose QEMU it gets (default: that of backports, if there are any)",
    )


def _add_libvirt(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    libvirtd = commands.add_parser("libvirtd", help="start a libvirtd that stays, and print how to reach it; stop it")
    libvirtd.add_argument("action", choices=("start", "stop"))
    libvirtd.add_argument("dir", type=pathlib.Path, help="a folder for what there is to know of it")
    libvirtd.add_argument(
        "--release",
        default=packages.DISTRIBUTION,
        choices=packages.RELEASES,
        help="whose it is (default: %(default)s)",
    )

    domain = commands.add_parser("domain", help="make a domain in such a libvirtd, and print how to reach it as JSON")
    domain.add_argument("dir", type=pathlib.Path, help="the folder its libvirtd was started in")
    domain.add_argument("name")
    domain.add_argument("--vcpus", default="2/8", type=_vcpus, help="as 2/8, or XML (default: %(default)s)")
    domain.add_argument("--topology", type=_counts, help="such as sockets=4,cores=2,threads=1")
    domain.add_argument(
        "--numa", action="append", default=[], type=_node, metavar="LEVEL=IDS",
        help="a NUMA node and what is in it, such as sockets=0-1 or cpus=0,5; once for each node",
    )  # fmt: skip
    domain.add_argument("--machine", default="q35", help="(default: %(default)s)")
    domain.add_argument("--memory", type=int, default=256, help="in MiB (default: %(default)s)")
    domain.add_argument("--uuid")
    domain.add_argument("--append", default="", help="more for the kernel's command line, such as lab.onliner=0")
    domain.add_argument("--rest", default="", help="more of its XML, such as <cputune>")
    domain.add_argument("--agent", action="store_true", help="with a guest agent")
    domain.add_argument("--paused", action="store_true", help="do not start its CPUs")
    domain.add_argument("--transient", action="store_true", help="create it, do not define it")
    domain.add_argument("--shut-off", action="store_true", help="do not start it")
    domain.add_argument("--firmware", action="store_true", help="no kernel: the firmware finds nothing to boot")
    _add_qemu(domain)


def main() -> int:
    """Run one command."""
    options = _parser().parse_args()
    if options.command == "prepare":
        binaries.prepare()
        image.image()
        if options.ppc64:
            try:
                binaries.prepare("ppc64")
                image.image("ppc64")
            except LabError as error:
                print(f"going on without ppc64 guests: {error}", flush=True)
        if options.libvirt:
            for release in software.releases():
                software.software(release)
        if options.newest:
            binaries.prepare_newest()
            image.image(release=packages.NEWEST, again=True)
            software.software(packages.NEWEST, again=True)
        if options.architectures:
            binaries.prepare_newest("ppc64")
            for arch in NEWEST_ONLY:
                binaries.prepare_newest(arch)
                image.image(arch, packages.NEWEST, again=True)
    elif options.command == "prepare-browser":
        browser.prepare()
    elif options.command == "boot":
        print(json.dumps(detached.boot(_guest(options)), indent=1))
    elif options.command == "migrate":
        with contextlib.ExitStack() as monitors:
            source, destination = (
                monitors.enter_context(Monitor(_socket(folder, "observer")))
                for folder in (options.dir, options.destination)
            )
            migration.migrate(source, destination, options.destination / "migration.sock")
    elif options.command == "shell":
        try:
            shell = Shell(_socket(options.dir, "shell"))
            print(shell.run(" ".join(options.words), options.timeout), end="")
        except ShellError as error:
            print(error.output, end="")
            return error.status
    elif options.command == "observer":
        with Monitor(_socket(options.dir, "observer")) as monitor:
            print(json.dumps(enabled_ids(monitor)))
    elif options.command == "libvirtd" and options.action == "start":
        print(json.dumps(detached.start_libvirtd(options.dir, options.release), indent=1))
    elif options.command == "domain":
        print(json.dumps(_domain(options), indent=1))
    elif not (detached.stop if options.command == "stop" else detached.stop_libvirtd)(options.dir):
        print("it was not running", file=sys.stderr)
    return 0


def _socket(path: pathlib.Path, purpose: str) -> str:
    return str(path if path.is_socket() else detached.state_of(path)[f"{purpose}_socket"])


def _guest(options: argparse.Namespace) -> Guest:
    described = {
        "smp": options.smp,
        "numa": options.numa,
        "machine": options.machine,
        "cpu": options.cpu,
        "qemu": options.qemu,
        "memory": options.memory,
        "paused": options.paused,
        "incoming": options.incoming,
        "agent": options.agent,
        "extra": shlex.split(options.extra),
        "name": options.name,
        "uuid": options.uuid,
        "tcp_monitor": options.tcp,
        "arch": options.arch,
    }
    chosen = {name: value for name, value in described.items() if value is not None}
    if options.ospm:
        return OspmGuest(options.dir, accel=kvm.accelerator(options.qemu), **chosen)
    return Guest(options.dir, boot=not options.firmware, append=options.append, **chosen)


def _domain(options: argparse.Namespace) -> dict[str, t.Any]:
    return detached.make_domain(
        options.dir,
        options.name,
        vcpus=options.vcpus,
        topology=options.topology,
        numa=options.numa,
        machine=options.machine,
        qemu=options.qemu,
        memory=options.memory,
        uuid=options.uuid,
        append=options.append,
        rest=options.rest,
        agent=options.agent,
        paused=options.paused,
        transient=options.transient,
        start=not options.shut_off,
        boot=not options.firmware,
    )


if __name__ == "__main__":
    # What is half started is ended then.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        sys.exit(main())
    except (LabError, OSError) as error:
        sys.exit(f"lab: {error}")
