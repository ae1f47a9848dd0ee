# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Any options: a module refuses them or does what they say, and never ends with a defect of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.request.options import (
    BATCH_OPTIONS,
    FLEET_OPTIONS,
    HOST_OPTIONS,
    VCPU_SPEC,
)

from ..support.fuzzing import check_result, examples, run_module, texts, values

FILE = (
    "<domain type='kvm'><name>web1</name><memory unit='MiB'>256</memory><vcpu current='2'>8</vcpu>"
    "<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>\n"
)
# No guest of the machine that runs the tests is to be reached, and no program of it run.
NEVER = ("name", "uri", "emulator", "probe", "agent_socket", "ask_qemu", "qmp_socket", "qmp_sockets", "domain_xml")
cpulists = st.one_of(
    st.sampled_from(["0", "0-3", "0-7,^2", "3-1", "^0", "0-", "1,,2", "9" * 30, "0-999999999"]),
    st.text("0123456789-,^ ", max_size=12),
    texts,
)


@st.composite
def choices(draw: st.DrawFn, spec: dict[str, Any]) -> Any:
    """A value for an option: mostly of its type, sometimes any."""
    if draw(st.integers(0, 5)) == 0:
        return draw(values)
    if "choices" in spec:
        return draw(st.sampled_from(spec["choices"]))
    if "options" in spec:
        entry = {key: draw(choices(inner)) for key, inner in spec["options"].items() if draw(st.booleans())}
        return [entry] if spec["type"] == "list" else entry
    kinds = {
        "bool": st.booleans(),
        "int": st.integers(-2, 70),
        "float": st.one_of(st.floats(), st.integers(-1, 3)),
        "str": cpulists,
        "list": st.lists(texts, max_size=3),
        "dict": st.dictionaries(texts, values, max_size=2),
    }
    return draw(kinds[spec["type"]])


@st.composite
def options(draw: st.DrawFn, spec: dict[str, Any], most: int = 4) -> dict[str, Any]:
    names = draw(st.sets(st.sampled_from(sorted(set(spec) - set(NEVER))), max_size=most))
    chosen = {name: draw(choices(spec[name])) for name in sorted(names)}
    unknown = draw(st.dictionaries(texts.filter(lambda name: name not in NEVER), values, max_size=1))
    return {**(unknown if draw(st.integers(0, 9)) == 0 else {}), **chosen}


@examples("options")
@given(st.data())
def test_any_options_end_in_a_result(data: st.DataObject) -> None:
    module = data.draw(st.sampled_from(["vcpu", "vcpu", "vcpu_batch", "vcpu_info"]))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "web1.xml")
        file.write_text(FILE)
        guest = {"domain_xml": str(file), "probe": "never"}
        if module == "vcpu":
            chosen = {**data.draw(options({**VCPU_SPEC, **HOST_OPTIONS})), **guest}
        elif module == "vcpu_info":
            chosen = {**data.draw(options(FLEET_OPTIONS)), **guest}
        else:
            desired = data.draw(options(VCPU_SPEC, 2))
            of_all = data.draw(options({**BATCH_OPTIONS, **HOST_OPTIONS}, 2))
            chosen = {**of_all, "guests": [{**desired, **guest}], "defaults": data.draw(options(VCPU_SPEC, 2))}
        chosen["timeout"] = chosen.get("timeout", 1)
        if module == "vcpu_batch":
            del chosen["timeout"]
        check_result({"changed": False, **run_module(module, chosen)})
        assert [path.name for path in Path(folder).iterdir() if "~" not in path.name] == ["web1.xml"]
