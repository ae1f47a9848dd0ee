# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host port: the interface to query the hypervisor of the guests."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Callable

from ansible_collections.kvm.hotplug.plugins.module_utils.model import Host

# Takes the host's name, empty for the host that the module runs on; raises ``HotplugError``.
InspectHost = Callable[[str], Awaitable[Host]]
