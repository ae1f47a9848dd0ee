# SPDX-FileCopyrightText: 2026 the kvm.hotplug authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of Sphinx for the documentation site, which ``make site`` builds from the pages that GitHub shows."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

REPOSITORY = "https://github.com/kvm-hotplug/kvm.hotplug/blob/main/"

# Pages of Ansible's own documentation to which antsibull-docs refers. Sphinx would load their list from the network.
ANSIBLE = "https://docs.ansible.com/projects/ansible/latest/"
ANSIBLE_LABELS = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "callback_plugins": "plugins/callback.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}

project = "kvm.hotplug"
author = "the kvm.hotplug authors"
project_copyright = f"2026, {author}"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
nitpicky = True

# The anchors that GitHub derives from headings, which the links of the pages use.
myst_heading_anchors = 4

html_theme = "sphinx_rtd_theme"
html_title = "kvm.hotplug"
html_copy_source = False
html_show_sphinx = False
pygments_style = "ansible"

LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")


def link_to_repository(app: Sphinx, page: str, source: list[str]) -> None:
    """Have links to files that are not pages of the site lead to the repository."""

    def target(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link[1]))
        on_site = (Path(app.srcdir) / path).is_file()
        return link[0] if on_site else REPOSITORY + path + (link[2] or "")

    if (Path(app.srcdir) / f"{page}.md").is_file():
        source[0] = LINK.sub(target, source[0])


def link_to_ansible(_app: object, _env: object, node: nodes.Element, contents: nodes.Node) -> nodes.Node | None:
    """Return the link for a label or a variable of Ansible's own documentation, None for any other."""
    target = node.get("reftarget", "")
    page = (
        f"reference_appendices/config.html#envvar-{target}"
        if node.get("reftype") == "envvar"
        else ANSIBLE_LABELS.get(target)
    )
    return nodes.reference("", "", contents, internal=False, refuri=ANSIBLE + page) if page else None


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("source-read", link_to_repository)
    app.connect("missing-reference", link_to_ansible)
