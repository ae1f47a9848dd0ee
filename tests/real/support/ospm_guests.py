# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Act on an OSPM guest at a known moment of a run."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lab.ospm import OspmContact

from .modules import PATIENCE


def once_requested(guest: OspmContact, vcpu: int, action: Callable[[], object]) -> None:
    """Take an action as soon as the guest has been requested to unplug a vCPU; return at once."""

    def act() -> None:
        guest.ospm.wait(f"unplug {vcpu}", timeout=PATIENCE)
        action()

    # Connect before the run, in this thread.
    guest.ospm.state()
    threading.Thread(target=act).start()
