# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Debian and Ubuntu packages: installed on this machine, or only unpacked, by an apt that leaves the system's alone."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import typing as t

from . import LabError, cache

# The releases that packages are taken from: the distribution's own, its backports, and what Debian develops.
DISTRIBUTION, BACKPORTS, NEWEST = RELEASES = ("distribution", "backports", "newest")
# Libraries that programs link to. The C library and its loader are a pair, and programs bring theirs or use the host's.
C_LIBRARY = "libc6"
LIBRARIES = r"zlib1g|(?!libc6$|libperl)lib(?!.*-(perl|dev|doc)$).*"
UNSTABLE = "unstable"


@contextlib.contextmanager
def locked(name: str) -> t.Iterator[None]:
    """Keep other processes that share the cache out of a build."""
    with open(cache() / f"{name}.lock", "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def appearing(target: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """Give a folder to fill, which becomes `target` at the end or never."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    try:
        folder.chmod(0o755)
        yield folder
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(command: t.Sequence[str | os.PathLike[str]], **options: t.Any) -> str:
    """Run a command and return its output; if it fails, the error contains its output."""
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, **options)
    except FileNotFoundError as error:
        raise LabError(f"{command[0]} is needed and is not installed") from error
    except subprocess.CalledProcessError as error:
        words = " ".join(os.fspath(word) for word in command)
        raise LabError(f"{words}\n  ended with {error.returncode}: {error.stderr.strip()}") from error
    return t.cast(str, done.stdout)


@functools.cache
def os_release() -> t.Mapping[str, str]:
    """Return what /etc/os-release says, the keys we use always among it."""
    facts = {"ID": "", "VERSION_CODENAME": ""}
    for line in pathlib.Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        key, _equals, value = line.partition("=")
        facts[key] = value.strip("\"'")
    if facts["ID"] not in ("debian", "ubuntu") or not facts["VERSION_CODENAME"]:
        raise LabError("guests for tests are made of Debian's or Ubuntu's packages, and this is neither")
    return facts


@functools.cache
def native() -> str:
    """Return this machine's architecture, as Debian calls it."""
    return run(["dpkg", "--print-architecture"]).strip()


def installed(name: str) -> bool:
    """Return whether a package is installed."""
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}", name]
    return subprocess.run(query, check=False, capture_output=True, text=True).stdout == "installed"


