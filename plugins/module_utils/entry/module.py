# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface to Ansible: the only place where results become exit_json and errors become fail_json."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import (
    CONFLICTING_REQUEST,
    LIBRARY_REMEDY,
    LONGEST_MESSAGE,
    HotplugError,
    InternalError,
    MissingLibrary,
    printable,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.request.values import unconvertible_option


class GuestModule(AnsibleModule):  # type: ignore[misc]  # ansible-core has no types
    """A module whose every failure has an ``error_code``, including failures of the argument spec."""

    # Further results of a failure before the guest was observed.
    failure: Mapping[str, Any] = {}

    def __init__(self, **kwargs: Any) -> None:
        self._unconvertible = ""
        super().__init__(**kwargs)
        if self._unconvertible:
            self.fail_json(self._unconvertible)

    def _load_params(self) -> None:
        """Remove options that the argument spec would convert wrongly or fail for with a traceback, and report them."""
        super()._load_params()
        found = unconvertible_option(self.params, self.argument_spec)
        while found is not None:
            option, problem = found
            del self.params[option]
            self._unconvertible = self._unconvertible or problem
            found = unconvertible_option(self.params, self.argument_spec)

    def fail_json(self, msg: str, **kwargs: Any) -> None:
        details = {"changed": False, "error_code": CONFLICTING_REQUEST, **self.failure, **kwargs}
        # Ansible's own messages quote options, whose values may come from a guest.
        super().fail_json(printable(self._unconvertible or msg, LONGEST_MESSAGE), **details)

    def fail_with(self, error: HotplugError, report: Mapping[str, Any]) -> None:
        """Fail with an error, and with the results that are known by then (``report``)."""
        details = {**report, "error_code": error.code}
        msg = error_text(error)
        if isinstance(error, InternalError):
            details["exception"] = error.traceback
        self.fail_json(msg, **details)


class VcpuModule(GuestModule):
    """``kvm.hotplug.vcpu``, whose every result has ``steps``."""

    failure: Mapping[str, Any] = {"steps": []}


def error_text(error: HotplugError) -> str:
    """Return the message of an error; that of a missing library names the interpreter that cannot import it."""
    if isinstance(error, MissingLibrary):
        # Ansible's sentence has no full stop.
        sentence = missing_required_lib(error.library, url=error.url).rstrip(".")
        return f"{sentence}. T{LIBRARY_REMEDY[1:]}."
    return error.msg


@contextlib.contextmanager
def failing(module: GuestModule) -> Iterator[None]:
    """End the module with ``fail_json`` on an error that concerns no single guest, or on a defect."""
    try:
        yield
    except HotplugError as error:
        module.fail_with(error, {})
    except Exception as error:  # noqa: BLE001 - the only place where a defect becomes a failure of the task
        module.fail_with(InternalError(error), {})


def warn(module: GuestModule, warnings: Iterable[str]) -> None:
    """Show each warning to the user once."""
    for warning in dict.fromkeys(warnings):
        module.warn(warning)
