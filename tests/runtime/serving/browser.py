"""A page of Chromium without a window, spoken to by its debugging protocol through two pipes."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.started import own_environment

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_S = 120.0


def chromium() -> str | None:
    """Where it is installed, if it is."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page. Whatever it complains about is in ``complaints``."""

    def __init__(self, ears: int, mouth: int) -> None:
        self._ears, self._mouth, self._left, self._number = ears, mouth, b"", 0
        self.complaints: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """What the page answers to a command of the protocol."""
        return self._call(method, self._session, **parameters)

    def open(self, url: str, *, wide: int = 1180, tall: int = 760) -> None:
        """Goes there."""
        self.call("Emulation.setDeviceMetricsOverride", width=wide, height=tall, deviceScaleFactor=1, mobile=False)
        assert "errorText" not in self.call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of an expression."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, script: str) -> None:
        """Until an expression is true."""
        end = time.monotonic() + PATIENCE_S
        while not self.run(script):
            assert time.monotonic() < end, f"never true: {script}; {self.run('document.body.innerText')}"
            time.sleep(0.05)

    def choose_file(self, selector: str, path: Path) -> None:
        """As somebody who picks a file."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def picture(self) -> bytes:
        """What it looks like, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        self._number += 1
        asked = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            asked["sessionId"] = session
        os.write(self._mouth, json.dumps(asked).encode() + b"\0")
        while (said := self._next()).get("id") != self._number:
            if said.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.complaints.append(json.dumps(said["params"]))
        assert "error" not in said, said["error"]
        return said["result"]

    def _next(self) -> Any:
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._ears], [], [], PATIENCE_S)
            piece = os.read(self._ears, 2**20) if ready else b""
            assert piece, "the browser has fallen silent"
            self._left += piece
        said, _, self._left = self._left.partition(b"\0")
        return json.loads(said)


@contextmanager
def page(folder: Path) -> Iterator[Page]:
    """A page of a browser that keeps what it keeps in ``folder``, and ends with the block."""
    program = chromium()
    assert program is not None
    (commands, mouth), (ears, answers) = os.pipe(), os.pipe()
    theirs = [fcntl.fcntl(each, fcntl.F_DUPFD, 20) for each in (commands, answers)]  # neither is 3 or 4 itself
    os.close(commands)
    os.close(answers)
    # the browser reads commands from file 3 and answers in file 4: bash puts them there
    line = 'exec "$0" "$@" 3<&{} 4>&{}'.format(*theirs)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
    browser = subprocess.Popen(
        ["bash", "-c", line, program, *options, f"--user-data-dir={folder}", "about:blank"],
        pass_fds=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=own_environment(),
    )  # fmt: skip
    for each in theirs:
        os.close(each)
    try:
        opened = Page(ears, mouth)
        yield opened
        opened._call("Browser.close")
    finally:
        os.close(mouth)
        os.close(ears)
        try:
            browser.wait(20)
        except subprocess.TimeoutExpired:
            browser.kill()
            browser.wait()
