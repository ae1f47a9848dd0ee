# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tables in text."""

from __future__ import annotations

import json

import pytest

from ansible_collections.kvm.hotplug.plugins.plugin_utils.table import text_table

ROWS = [{"guest": "web1", "then": "live 0-3, config: none"}, {"guest": "db", "then": None}, {"guest": "# - ?"}]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert text_table(ROWS, ["guest", "then"]) == [
        "| guest | then                   |",
        "| ----- | ---------------------- |",
        "| web1  | live 0-3, config: none |",
        "| db    | -                      |",
        "| # - ? |                        |",
    ]


def test_a_table_without_rows_has_its_columns() -> None:
    assert text_table([], ["guest"]) == ["| guest |", "| ----- |"]


def test_cells_break_neither_the_table_nor_the_terminal() -> None:
    assert text_table([{"guest": "a|b\n\x9bc" + "x" * 500}], ["guest"])[2].count("|") == 2
    assert all(line.isprintable() for line in text_table([{"guest": "\u202ea\nb"}], ["guest"]))


@pytest.mark.parametrize("dump", ["json", "yaml"])
def test_columns_stay_aligned_in_the_output_of_ansible(dump: str) -> None:
    yaml = pytest.importorskip("yaml")
    table = text_table(ROWS, ["guest", "then"])
    printed = json.dumps(table, indent=4) if dump == "json" else yaml.dump(table, width=1000, allow_unicode=True)
    lines = [line.rstrip(",") for line in printed.splitlines() if "|" in line]
    assert {(len(line), line.index("|"), line.rindex("|")) for line in lines} == {
        (len(lines[0]), lines[0].index("|"), lines[0].rindex("|"))
    }
