"""Drives a headless Chromium for the tests of our pages, with nothing but the standard library.

The browser is spoken to through a pipe (Chrome DevTools Protocol: JSON messages that end with a
zero byte). A test loads this file by its path, because the folder of tests is not a package.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 60.0  # a page that has not answered by then is broken
LOCAL = ("file:", "data:", "blob:", "about:")


@dataclass
class Visit:
    """What the browser saw.

    Attributes:
        result: What the probe returned.
        console: Errors, warnings, violated policies and messages.
        requests: Addresses that the page asked for, other than itself and embedded data.
    """

    result: Any
    console: list[str]
    requests: list[str]


def find_browser() -> str:
    """Path of the browser; skips the test with the reason where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no headless browser: none of {', '.join(NAMES)} is installed")
    return found


def visit(
    page: Path,
    folder: Path,
    probe: str = "",
    *,
    size: tuple[int, int] = (1280, 800),
    dark: bool = False,
    picture: Path | None = None,
) -> Visit:
    """Open a page, run a probe in it, and see what happens.

    Args:
        page: The HTML file.
        folder: Folder for the profile of the browser.
        probe: Body of an asynchronous JavaScript function, run once the page is loaded.
        size: Size of the window in pixels.
        dark: Whether the reader prefers dark pages.
        picture: Where to write a screenshot (PNG) after the probe.
    """
    with Browser(folder) as browser:
        browser.open(page, size, dark)
        result = browser.evaluate(f"(async () => {{ {probe} }})()")
        if picture is not None:
            data = browser.call("Page.captureScreenshot")["data"]
            picture.write_bytes(base64.b64decode(data))
        # Whatever the page still had to say comes before the answer to this.
        browser.evaluate("new Promise((go) => setTimeout(go, 100))")
        return Visit(result, browser.console, browser.requests)


class Browser:
    """One browser with one page."""

    def __init__(self, folder: Path) -> None:
        self.console: list[str] = []
        self.requests: list[str] = []
        self._events: list[str] = []
        self._session = ""
        self._number = 0
        self._rest = b""
        command = [
            find_browser(),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            f"--user-data-dir={folder / 'profile'}",
            "--remote-debugging-pipe",
        ]
        # The browser reads commands from descriptor 3 and writes answers to descriptor 4.
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 50) for end in (theirs_in, theirs_out)]

        def connect() -> None:
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=connect,
            pass_fds=(3, 4),
        )
        for end in (theirs_in, theirs_out, *high):
            os.close(end)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._send("Browser.close", {})
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def open(self, page: Path, size: tuple[int, int], dark: bool) -> None:
        """Load a page and wait until it is there."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.resolve().as_uri())
        while "Page.loadEventFired" not in self._events:
            self._read()

    def evaluate(self, script: str) -> Any:
        """Value of a script, awaited if it is a promise."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(f"the probe failed: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Answer of the browser to a command."""
        number = self._send(method, parameters)
        while True:
            message = self._read()
            if message.get("id") == number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return message["result"]

    def _send(self, method: str, parameters: dict[str, Any]) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        return self._number

    def _read(self) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self._in, 1 << 20) if ready else b""
            if not data:
                raise AssertionError("the browser ended or does not answer")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(line)
        self._notice(message.get("method", ""), message.get("params", {}))
        return message

    def _notice(self, event: str, what: dict[str, Any]) -> None:
        self._events.append(event)
        if event == "Runtime.consoleAPICalled":
            words = [str(part.get("value", part.get("description"))) for part in what["args"]]
            self.console.append(f"{what['type']}: {' '.join(words)}")
        elif event == "Runtime.exceptionThrown":
            details = what["exceptionDetails"]
            thrown = details.get("exception", {}).get("description", "")
            self.console.append(f"exception: {details['text']} {thrown}")
        elif event == "Log.entryAdded":
            self.console.append(f"{what['entry']['level']}: {what['entry']['text']}")
        elif event == "Network.requestWillBeSent":
            url = what["request"]["url"]
            self.requests += [url] * (not url.startswith(LOCAL))
