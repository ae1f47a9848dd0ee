# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Draw the picture of the README: the page about an audit, as a browser shows it."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).absolute().parents[2]
PICTURE = ROOT / "docs/images/audit.png"
# The time at which the page was written, so that the same page is the same picture.
WRITTEN = 1_767_607_200

sys.path[:0] = [str(ROOT / ".cache/collections"), str(ROOT / "tests")]


def main() -> None:
    """Open the page and write the picture."""
    from browser.reports import FLEET

    from ansible_collections.kvm.hotplug.plugins.plugin_utils.page.render import audit_page
    from lab.browser import Browser, Page

    with tempfile.TemporaryDirectory() as folder, Browser() as running:
        path = Path(folder, "audit.html")
        path.write_text(audit_page(FLEET), encoding="utf-8")
        os.utime(path, (WRITTEN, WRITTEN))
        page = Page(running, path)
        page.resize(1000, 640)
        page.click("summary")
        page.evaluate("scrollTo(0, 0)")
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        PICTURE.write_bytes(page.screenshot())


if __name__ == "__main__":
    main()
