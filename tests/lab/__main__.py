# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The laboratory's commands: prepare what tests need, and boot, use and stop a guest by hand."""

from __future__ import annotations

import argparse
import json
import pathlib
import shlex
import sys

from . import LabError, binaries, detached, image
from .eyes import cpulist
from .guest import Guest, Shell, ShellError

SMP = "2,sockets=4,cores=2,threads=1,maxcpus=8"


def _node(text: str) -> dict[str, list[int]]:
    """Read `sockets=0-1` or `cores=0,8`, what one node consists of."""
    level, _equals, ids = text.partition("=")
    if level not in ("sockets", "dies", "clusters", "modules", "cores", "threads"):
        raise argparse.ArgumentTypeError(f"{text!r} is not like sockets=0-1 or cores=0,8")
    return {level: cpulist(ids)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    prepare = commands.add_parser("prepare", help="install, download and build what tests need, if it is not there")
    prepare.add_argument("--ppc64", action="store_true", help="also what ppc64 guests need")

    boot = commands.add_parser("boot", help="boot a guest that stays, and print its sockets and pid as JSON")
    boot.add_argument("dir", type=pathlib.Path, help="a folder for its sockets and logs")
    boot.add_argument("--smp", default=SMP, help="QEMU's -smp (default: %(default)s)")
    boot.add_argument(
        "--numa", action="append", default=[], type=_node, metavar="LEVEL=IDS",
        help="a NUMA node and what is in it, such as sockets=0-1; once for each node",
    )  # fmt: skip
    boot.add_argument("--machine", help="QEMU's -machine")
    boot.add_argument("--cpu", help="QEMU's -cpu")
    boot.add_argument("--memory", type=int, default=256, help="in MiB (default: %(default)s)")
    boot.add_argument("--name", default="lab", help="the guest's name (default: %(default)s)")
    boot.add_argument("--uuid", help="the guest's UUID")
    boot.add_argument("--append", default="", help="more for the kernel's command line, such as lab.onliner=0")
    boot.add_argument("--extra", default="", help="more of QEMU's arguments, quoted as for a shell")
    boot.add_argument("--arch", default="x86_64", choices=sorted(binaries.PACKAGES), help="(default: %(default)s)")
    boot.add_argument("--agent", action="store_true", help="with a guest agent")
    boot.add_argument("--tcp", action="store_true", help="with a monitor on a TCP port too")
    boot.add_argument("--paused", action="store_true", help="do not start its CPUs (QEMU's -S)")
    boot.add_argument("--firmware", action="store_true", help="no kernel: the firmware finds nothing to boot")
    boot.add_argument("--distribution", action="store_true", help="with the distribution's QEMU, not the newest")

    shell = commands.add_parser("shell", help="run a command in a guest")
    shell.add_argument("--timeout", type=float, default=30, help="seconds (default: %(default)s)")
    shell.add_argument("dir", type=pathlib.Path, help="the folder it was booted in, or its shell's socket")
    shell.add_argument("words", nargs=argparse.REMAINDER, metavar="command", help="the command")

    stop = commands.add_parser("stop", help="end a guest")
    stop.add_argument("dir", type=pathlib.Path, help="the folder it was booted in")
    return parser


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
    elif options.command == "boot":
        guest = Guest(
            options.dir,
            smp=options.smp,
            numa=options.numa,
            machine=options.machine,
            cpu=options.cpu,
            qemu=binaries.distribution(options.arch) if options.distribution else None,
            memory=options.memory,
            boot=not options.firmware,
            paused=options.paused,
            agent=options.agent,
            append=options.append,
            extra=shlex.split(options.extra),
            name=options.name,
            uuid=options.uuid,
            tcp_monitor=options.tcp,
            arch=options.arch,
        )
        print(json.dumps(detached.boot(guest), indent=1))
    elif options.command == "shell":
        try:
            is_socket = options.dir.is_socket()
            shell = Shell(str(options.dir) if is_socket else detached.state_of(options.dir)["shell_socket"])
            print(shell.run(" ".join(options.words), options.timeout), end="")
        except ShellError as error:
            print(error.output, end="")
            return error.status
    elif not detached.stop(options.dir):
        print("it was not running", file=sys.stderr)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LabError, OSError) as error:
        sys.exit(f"lab: {error}")
