"""A page in headless Chromium, through its remote-debugging protocol: what a reader's click, key and screen do."""

import json
import shutil
import subprocess
import time
from contextlib import contextmanager
from urllib.request import urlopen

WIDE, PHONE = (1360, 900), (390, 844)


def executable():
    """Chromium's program, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Tab:
    """One page: `send` is the protocol, the rest what a reader does."""

    def __init__(self, socket):
        self._socket, self._last, self.problems = socket, 0, []

    def send(self, method, **params):
        """A command of the protocol; its result. What the console says in between is kept."""
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": params}))
        while (message := self._received()).get("id") != self._last:
            pass
        assert "error" not in message, message
        return message["result"]

    def _received(self):
        message = json.loads(self._socket.recv(timeout=60))
        method, facts = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(facts["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled" and facts["type"] in ("error", "warning", "assert"):
            self.problems.append(" ".join(str(each.get("value")) for each in facts["args"]))
        elif method == "Log.entryAdded" and facts["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{facts['entry']['text']} {facts['entry'].get('url', '')}")
        return message

    def evaluate(self, code):
        """The value of JavaScript in the page."""
        found = self.send("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, address, size=WIDE, dark=False):
        """Shows an address on a screen of a size, and waits until it is all there."""
        width, height = size
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=size == PHONE,
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=scheme)
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        self.send("Page.navigate", url=address)
        while self._received().get("method") != "Page.loadEventFired":
            pass

    def click(self, selector):
        """A click of the mouse in the middle of the first element that a selector finds."""
        find = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{find}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        x, y = self.evaluate(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({find}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key, code):
        """A key on the keyboard."""
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def shown(self, selector):
        """How many elements of a selector a reader can see."""
        each = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return self.evaluate(f"{each}.filter(e => e.checkVisibility()).length")

    def overflow(self):
        """By how many pixels the page is wider than the screen."""
        return self.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def screenshot(self, whole=False):
        """The page as base64 PNG."""
        return self.send("Page.captureScreenshot", captureBeyondViewport=whole)["data"]


@contextmanager
def tab(folder):
    """A browser with one empty tab; its profile lies in the folder."""
    from websockets.sync.client import connect

    options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run"]
    options += ["--disable-dev-shm-usage", "--disable-extensions", f"--user-data-dir={folder}", "about:blank"]
    process = subprocess.Popen([executable(), *options], stderr=subprocess.DEVNULL)
    try:
        with connect(_page(process, folder / "DevToolsActivePort"), max_size=None, open_timeout=60) as socket:
            yield Tab(socket)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _page(process, said):
    """The address of the page that the browser starts with; its port stands in a file once it listens."""
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        try:
            with urlopen(f"http://127.0.0.1:{said.read_text().split()[0]}/json/list", timeout=30) as answer:
                return next(each["webSocketDebuggerUrl"] for each in json.load(answer) if each["type"] == "page")
        except (OSError, IndexError, StopIteration):
            time.sleep(0.05)
    raise TimeoutError("the browser did not start")