def install(names: t.Iterable[str]) -> list[str]:
    """Install the packages that are missing and return their names."""
    missing = [name for name in names if not installed(name)]
    if not missing:
        return []
    print(f"installing {' '.join(missing)}", flush=True)
    become = []
    if os.geteuid() != 0:
        if not shutil.which("sudo"):
            raise LabError(f"as root: apt-get install --no-install-recommends {' '.join(missing)} (sudo is not here)")
        become = ["sudo"]
    quiet = [*become, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    subprocess.run([*quiet, "update"], check=False, stdout=subprocess.DEVNULL)
    run([*quiet, "install", "-y", "--no-install-recommends", *missing])
    return missing


class Archive:
    """The packages of a release for one architecture, by an apt whose state is in the cache."""

    def __init__(self, arch: str | None = None, release: str = DISTRIBUTION) -> None:
        if release not in RELEASES:
            raise LabError(f"there is no release {release}: give one of {', '.join(RELEASES)}")
        self.arch = arch or native()
        self.release = release
        self._folder = cache() / "apt" / (self.arch if release == DISTRIBUTION else f"{self.arch}-{release}")
        self._refreshed = False

    def fetch(self, names: t.Sequence[str], accept: str = "", again: bool = False) -> list[pathlib.Path]:
        """Download packages, and those of all their dependencies whose names match `accept`.

        What this machine has installed counts for nothing. The answer is remembered, so that the same question does
        not need the network; asking `again` does, and falls back on what is remembered.
        """
        with locked(f"apt-{self._folder.name}"):
            remembered = self._remembered(names, accept)
            if remembered and not again:
                return remembered
            try:
                return self._fetch(names, accept)
            except LabError as error:
                if not remembered:
                    raise
                print(f"going on with the packages that are here: {error}", flush=True)
                return remembered

    def has(self, names: t.Sequence[str], accept: str = "") -> bool:
        """Return whether `fetch` would need no network."""
        return bool(self._remembered(names, accept))

    def _memory(self, names: t.Sequence[str], accept: str) -> pathlib.Path:
        question = json.dumps([self.arch, self.release, list(names), accept])
        return self._folder / (hashlib.sha256(question.encode()).hexdigest()[:16] + ".json")

    def _remembered(self, names: t.Sequence[str], accept: str) -> list[pathlib.Path]:
        memory = self._memory(names, accept)
        if not memory.exists():
            return []
        files = [self._folder / "debs" / name for name in json.loads(memory.read_text(encoding="utf-8"))]
        return files if all(file.exists() for file in files) else []

    def _fetch(self, names: t.Sequence[str], accept: str) -> list[pathlib.Path]:
        self._refresh()
        print(f"downloading {' '.join(names)} for {self.arch} of {self.release}", flush=True)
        select = ["-t", os_release()["VERSION_CODENAME"] + "-backports"] if self.release == BACKPORTS else []
        listing = self._apt(*select, "--print-uris", "--no-install-recommends", "install", *names)
        wanted = []
        for _uri, file in re.findall(r"^'([^']+)' (\S+\.deb) ", listing, re.MULTILINE):
            name, version, _rest = file.split("_")
            if name in names or re.fullmatch(accept, name):
                wanted.append((file, f"{name}={version.replace('%3a', ':')}"))
        if not {file.split("_")[0] for file, _package in wanted}.issuperset(names):
            raise LabError(f"apt finds no packages {' '.join(names)} for {self.arch} in the {self.release} release")
        debs = self._folder / "debs"
        missing = [package for file, package in wanted if not (debs / file).exists()]
        if missing:
            self._apt(*select, "download", *missing, cwd=debs)
        files = [file for file, _package in wanted]
        self._memory(names, accept).write_text(json.dumps(files), encoding="utf-8")
        return [debs / file for file in files]

    def _apt(self, *words: str, cwd: pathlib.Path | None = None) -> str:
        environment = {**os.environ, "APT_CONFIG": os.fspath(self._folder / "apt.conf"), "LC_ALL": "C.UTF-8"}
        return run(["apt-get", "-qq", *words], cwd=cwd, env=environment)

    def _refresh(self) -> None:
        if self._refreshed:
            return
        for part in ("debs/partial", "lists/partial", "cache/archives/partial"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        (self._folder / "nothing").touch()
        sources = self._folder / "sources.list"
        sources.write_text("".join(_sources(self.arch, self.release)), encoding="utf-8")
        # The system's proxies count here, its hooks and its other sources do not.
        keep = re.compile(r"Acquire::(?!IndexTargets)|Dir::Etc::netrc")
        settings = [line for line in run(["apt-config", "dump"]).splitlines() if keep.match(line)]
        for key, value in (
            ("APT::Architecture", self.arch),
            ("APT::Architectures", self.arch),
            ("APT::Sandbox::User", ""),
            ("Debug::NoLocking", "true"),
            ("Dir::Etc::main", "/dev/null"),
            ("Dir::Etc::parts", "/dev/null"),
            ("Dir::Etc::sourceparts", "/dev/null"),
            ("Dir::Etc::sourcelist", os.fspath(sources)),
            ("Dir::State::lists", os.fspath(self._folder / "lists")),
            ("Dir::State::status", os.fspath(self._folder / "nothing")),
            ("Dir::Cache", os.fspath(self._folder / "cache")),
            ("Dir::Cache::pkgcache", ""),
            ("Dir::Cache::srcpkgcache", ""),
        ):
            settings.append(f'{key} "{value}";')
        (self._folder / "apt.conf").write_text("\n".join(settings) + "\n", encoding="utf-8")
        try:
            self._apt("update")
        except LabError as error:
            print(f"some package lists could not be refreshed, going on with the others: {error}", flush=True)
        self._refreshed = True


def _sources(arch: str, release: str) -> t.Iterator[str]:
    """Write the lines of a sources.list, after the system's own mirrors."""
    distribution, codename = os_release()["ID"], os_release()["VERSION_CODENAME"]
    targets = run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"])
    mirrors: dict[str, str] = {}
    for line in targets.splitlines():
        uri, suite = line.split()
        if suite in (codename, f"{codename}-updates", f"{codename}-security"):
            mirrors[suite] = uri
    if codename not in mirrors:
        raise LabError(f"apt knows no archive of {distribution} {codename}: add it to its sources, then apt-get update")
    if distribution == "ubuntu" and arch not in ("amd64", "i386"):
        raise LabError(f"Ubuntu's archive has no packages for {arch}: only Debian is prepared for such guests")
    if release == NEWEST:
        if distribution != "debian":
            raise LabError("the newest packages are Debian's, and this is not Debian")
        # The lists of a mirror that lags behind are still the newest there are.
        yield f"deb [signed-by={_newest_keyring()} check-valid-until=no] {mirrors[codename]} {UNSTABLE} main\n"
        return
    keyring = pathlib.Path(f"/usr/share/keyrings/{distribution}-archive-keyring.gpg")
    signed = f"[signed-by={keyring}] " if keyring.exists() else ""
    components = "main" if distribution == "debian" else "main universe"
    if release == BACKPORTS:
        mirrors[f"{codename}-backports"] = mirrors[codename]
    for suite, uri in mirrors.items():
        yield f"deb {signed}{uri} {suite} {components}\n"


def _newest_keyring() -> pathlib.Path:
    """Return the keyring of the distribution's archive as it is there now: one installed long ago lacks newer keys."""
    (package,) = Archive().fetch(["debian-archive-keyring"], again=True)
    folder = cache() / "keyring" / package.stem
    if not folder.exists():
        with appearing(folder) as new:
            unpack([package], new)
    return folder / "usr/share/keyrings/debian-archive-keyring.gpg"


def unpack(debs: t.Iterable[pathlib.Path], folder: pathlib.Path) -> None:
    """Unpack packages into a folder, installing nothing; as on today's systems, /lib and the like are in /usr."""
    for name in ("bin", "lib", "lib64", "sbin"):
        (folder / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (folder / name).exists():
            (folder / name).symlink_to(f"usr/{name}")
    for deb in debs:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as source:
            run(["tar", "-xp", "--keep-directory-symlink", "-C", folder], stdin=source.stdout)
        if source.returncode:
            raise LabError(f"{deb} cannot be unpacked: dpkg-deb ended with {source.returncode}")
