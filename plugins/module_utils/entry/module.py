# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge to Ansible: results become exit_json, and errors fail_json, here and nowhere else."""

from __future__ import annotations

import traceback
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFLICTING_REQUEST,
    INTERNAL,
    HotplugError,
    MissingLibrary,
)


class GuestModule(AnsibleModule):  # type: ignore[misc]  # ansible-core has no types
    """A module whose every failure has an ``error_code``, those of the argument spec included."""

    def fail_json(self, msg: str, **kwargs: Any) -> None:
        super().fail_json(msg, **{"changed": False, "steps": [], "error_code": CONFLICTING_REQUEST, **kwargs})


class Edge:
    """A ``with`` block whose exceptions end the module with ``fail_json``, and with what ``report`` returns by then."""

    def __init__(self, module: GuestModule, report: Callable[[], dict[str, Any]]) -> None:
        self._module = module
        self._report = report

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, Exception):
            _fail(self._module, error, self._report())


def warn(module: GuestModule, warnings: list[str]) -> None:
    """Hand warnings on to the user."""
    for warning in dict.fromkeys(warnings):
        module.warn(warning)


def _fail(module: GuestModule, error: Exception, report: dict[str, Any]) -> None:
    if isinstance(error, HotplugError):
        report["error_code"] = error.code
        msg = missing_required_lib(error.library, url=error.url) if isinstance(error, MissingLibrary) else error.msg
    else:
        msg = f"an error in kvm.hotplug itself, please report it: {type(error).__name__}: {error}"
        report["error_code"] = INTERNAL
        report["exception"] = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    module.fail_json(msg, **report)
