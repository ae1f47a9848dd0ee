# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a batch: guests that are the same, and options that are refused before any change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.request.batch import options_of_guests


def refusal(*guests: dict[str, Any]) -> str:
    with pytest.raises(HotplugError) as caught:
        options_of_guests(guests, {"count": 2})
    assert caught.value.code == "conflicting_request"
    return caught.value.msg


@pytest.mark.parametrize("way", ["qmp_socket", "agent_socket", "domain_xml"])
def test_two_guests_cannot_share_a_socket_or_a_file(way: str, tmp_path: Path) -> None:
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to("real")
    one, other = {way: str(tmp_path / "real")}, {way: str(tmp_path / "link")}
    if way != "qmp_socket":
        one["qmp_socket"], other["qmp_socket"] = "/run/1.sock", "/run/2.sock"
    assert f"share {way} {tmp_path / 'real'}" in refusal(one, other)


def test_a_libvirt_guest_cannot_be_named_twice() -> None:
    assert "guests[0] and guests[2] (web1)" in refusal({"name": "web1"}, {"name": "web2"}, {"name": "web1"})


def test_guests_of_one_name_at_two_uris_are_two_guests() -> None:
    guests = [{"name": "web1", "uri": "qemu:///system"}, {"name": "web1", "uri": "qemu:///session"}]
    assert [guest.params["uri"] for guest in options_of_guests(guests, {"count": 2})] == [
        "qemu:///system",
        "qemu:///session",
    ]


def test_an_unknown_option_is_called_unsupported_and_is_the_error_of_its_guest_alone() -> None:
    wrong, right = options_of_guests([{"name": "web1", "cuont": 4}, {"name": "web2"}], {"count": 2})
    assert wrong.error is not None
    assert "unsupported option cuont. Supported parameters" in wrong.error.msg
    assert (wrong.ref.label, wrong.params) == ("web1", {})
    assert (right.ref.label, right.error, right.params["count"]) == ("web2", None, 2)


@pytest.mark.parametrize(
    "guest", [{"name": "a", "uri": 5}, {"domain_xml": "a\0", "uri": "qemu://["}, {"qmp_socket": {"a": 1}, "count": "x"}]
)
def test_invalid_options_say_nothing_of_where_a_guest_is(guest: dict[str, Any]) -> None:
    (found,) = options_of_guests([{**guest, "cuont": 1}], {})
    assert (found.ref.places, found.ref.host, found.ref.described) == ((), "", found.ref.label)


def test_a_uri_that_is_none_has_no_host() -> None:
    (found,) = options_of_guests([{"name": "web1", "uri": "qemu://[", "count": 1}], {})
    assert (found.error, found.ref.host) == (None, "")
