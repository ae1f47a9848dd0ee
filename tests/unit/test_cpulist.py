# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists of ids, valid and invalid ones."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kvm.hotplug.plugins.module_utils.cpulist import HIGHEST_ID, format_cpulist, parse_cpulist

ids = st.frozensets(st.integers(0, HIGHEST_ID), min_size=1, max_size=50)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("3", {3}),
        ("0-3,6", {0, 1, 2, 3, 6}),
        ("0-7,^2", {0, 1, 3, 4, 5, 6, 7}),
        ("^2,0-7", {0, 1, 3, 4, 5, 6, 7}),
        ("0-7,^2-3", {0, 1, 4, 5, 6, 7}),
        (" 1 , 2-3 ", {1, 2, 3}),
        ("5-5", {5}),
        ("1,1,1-2", {1, 2}),
        ("007", {7}),
    ],
)
def test_a_list_names_its_ids(text: str, named: set[int]) -> None:
    assert parse_cpulist(text) == named


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ",",
        "1,",
        ",1",
        "1,,2",
        "a",
        "0x1",
        "1.5",
        "1e3",
        "+1",
        "-1",
        "1-",
        "1-2-3",
        "1--2",
        "3-1",
        "1 2",
        "1 - 2",
        "^",
        "^^1",
        "^1",
        "1,^1",
        "all",
        "0-3:2",
        "1\n2",
        "1\x002",
        "\N{ARABIC-INDIC DIGIT THREE}",
        "\N{FULLWIDTH DIGIT ONE}",
        "\N{SUPERSCRIPT TWO}",
        "1-99999999999",
        "65536",
        "99999999999999999999999999",
        "9" * 5000,
        "1," * 5000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_an_invalid_list_is_refused_with_a_short_message(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a list|backwards|highest|names no id") as caught:
        parse_cpulist(text)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


def test_a_descending_range_is_refused_with_the_ascending_one() -> None:
    with pytest.raises(ValueError, match="write 1-3"):
        parse_cpulist("3-1")


def test_a_range_beyond_all_machines_uses_no_memory() -> None:
    with pytest.raises(ValueError, match="above 65535"):
        parse_cpulist("1-99999999999")


def test_the_highest_id_can_be_named() -> None:
    assert parse_cpulist(f"0-{HIGHEST_ID}") == frozenset(range(HIGHEST_ID + 1))


@given(ids)
def test_a_written_list_reads_back_as_the_same_ids(named: frozenset[int]) -> None:
    assert parse_cpulist(format_cpulist(named)) == named


@given(ids)
def test_a_list_is_written_in_its_shortest_form(named: frozenset[int]) -> None:
    text = format_cpulist(named)
    starts = sum(1 for number in named if number - 1 not in named)
    assert text.count(",") == starts - 1
    assert text == format_cpulist(sorted(named, reverse=True))


@given(ids, ids)
def test_excluded_ids_are_left_out(named: frozenset[int], excluded: frozenset[int]) -> None:
    text = ",".join([format_cpulist(named), *(f"^{number}" for number in excluded)])
    if named <= excluded:
        with pytest.raises(ValueError, match="names no id"):
            parse_cpulist(text)
    else:
        assert parse_cpulist(text) == named - excluded


@given(st.text(max_size=30))
def test_any_text_is_a_list_or_refused(text: str) -> None:
    try:
        named = parse_cpulist(text)
    except ValueError:
        return
    assert named
    assert parse_cpulist(format_cpulist(named)) == named


def test_an_empty_set_is_written_as_an_empty_string() -> None:
    assert format_cpulist([]) == ""


def test_a_list_whose_ranges_overlap_thousands_of_times_is_refused_quickly() -> None:
    began = time.process_time()
    with pytest.raises(ValueError, match="repeatedly"):
        parse_cpulist(",".join(["0-65535"] * 100_000))
    assert time.process_time() - began < 1
    assert parse_cpulist("0-65535,^1-65535") == {0}
