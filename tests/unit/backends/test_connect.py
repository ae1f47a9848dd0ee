# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The backend that options select, and options that exclude each other."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import Connections, source_of
from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError

OPTIONS: dict[str, Any] = {
    "name": None,
    "agent_socket": None,
    "uri": "qemu:///system",
    "ask_qemu": False,
    "qmp_socket": "/run/q",
    "domain_xml": None,
    "probe": "auto",
    "emulator": None,
    "timeout": 5.0,
}


def test_a_socket_alone_is_a_machine_without_config() -> None:
    source = source_of(OPTIONS, Connections())
    assert source.open_machine is not None
    assert source.config is None


def test_a_file_alone_is_a_config_without_machine() -> None:
    source = source_of({**OPTIONS, "qmp_socket": None, "domain_xml": "/etc/g.xml"}, Connections())
    assert source.open_machine is None
    assert source.config is not None


@pytest.mark.parametrize(
    "option",
    [{"backup": True}, {"xml_detail": "full"}, {"emulator": "/q"}, {"probe": "never"}],
    ids=str,
)
def test_a_config_option_without_a_config_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(HotplugError) as caught:
        source_of({**OPTIONS, **option}, Connections())
    assert caught.value.code == "conflicting_request"
    assert next(iter(option)) in caught.value.msg


def test_force_needs_a_running_machine_or_a_config() -> None:
    assert source_of({**OPTIONS, "force": True}, Connections())
    with pytest.raises(HotplugError) as caught:
        source_of({**OPTIONS, "qmp_socket": None, "agent_socket": "/run/a", "force": True}, Connections())
    assert (caught.value.code, "force" in caught.value.msg) == ("conflicting_request", True)
