# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules' options as argument specs; the modules' documentation describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import CHANGED, FULL, NONE

# The value of ``boot_vcpus`` that requests a change, and may therefore be used without a desired state.
HOTPLUGGABLE = "hotpluggable"

# A day: a longer timeout for one step is probably a mistake.
LONGEST_TIMEOUT = 86400

GUEST_OPTIONS: dict[str, Any] = {
    "name": {"type": "str"},
    "uri": {"type": "str", "default": "qemu:///system"},
    "ask_qemu": {"type": "bool", "default": False},
    "qmp_socket": {"type": "str"},
    "agent_socket": {"type": "str"},
    "domain_xml": {"type": "path"},
    "probe": {"type": "str", "choices": ["auto", "never", "always"], "default": "auto"},
    "emulator": {"type": "path"},
}

GUEST_CONSTRAINTS: dict[str, Any] = {
    "required_one_of": [("name", "qmp_socket", "agent_socket", "domain_xml")],
    "mutually_exclusive": [("name", other) for other in ("qmp_socket", "agent_socket", "domain_xml")],
}

CONFIG_OPTIONS: dict[str, Any] = {
    "backup": {"type": "bool", "default": False},
    "xml_detail": {"type": "str", "choices": ["minimal", "numa", "full"]},
    "force": {"type": "bool", "default": False},
}

TIMEOUT_OPTION: dict[str, Any] = {
    "timeout": {"type": "float", "default": 60.0},
}

DESIRED_STATE_SPEC: dict[str, Any] = {
    "vcpus": {
        "type": "list",
        "elements": "dict",
        "options": {
            "id": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["enabled", "disabled"], "required": True},
        },
    },
    "exclusive": {"type": "bool", "default": False},
    "enabled": {"type": "str"},
    "nodes": {
        "type": "list",
        "elements": "dict",
        "options": {
            "id": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["enabled", "disabled"]},
            "count": {"type": "int"},
        },
        "required_one_of": [("state", "count")],
        "mutually_exclusive": [("state", "count")],
    },
    "count": {"type": "int"},
    "placement": {"type": "str", "choices": ["pack", "spread"], "default": "pack"},
    "boot_vcpus": {"type": "str", "choices": ["keep", HOTPLUGGABLE], "default": "keep"},
    "maximum": {"type": "int"},
    "maximum_node": {"type": "int"},
}

EXECUTION_OPTIONS: dict[str, Any] = {
    "scope": {"type": "str", "choices": ["current", "live", "config", "all"], "default": "all"},
    "method": {"type": "str", "choices": ["hotplug", "agent"], "default": "hotplug"},
    "granularity": {"type": "str", "choices": ["thread", "core"], "default": "thread"},
    "guest_online": {"type": "str", "choices": ["ensure", "verify", "ignore"], "default": "ensure"},
    "missing_agent": {"type": "str", "choices": ["warn", "accept"], "default": "warn"},
    "drain": {"type": "bool", "default": True},
    "cputune": {"type": "str", "choices": ["apply", "verify", "ignore"], "default": "apply"},
    "on_failure": {"type": "str", "choices": ["keep", "rollback"], "default": "keep"},
}

# It has no default here, because the default depends on the module and on the success of the task.
DETAILS_OPTION: dict[str, Any] = {"details": {"type": "str", "choices": [FULL, CHANGED, NONE]}}

GUARD_OPTIONS: dict[str, Any] = {
    "expected": {
        "type": "dict",
        "options": {"live": {"type": "str"}, "config": {"type": "str"}},
        "required_one_of": [("live", "config")],
    },
    "max_disable": {"type": "int"},
}

HOST_OPTIONS: dict[str, Any] = {
    "max_overcommit": {"type": "float"},
    "overcommit": {"type": "str", "choices": ["warn", "fail"], "default": "warn"},
}

BATCH_OPTIONS: dict[str, Any] = {
    "guests": {"type": "list", "elements": "dict", "required": True},
    "defaults": {"type": "dict", "default": {}},
    "max_concurrency": {"type": "int", "default": 16},
    "fail_fast": {"type": "bool", "default": False},
}

FLEET_OPTIONS: dict[str, Any] = {
    "qmp_sockets": {"type": "list", "elements": "str"},
    "max_concurrency": {"type": "int", "default": 16},
}

DESTINATION_OPTIONS: dict[str, Any] = {
    "destination_qmp_socket": {"type": "str"},
    "destination_domain_xml": {"type": "path"},
    "destination_uri": {"type": "str"},
}

# The options with the desired state. A task has one of them, or none if ``boot_vcpus`` requests a change.
DESIRED_STATE_OPTIONS = ("vcpus", "nodes", "count", "enabled")

INFO_SPEC: dict[str, Any] = {
    **GUEST_OPTIONS,
    **FLEET_OPTIONS,
    **DESTINATION_OPTIONS,
    **TIMEOUT_OPTION,
    **DETAILS_OPTION,
}
INFO_CONSTRAINTS: dict[str, Any] = {
    "mutually_exclusive": [*GUEST_CONSTRAINTS["mutually_exclusive"], tuple(DESTINATION_OPTIONS)],
}

DESIRED_STATE_CONSTRAINTS: dict[str, Any] = {
    "required_one_of": GUEST_CONSTRAINTS["required_one_of"],
    "mutually_exclusive": [DESIRED_STATE_OPTIONS, *GUEST_CONSTRAINTS["mutually_exclusive"]],
}


def parse_timeout(params: Mapping[str, Any]) -> float:
    """Return the option ``timeout`` in seconds; raises ``HotplugError`` if it is out of range."""
    timeout = float(params["timeout"])
    if not 0 < timeout <= LONGEST_TIMEOUT:
        raise HotplugError(
            CONFLICTING_REQUEST, f"timeout is {timeout:g}: give a number of seconds above 0, at most {LONGEST_TIMEOUT}"
        )
    return timeout


VCPU_SPEC: dict[str, Any] = {
    **GUEST_OPTIONS,
    **DESIRED_STATE_SPEC,
    **EXECUTION_OPTIONS,
    **GUARD_OPTIONS,
    **CONFIG_OPTIONS,
    **TIMEOUT_OPTION,
}
