# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a batch: each guest's own options and the defaults, checked like the options of a single task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator, ValidationResult
from ansible.module_utils.errors import UnsupportedError

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import CONFLICTING_REQUEST, HotplugError, printable
from ansible_collections.kvm.hotplug.plugins.module_utils.model import EMPTY
from ansible_collections.kvm.hotplug.plugins.module_utils.request.guest_ref import (
    GuestRef,
    guest_ref,
    names_one,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import (
    DESIRED_STATE_CONSTRAINTS,
    DESIRED_STATE_OPTIONS,
    VCPU_SPEC,
)
from ansible_collections.kvm.hotplug.plugins.module_utils.request.values import unconvertible_option

# Options that belong to one form of the desired state; they are not inherited by a guest with another form.
_GOES_WITH = {"exclusive": "vcpus", "placement": "count"}


class GuestOptions(NamedTuple):
    """The options of one guest of a batch, complete; where they are invalid, ``error`` is why, and there are none."""

    ref: GuestRef
    params: Mapping[str, Any] = EMPTY
    error: HotplugError | None = None


def options_of_guests(guests: Sequence[Mapping[str, Any]], defaults: Mapping[str, Any]) -> list[GuestOptions]:
    """Return the options of each guest; raises ``HotplugError`` (conflicting_request) for a guest named twice."""
    found = [_options_of(number, guest, defaults) for number, guest in enumerate(guests)]
    seen: dict[tuple[str, ...], int] = {}
    for number, guest in enumerate(found):
        for place in guest.ref.places:
            first = seen.setdefault(place, number)
            if first != number:
                raise HotplugError(
                    CONFLICTING_REQUEST,
                    f"guests[{first}] and guests[{number}] ({guest.ref.label}) are the same guest, or share "
                    f"{place[0]} {printable(place[-1])}: name each guest once",
                )
    return found


def complete_options(guest: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the complete options of ``vcpu`` for one guest; raises ``HotplugError`` (conflicting_request)."""
    merged = {**_defaults_for(guest, defaults), **guest}
    misread = unconvertible_option(merged, VCPU_SPEC)
    problems = [misread[1]] if misread is not None else []
    complete: dict[str, Any] = {}
    if not problems:
        result = ArgumentSpecValidator(VCPU_SPEC, **DESIRED_STATE_CONSTRAINTS).validate(merged)
        problems, complete = _messages(result), result.validated_parameters
    if problems:
        raise HotplugError(CONFLICTING_REQUEST, "; ".join(problems))
    return complete


def _options_of(number: int, guest: Mapping[str, Any], defaults: Mapping[str, Any]) -> GuestOptions:
    try:
        params = complete_options(guest, defaults)
    except HotplugError as error:
        named = {**defaults, **guest}
        label = guest_ref(named).label if names_one(named) else f"guests[{number}]"
        # Nothing else of invalid options can be relied on.
        return GuestOptions(GuestRef(title=label), error=error)
    return GuestOptions(guest_ref(params), params)


def _defaults_for(guest: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the options: a guest with a desired state inherits none from the defaults, in whatever form."""
    left_out: set[str] = set()
    if any(guest.get(desired) is not None for desired in DESIRED_STATE_OPTIONS):
        left_out = {
            *DESIRED_STATE_OPTIONS,
            *(option for option, desired in _GOES_WITH.items() if guest.get(desired) is None),
        }
    return {option: value for option, value in defaults.items() if option not in left_out}


def _messages(result: ValidationResult) -> list[str]:
    """The messages of Ansible's own validation; that of an unsupported option contains only its name."""
    return [
        f"unsupported option {error.msg}" if isinstance(error, UnsupportedError) else error.msg
        for error in result.errors.errors
    ]
