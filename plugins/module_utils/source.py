# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the options of a task say that a guest is: its monitor, its domain XML, and how that is laid out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.machine.port import Machine
from ansible_collections.kvm.hotplug.plugins.module_utils.observe import OpenMachine, Source
from ansible_collections.kvm.hotplug.plugins.module_utils.options import parse_timeout


def source_of(params: Mapping[str, Any]) -> Source:
    """Return the source that ``qmp_socket`` and ``domain_xml`` name; raises ``HotplugError`` for a bad timeout."""
    timeout = parse_timeout(params)
    open_machine = None if params["qmp_socket"] is None else _opener(params["qmp_socket"], timeout)
    if params["domain_xml"] is None:
        _refuse_options_of_config(params)
        return Source(open_machine)
    from ansible_collections.kvm.hotplug.plugins.module_utils.config.lay_out import lay_out
    from ansible_collections.kvm.hotplug.plugins.module_utils.config.xml_file import XmlFile

    config = XmlFile(
        params["domain_xml"],
        timeout,
        backup=bool(params.get("backup")),
        detail=params.get("xml_detail"),
        forced=bool(params.get("force")),
    )
    return Source(open_machine, config, lambda domain: lay_out(domain, params["probe"], params["emulator"], timeout))


def _refuse_options_of_config(params: Mapping[str, Any]) -> None:
    given = [name for name in ("backup", "xml_detail", "force", "emulator") if params.get(name)]
    if params["probe"] != "auto":
        given.append("probe")
    if given:
        raise HotplugError(
            CONFLICTING_REQUEST, f"{', '.join(given)}: these go with domain_xml; name it, or leave them out"
        )


def _opener(address: str, timeout: float) -> OpenMachine:
    async def open_machine() -> Machine:
        from ansible_collections.kvm.hotplug.plugins.module_utils.machine.qmp import QmpMachine

        machine = QmpMachine(address, timeout)
        await machine.connect()
        return machine

    return open_machine
