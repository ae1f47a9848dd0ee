# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text of the kernel's files, and the fields of a thread's status."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.backends.host.kernel_files import field_of, read_text

STATUS = "Name:\tCPU 0/KVM\nNSpid:\t107\t8\nCpus_allowed:\tf\nCpus_allowed_list:\t0-3\n"


@pytest.mark.parametrize(
    ("name", "value"), [("Name", "CPU 0/KVM"), ("NSpid", "107\t8"), ("Cpus_allowed", "f"), ("Cpus_allowed_list", "0-3")]
)
def test_a_field_is_what_follows_its_name_on_its_line(name: str, value: str) -> None:
    assert field_of(STATUS, name) == value


@pytest.mark.parametrize("name", ["pid", "allowed", "107", "SigPnd"])
def test_a_field_that_is_missing_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        field_of(STATUS, name)


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "comm").write_bytes(b"CPU \xff\n")
    assert read_text(f"{tmp_path}/comm") == "CPU \ufffd\n"
