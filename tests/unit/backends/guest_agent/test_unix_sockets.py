# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The UNIX sockets of this host, as the kernel lists them, show whether another client holds an agent."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.guest_agent.unix_sockets import (
    Connection,
    connections,
    is_held,
)


def test_other_clients_are_found_in_the_kernels_list(tmp_path: Path) -> None:
    listing = tmp_path / "unix"
    rows = [
        "Num       RefCount Protocol Flags    Type St Inode Path",
        "0000: 00000002 00000000 00010000 0001 01 10 /run/a b.sock",
        "0000: 00000003 00000000 00000000 0001 03 11 /run/a b.sock",
        "0000: 00000003 00000000 00000000 0001 02     0 /run/a b.sock",
        "0000: 00000003 00000000 00000000 0001 03 12",
        "invalid_reply",
    ]
    path = "/run/a b.sock"
    listing.write_text("\n".join(rows) + "\n")
    first = Connection(path, "11", True)
    assert connections(listing) == {first, Connection(path, "0", False)}
    assert is_held(path, frozenset({first}), listing) is True
    assert is_held(path, frozenset(), listing) is None
    assert is_held("/run/other", frozenset({first}), listing) is None
    listing.write_text("\n".join(rows[:3]))
    assert is_held(path, frozenset({first}), listing) is False
    assert connections(tmp_path / "missing") == frozenset()
