# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a command and write its cost to a file: python3 measure.py FILE COMMAND...

The kernel counts the memory of the process that starts another as its peak too, so that has to be a small one.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> int:
    """Return the exit status of the command."""
    file, *command = sys.argv[1:]
    began = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _pid, status, usage = os.wait4(pid, 0)
    cost = [time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]
    with open(file, "w", encoding="utf-8") as output:
        json.dump(cost, output)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
