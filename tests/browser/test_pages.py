# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page about an audit in Chromium: what it runs, requests, filters, sorts, prints, and how it looks."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvm.hotplug.plugins.plugin_utils.page.render import audit_page
from lab.browser import Browser, Page

from .reports import FLEET, HOSTILE

TITLE = "Audit of vCPUs"
PHONE = 360
NAMES = "[...document.querySelectorAll('table.guests tbody:not([hidden]) tr:first-child > th')].map(n => n.innerText)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as running:
        yield running


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    return written(tmp_path, FLEET)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    return written(tmp_path, HOSTILE)


def written(folder: Path, report: dict[str, Any]) -> Path:
    path = folder / "audit.html"
    path.write_text(audit_page(report), encoding="utf-8")
    return path


def test_hostile_names_run_no_script_and_cause_no_request(browser: Browser, hostile: Path) -> None:
    page = Page(browser, hostile)
    for guest in range(len(HOSTILE["guests"])):
        page.click(f"table.guests tbody:nth-of-type({guest + 1}) th")
        page.click(f"table.guests tbody:nth-of-type({guest + 1}) summary")
    assert page.evaluate("document.title") == TITLE
    assert page.requests == [hostile.as_uri()]
    assert page.evaluate("document.querySelectorAll('script').length") == 1
    assert page.evaluate("document.querySelectorAll('iframe, img, link, object, embed, a').length") == 0
    assert page.events("Runtime.exceptionThrown") == []
    assert page.events("Log.entryAdded") == []
    assert page.evaluate(f"{NAMES}.length") == len(HOSTILE["guests"])


def test_the_policy_blocks_a_script_and_a_request_that_get_into_the_page(browser: Browser, fleet: Path) -> None:
    hole = '<script>document.title = "ran"</script><img src="http://192.0.2.1/" onerror="document.title = \'ran\'">'
    fleet.write_text(fleet.read_text().replace("</main>", f"{hole}</main>"))
    page = Page(browser, fleet)
    assert page.evaluate("document.title") == TITLE
    assert page.requests == [fleet.as_uri()]
    assert page.events("Log.entryAdded") != []


def test_guests_are_filtered_by_text_hypervisor_state_and_attention(browser: Browser, fleet: Path) -> None:
    page = Page(browser, fleet)
    page.type("#search", " DB1 ")
    assert page.evaluate(NAMES) == ["db1"]
    assert page.evaluate("document.querySelector('#shown').innerText") == "1 of 5 guests"
    page.type("#search", "")
    choose(page, "#hypervisor", "kvm2")
    assert page.evaluate(NAMES) == ["web2", "build10", "build9"]
    choose(page, "#state", "shutoff")
    assert page.evaluate(NAMES) == ["build10"]
    choose(page, "#state", "")
    choose(page, "#hypervisor", "")
    page.click("#attention")
    assert page.evaluate(NAMES) == ["web1", "build9"]


def test_guests_are_sorted_by_each_column_in_both_directions(browser: Browser, fleet: Path) -> None:
    page = Page(browser, fleet)
    page.click("thead th:nth-child(1) button")
    assert page.evaluate(NAMES) == ["build9", "build10", "db1", "web1", "web2"]
    page.click("thead th:nth-child(1) button")
    assert page.evaluate(NAMES) == ["web2", "web1", "db1", "build10", "build9"]
    assert page.evaluate("document.querySelector('thead th').getAttribute('aria-sort')") == "descending"
    page.click("thead th:nth-child(6) button")
    assert page.evaluate(NAMES) == ["build9", "web2", "web1", "db1", "build10"]
    assert page.evaluate("document.querySelector('thead th').getAttribute('aria-sort')") == "none"


def test_all_pictures_can_be_shown_and_hidden(browser: Browser, fleet: Path) -> None:
    page = Page(browser, fleet)
    assert (vcpus_in_view(page), page.evaluate("document.querySelectorAll('details[open]').length")) == (0, 0)
    page.click("#expand")
    assert vcpus_in_view(page) == 40
    page.click("#expand")
    assert vcpus_in_view(page) == 0


@pytest.mark.parametrize("report", ["fleet", "hostile"])
def test_a_phone_shows_the_page_without_scrolling_sideways(
    browser: Browser, report: str, request: pytest.FixtureRequest
) -> None:
    page = Page(browser, request.getfixturevalue(report), width=PHONE)
    page.click("#expand")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE
    assert page.evaluate("[...document.querySelectorAll('li')].every(one => one.getBoundingClientRect().right <= 360)")


@pytest.mark.parametrize("width", [1280, PHONE])
def test_assistive_technology_sees_a_table_at_any_width(browser: Browser, fleet: Path, width: int) -> None:
    roles = Page(browser, fleet, width).roles()
    guests = len(FLEET["guests"])
    assert (roles.count("table"), roles.count("rowheader"), roles.count("columnheader")) == (1, guests, 7)
    assert roles.count("cell") == 7 * guests


def test_a_print_has_all_pictures_and_no_controls(browser: Browser, fleet: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "audit.pdf"
    pdf.write_bytes(Page(browser, fleet).pdf())
    text = subprocess.run(["pdftotext", "-layout", pdf, "-"], capture_output=True, text=True, check=True).stdout
    assert all(guest["guest"] in text for guest in FLEET["guests"])
    assert {symbol: len(re.findall(symbol, text)) for symbol in "○◑"} == {"○": 1 + 4 + 6 + 1, "◑": 2 + 1}
    assert "Search" not in text
    assert "Show all" not in text


def test_without_scripts_the_guests_are_shown_and_the_controls_are_not(browser: Browser, fleet: Path) -> None:
    page = Page(browser, fleet, scripts=False)
    roles = page.roles()
    assert roles.count("rowheader") == len(FLEET["guests"])
    assert not {"searchbox", "combobox", "checkbox", "button"} & set(roles)
    assert "DisclosureTriangle" in roles


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_both_colour_schemes(browser: Browser, fleet: Path, scheme: str) -> None:
    page = Page(browser, fleet)
    page.emulate(prefers_color_scheme=scheme)
    background = luminance(colour(page, "body", "backgroundColor"))
    assert (background > 0.5) == (scheme == "light")
    for selector in ("body", "dt", ".alert", ".enabled", ".disabled", ".until-boot", "summary"):
        found = luminance(colour(page, selector, "color"))
        ratio = (max(found, background) + 0.05) / (min(found, background) + 0.05)
        assert ratio >= 4.5, selector


def choose(page: Page, selector: str, value: str) -> None:
    page.evaluate(
        f"(() => {{ const one = document.querySelector('{selector}'); one.value = '{value}';"
        " one.dispatchEvent(new Event('input')); })()"
    )


def vcpus_in_view(page: Page) -> int:
    count: int = page.evaluate("[...document.querySelectorAll('li')].filter(one => one.checkVisibility()).length")
    return count


def colour(page: Page, selector: str, name: str) -> list[int]:
    value = page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).{name}")
    return [int(number) for number in re.findall(r"\d+", value)[:3]]


def luminance(rgb: list[int]) -> float:
    """The relative luminance of a colour, as WCAG defines it."""
    linear = [part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
