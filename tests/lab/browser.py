# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Chromium without a window, commanded by its DevTools protocol over a pair of pipes."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import select
import shutil
import signal
import tempfile
import time
import typing as t

from . import LabError, packages

PACKAGES = ("chromium", "fonts-dejavu-core", "poppler-utils")
# It listens on this descriptor for commands, and writes to the next one.
COMMANDS = 3
TIMEOUT = 60
OPTIONS = (
    "--headless",
    "--remote-debugging-pipe",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--hide-scrollbars",
    "--lang=en-GB",
    "--no-first-run",
    # Root has no sandbox. What it opens are files of the tests.
    "--no-sandbox",
)


def prepare() -> None:
    """Install what the tests with a browser need."""
    packages.install(PACKAGES)


class Browser:
    """A running Chromium with a profile of its own; a context that ends it."""

    def __init__(self) -> None:
        path = shutil.which("chromium")
        if path is None:
            raise LabError("chromium is not installed: run `python3 -m lab prepare-browser` in tests/")
        self._profile = tempfile.TemporaryDirectory(prefix="browser-")
        reads, self._to = os.pipe()
        self._from, writes = os.pipe()
        log = pathlib.Path(self._profile.name, "log")
        self._pid = os.posix_spawn(
            path,
            [path, *OPTIONS, f"--user-data-dir={self._profile.name}", "about:blank"],
            {**os.environ, "HOME": self._profile.name, "TZ": "UTC"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 2, os.fspath(log), os.O_WRONLY | os.O_CREAT, 0o600),
                *_moved(reads, writes),
            ],
            setsid=True,
        )
        os.close(reads)
        os.close(writes)
        self._buffer = b""
        self._last = 0
        self.events: list[dict[str, t.Any]] = []

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_exc: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._to)
        os.close(self._from)
        # Its helpers may take a moment to end.
        for _attempt in range(50):
            with contextlib.suppress(OSError):
                self._profile.cleanup()
                return
            time.sleep(0.1)

    def command(self, method: str, session: str | None = None, **parameters: t.Any) -> dict[str, t.Any]:
        """Send a command and return its result; events that come before it are kept in `events`."""
        self._last += 1
        message: dict[str, t.Any] = {"id": self._last, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            reply = self._read()
            if reply.get("id") == self._last:
                if "error" in reply:
                    raise LabError(f"{method}: {reply['error']}")
                return t.cast("dict[str, t.Any]", reply["result"])
            self.events.append(reply)

    def wait(self, event: str) -> None:
        """Wait for an event that has not come yet."""
        while not any(one.get("method") == event for one in self.events):
            self.events.append(self._read())

    def _read(self) -> dict[str, t.Any]:
        deadline = time.monotonic() + TIMEOUT
        while b"\0" not in self._buffer:
            ready = select.select([self._from], [], [], max(0, deadline - time.monotonic()))[0]
            data = os.read(self._from, 1 << 20) if ready else b""
            if not data:
                log = pathlib.Path(self._profile.name, "log").read_text(errors="replace")
                raise LabError(f"chromium {'has ended' if ready else 'does not reply'}: {log[-2000:]}")
            self._buffer += data
        message, _end, self._buffer = self._buffer.partition(b"\0")
        return t.cast("dict[str, t.Any]", json.loads(message))


class Page:
    """A tab of a browser that has opened a file; `requests` are the URLs of all that it requested since."""

    def __init__(self, browser: Browser, file: pathlib.Path, width: int = 1280, scripts: bool = True) -> None:
        self._browser = browser
        target = browser.command("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        browser.events.clear()
        for domain in ("Page", "Network", "Runtime", "Log", "Accessibility"):
            self.command(f"{domain}.enable")
        if not scripts:
            self.command("Emulation.setScriptExecutionDisabled", value=True)
        self.resize(width)
        self.command("Page.navigate", url=file.as_uri())
        browser.wait("Page.loadEventFired")

    def command(self, method: str, **parameters: t.Any) -> dict[str, t.Any]:
        """Send a command of this tab."""
        return self._browser.command(method, self._session, **parameters)

    @property
    def requests(self) -> list[str]:
        """The URLs that it requested, except those that its own policy blocked."""
        blocked = {
            one["requestId"] for one in self.events("Network.loadingFailed") if one.get("blockedReason") == "csp"
        }
        sent = self.events("Network.requestWillBeSent")
        return [one["request"]["url"] for one in sent if one["requestId"] not in blocked]

    def events(self, method: str) -> list[dict[str, t.Any]]:
        """Return the parameters of all events of a kind."""
        self.evaluate("0")
        return [one["params"] for one in self._browser.events if one.get("method") == method]

    def evaluate(self, expression: str) -> t.Any:
        """Return the value of an expression, waiting for it if it is a promise."""
        found = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise LabError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def resize(self, width: int, height: int = 800) -> None:
        """Show it as wide as this, on a phone if that is narrow."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def emulate(self, **features: str) -> None:
        """Emulate what the user prefers, such as `prefers_color_scheme="dark"`."""
        wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.command("Emulation.setEmulatedMedia", features=wanted)

    def click(self, selector: str) -> None:
        """Click the middle of the first element of a CSS selector."""
        x, y = self.evaluate(
            f"(() => {{ const element = document.querySelector({json.dumps(selector)});"
            " element.scrollIntoView({block: 'center'}); const box = element.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, selector: str, text: str) -> None:
        """Enter a text into a field, in place of what is in it."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).select()")
        self.command("Input.insertText", text=text)

    def roles(self) -> list[str]:
        """Return the role of each element as assistive technology sees it."""
        nodes = self.command("Accessibility.getFullAXTree")["nodes"]
        return [node["role"]["value"] for node in nodes if not node["ignored"]]

    def pdf(self) -> bytes:
        """Print it."""
        return base64.b64decode(self.command("Page.printToPDF", printBackground=True)["data"])

    def screenshot(self) -> bytes:
        """Return what is shown, as PNG."""
        return base64.b64decode(self.command("Page.captureScreenshot", format="png", optimizeForSpeed=False)["data"])


def _moved(reads: int, writes: int) -> list[tuple[int, int, int]]:
    """The actions that give a child these descriptors as 3 and 4, which may have been other ones of these already."""
    spare = max(reads, writes, COMMANDS + 1) + 1
    return [
        (os.POSIX_SPAWN_DUP2, writes, spare),
        (os.POSIX_SPAWN_DUP2, reads, COMMANDS),
        (os.POSIX_SPAWN_DUP2, spare, COMMANDS + 1),
        (os.POSIX_SPAWN_CLOSE, spare),
    ]
