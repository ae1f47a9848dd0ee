# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation: the options with the destination of a migration."""

from __future__ import annotations


class ModuleDocFragment:
    """The destination that a guest is compared with."""

    DOCUMENTATION = r"""
options:
  destination_qmp_socket:
    description:
      - The monitor of the QEMU that waits for the migration of the guest, which was started with C(-incoming). It is
        observed, and RV(guests[].destination) is whether the guest can migrate to it.
      - Only with options that name one guest. At most one of O(destination_qmp_socket), O(destination_domain_xml) and
        O(destination_uri) can be set.
    type: str
  destination_domain_xml:
    description:
      - The domain XML of the destination, instead of a QEMU that waits already. Only with options that name one guest.
    type: path
  destination_uri:
    description:
      - The libvirt daemon of the destination. Each guest is compared with the guest of the same UUID or name there, if
        that is running with its state, else with its definition.
      - Where it has no such guest, as before a migration for which libvirt itself copies the definition, the guest is a
        failure with RV(failed_guests[].error_code=guest_not_found).
    type: str
"""
