# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of the run of one guest, for its report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.journal import Journal
    from ansible_collections.kvm.hotplug.plugins.module_utils.run.observe import Observation

UNVERIFIED = (
    "without an agent it is unknown whether the guest OS uses the new vCPUs: start the agent, or have the guest OS "
    "online them by itself, with the udev rule that role kvm.hotplug.guest installs, and set missing_agent accept"
)


@dataclass
class Convergence:
    """The result of a request; ``after`` is the predicted state in check mode.

    ``of_boot_vcpus``: the request includes which vCPUs are hotpluggable at the next boot, ``of_maximum``: its maximum.
    ``is_unverified``: a warning is due that only an agent could show whether the guest OS uses the plugged vCPUs.
    ``journal`` is None without steps. After a failure ``error`` is set, and a state that could not be observed is
    None.
    """

    before: Observation | None = None
    after: Observation | None = None
    journal: Journal | None = None
    is_prediction: bool = False
    is_unverified: bool = False
    by_agent: bool = False
    of_boot_vcpus: bool = False
    of_maximum: bool = False
    warnings: list[str] = field(default_factory=list)
    error: HotplugError | None = None

    @property
    def changed(self) -> bool:
        """Whether the guest was changed, or would be in check mode."""
        return self.journal is not None and (self.is_prediction or self.journal.changed)
