"""A headless Chromium on one page, driven over the DevTools protocol: navigate, evaluate, press and drag the mouse."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--disable-dev-shm-usage",
    "--window-size=1400,1800", "--remote-debugging-port=0",
)  # fmt: skip
KEYS = {"Enter": 13, "ArrowUp": 38, "ArrowDown": 40}


def installed() -> str | None:
    """Path of a Chromium, None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def wait_for(question, seconds: float, what: str):
    """The first true answer of ``question()``; TimeoutError after ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = question()
        if answer:
            return answer
        time.sleep(0.2)
    raise TimeoutError(f"waited {seconds:g} s for {what}")


class Browser:
    """One page of a fresh Chromium.

    Args:
        folder: empty folder for its profile. switches: of the command line, after those of every test.
    """

    def __init__(self, folder: Path, *switches: str):
        command = [installed(), *SWITCHES, *switches, f"--user-data-dir={folder}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port_file = folder / "DevToolsActivePort"
            wait_for(lambda: port_file.exists() and port_file.read_text().count("\n"), 60, "Chromium to start")
            port = port_file.read_text().split("\n")[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=60) as reply:
                page = next(target for target in json.load(reply) if target["type"] == "page")
            self.socket = websocket.create_connection(page["webSocketDebuggerUrl"], suppress_origin=True, timeout=60)
        except BaseException:
            self.close()
            raise
        self.count = 0
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)  # pages without a window have no focus otherwise

    def close(self) -> None:
        if hasattr(self, "socket"):
            self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def call(self, method: str, **parameters):
        """Send one command and return its result; events on the way are dropped."""
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": parameters}))
        try:
            while (answer := json.loads(self.socket.recv())).get("id") != self.count:
                pass
        except websocket.WebSocketTimeoutException:
            raise TimeoutError(f"{method}: the page did not answer in a minute") from None
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def evaluate(self, expression: str):
        """Value of a JavaScript expression; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 5) -> None:
        """Press at ``start``, move to ``end``, release."""
        moves = [tuple(a + (b - a) * i / steps for a, b in zip(start, end, strict=True)) for i in range(1, steps + 1)]
        self._mouse("mouseMoved", start)
        self._mouse("mousePressed", start)
        for point in moves:
            self._mouse("mouseMoved", point, buttons=1)
        self._mouse("mouseReleased", end)

    def click(self, point: tuple[float, float]) -> None:
        self._mouse("mousePressed", point)
        self._mouse("mouseReleased", point)

    def choose(self, select: str, down: bool = True) -> None:
        """Open the list that the expression ``select`` names and take the entry below the present one, or above it."""
        middle = "(box => [box.x + box.width / 2, box.y + box.height / 2])"
        self.evaluate(f"{select}.scrollIntoView({{block: 'center'}})")
        self.click(self.evaluate(f"{middle}({select}.getBoundingClientRect())"))
        time.sleep(0.5)  # the list has a window of its own, which takes the keys once it stands
        self.press("ArrowDown" if down else "ArrowUp")
        self.press("Enter")

    def press(self, key: str) -> None:
        """Press and release one of the ``KEYS`` where the focus is."""
        code = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        self.call("Input.dispatchKeyEvent", type="rawKeyDown", **code)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def _mouse(self, kind: str, point: tuple[float, float], buttons: int = 0) -> None:
        button = "none" if kind == "mouseMoved" and not buttons else "left"
        self.call("Input.dispatchMouseEvent", type=kind, x=point[0], y=point[1], button=button, buttons=buttons,
                  clickCount=int(kind != "mouseMoved"))  # fmt: skip
