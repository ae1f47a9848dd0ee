# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The backend that options select, and options that exclude each other."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.connect import Connections
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.readers import DirectReadSource, reader_of
from ansible_collections.kvm.hotplug.plugins.module_utils.backends.writers import DirectSource, writer_of
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
    "method": "hotplug",
    "backup": False,
    "xml_detail": None,
    "force": False,
}


def choose(options: dict[str, Any]) -> tuple[DirectSource, DirectReadSource]:
    """Return the source for changing the guest that the options name, and the one for observing it."""
    writer, reader = writer_of(options, Connections(), check_mode=False), reader_of(options, Connections())
    assert isinstance(writer, DirectSource)
    assert isinstance(reader, DirectReadSource)
    return writer, reader


def test_a_socket_alone_is_a_machine_without_config() -> None:
    for source in choose(OPTIONS):
        assert source.open_machine is not None
        assert source.config is None


def test_a_file_alone_is_a_config_without_machine() -> None:
    for source in choose({**OPTIONS, "qmp_socket": None, "domain_xml": "/etc/g.xml"}):
        assert source.open_machine is None
        assert source.config is not None


@pytest.mark.parametrize(
    "option",
    [{"backup": True}, {"xml_detail": "full"}, {"emulator": "/q"}, {"probe": "never"}],
    ids=str,
)
def test_a_config_option_without_a_config_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(HotplugError) as caught:
        choose({**OPTIONS, **option})
    assert caught.value.code == "conflicting_request"
    assert next(iter(option)) in caught.value.msg


def test_force_needs_a_running_machine_or_a_config() -> None:
    assert choose({**OPTIONS, "force": True})
    with pytest.raises(HotplugError) as caught:
        choose({**OPTIONS, "qmp_socket": None, "agent_socket": "/run/a", "force": True})
    assert (caught.value.code, "force" in caught.value.msg) == ("conflicting_request", True)
