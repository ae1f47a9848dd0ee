# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The examples in the pages and in the modules can be copied: they are YAML, with valid options and known variables."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.request import options
from ansible_collections.kvm.hotplug.plugins.module_utils.request.batch import complete_options

ROOT = Path(__file__).absolute().parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("roles/*/README.md"))]
MODULES = ("vcpu", "vcpu_batch", "vcpu_info")

BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"\{\{ *([a-z_]\w*)")
# What Ansible, ansible-rulebook and the collection set: the inventory plugin, and the role hypervisor.
KNOWN = re.compile(r"kvm_hotplug\w*|ansible_\w+|inventory_hostname|item|event|hypervisor_python")

OF_BOTH = {**options.HOST_OPTIONS, **options.DETAILS_OPTION}
SPECS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "vcpu": ({**options.VCPU_SPEC, **OF_BOTH}, options.DESIRED_STATE_CONSTRAINTS),
    "vcpu_batch": ({**options.BATCH_OPTIONS, **OF_BOTH}, {}),
    "vcpu_info": (options.INFO_SPEC, options.INFO_CONSTRAINTS),
}


def examples(place: str) -> list[str]:
    """The YAML of a page, or of a module's EXAMPLES."""
    if place in MODULES:
        module = importlib.import_module(f"ansible_collections.kvm.hotplug.plugins.modules.{place}")
        return [str(module.EXAMPLES)]
    return BLOCK.findall((ROOT / place).read_text(encoding="utf-8"))


places = pytest.mark.parametrize("place", [*MODULES, *(str(page.relative_to(ROOT)) for page in PAGES)])


@places
def test_every_task_of_an_example_has_valid_options(place):
    problems = [problem for text in examples(place) for problem in problems_of(yaml.safe_load(text))]
    assert problems == []


@places
def test_every_variable_of_an_example_is_set_by_it_or_by_the_collection(place):
    text = "\n".join(examples(place))
    registered = re.findall(r"register: (\w+)", text)
    unknown = [name for name in VARIABLE.findall(text) if name not in registered and not KNOWN.fullmatch(name)]
    assert unknown == []


def test_the_examples_are_found():
    tasks = [task for place in ("README.md", "docs/libvirt.md") for text in examples(place) for task in tasks_in(text)]
    assert {module for module, _given in tasks} == set(MODULES)


def test_a_misspelled_option_of_an_example_is_found():
    task = {"kvm.hotplug.vcpu": {"name": "web1", "counts": 4}}
    assert [problem for problem in problems_of([task]) if "counts" in problem]


def tasks_in(text: str) -> list[tuple[str, Any]]:
    return list(_tasks(yaml.safe_load(text)))


def _tasks(data: Any) -> Iterator[tuple[str, Any]]:
    """Yield the module and the options of each task, wherever it is."""
    if isinstance(data, list):
        for item in data:
            yield from _tasks(item)
    elif isinstance(data, dict):
        for key, value in data.items():
            module = str(key).rpartition("kvm.hotplug.")[2]
            if key == f"kvm.hotplug.{module}" and module in SPECS:
                yield module, value
            elif key != "module_defaults":
                yield from _tasks(value)


def problems_of(data: Any) -> list[str]:
    problems = []
    for module, given in _tasks(data):
        spec, constraints = SPECS[module]
        known = {name: value for name, value in given.items() if not is_template(value)}
        # A template, and the defaults of a play, are options that are not seen here.
        partial = len(known) < len(given) or "module_defaults" in str(data)
        relaxed = {name: {**option, "required": False} for name, option in spec.items()} if partial else spec
        result = ArgumentSpecValidator(relaxed, **({} if partial else constraints)).validate(known)
        problems += result.error_messages
        if not partial:
            problems += _problems_of_guests(known)
    return problems


def _problems_of_guests(given: dict[str, Any]) -> list[str]:
    problems = []
    for guest in given.get("guests", []):
        try:
            complete_options(guest, given.get("defaults", {}))
        except HotplugError as error:
            problems.append(str(error))
    return problems


def is_template(value: Any) -> bool:
    return isinstance(value, str) and "{{" in value
