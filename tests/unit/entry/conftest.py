# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures: a module to run."""

from __future__ import annotations

import importlib
import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.entry.signals import ENDING

from ..support.modules import RunModule, module_args


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[RunModule]:
    """Run a module's ``main`` in this process and return its results.

    A module ignores further signals once it has done its work, which this process does not.
    """
    handlers = {number: signal.getsignal(number) for number in ENDING}

    def run_module(module: str, check: bool = False, **options: Any) -> dict[str, Any]:
        main = importlib.import_module(f"ansible_collections.kvm.hotplug.plugins.modules.{module}").main
        with module_args({"_ansible_check_mode": check, **options}), pytest.raises(SystemExit) as end:
            main()
        written = capsys.readouterr()
        answer: dict[str, Any] = json.loads(written.out)
        assert end.value.code == (1 if answer.get("failed") else 0)
        assert written.err == ""
        return answer

    yield run_module
    for number, handler in handlers.items():
        signal.signal(number, handler)
