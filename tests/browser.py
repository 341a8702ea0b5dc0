"""A headless Chromium for tests, driven over WebDriver (W3C): JSON over HTTP, so the few calls needed are short.

No client library: it would bring a dozen packages for what `http.client` does here.
"""

import base64
import http.client
import json
import re
import shutil
import subprocess
from contextlib import closing, contextmanager

FLAGS = [
    "--headless",
    "--no-sandbox",  # CI is root, for whom there is none
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have little of it
    # No traffic of the browser's own:
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def missing():
    """The programs that are not installed."""
    names = {"chromium": ("chromium", "chromium-browser", "google-chrome"), "chromedriver": ("chromedriver",)}
    return [name for name, known in names.items() if not any(map(shutil.which, known))]


class Browser:
    """One page at a time; `script` runs in the page and gives its value back as JSON types."""

    def __init__(self, connection):
        self.connection = connection
        self.session = ""

    def call(self, method, path, **body):
        content = json.dumps(body) if method == "POST" else None
        self.connection.request(method, f"{self.session}{path}", content, {"Content-Type": "application/json"})
        value = json.loads(self.connection.getresponse().read())["value"]
        if isinstance(value, dict) and "error" in value:
            raise RuntimeError(f"{path}: {value['error']}: {value['message']}")
        return value

    def start(self, profile):
        options = {"args": [*FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        # A dialog that a page opens stays and makes the next call fail: a test sees it.
        wanted["unhandledPromptBehavior"] = "ignore"
        answer = self.call("POST", "/session", capabilities={"alwaysMatch": wanted})
        self.session = f"/session/{answer['sessionId']}"

    def open(self, path, *, width=1280, height=900, scheme="light"):
        """Load a file in a window of this size and colour scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", **size)
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("POST", "/url", url="about:blank")  # so that a file of the same name is loaded anew
        self.log()
        self.call("POST", "/url", url=path.as_uri())

    def devtools(self, command, **parameters):
        return self.call("POST", "/goog/cdp/execute", cmd=command, params=parameters)

    def script(self, source, *arguments):
        return self.call("POST", "/execute/sync", script=source, args=list(arguments))

    def log(self):
        """What the console got since the last call, the network's and the policy's refusals among it."""
        return self.call("POST", "/se/log", type="browser")

    def click(self, selector):
        self.call("POST", f"/element/{self._find(selector)}/click")

    def type(self, selector, text):
        self.call("POST", f"/element/{self._find(selector)}/value", text=text)

    def press(self, key):
        """Press one key, wherever the focus is."""
        keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self.call("POST", "/actions", actions=[{"type": "key", "id": "keyboard", "actions": keys}])

    def hover(self, selector, x=0, y=0):
        """Move the pointer to an element's middle, or so many pixels from it."""
        origin = {"element-6066-11e4-a52e-4f735466cecf": self._find(selector)}
        move = [{"type": "pointerMove", "duration": 0, "origin": origin, "x": x, "y": y}]
        self.script("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        self.call("POST", "/actions", actions=[{"type": "pointer", "id": "mouse", "actions": move}])

    def screenshot(self, path):
        """Save what the window shows, to be looked at."""
        path.write_bytes(base64.b64decode(self.call("GET", "/screenshot")))

    def _find(self, selector):
        return next(iter(self.call("POST", "/element", using="css selector", value=selector).values()))


@contextmanager
def chromium(profile):
    """A browser with an empty profile, ended with everything that it started."""
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        said = iter(driver.stdout.readline, "")
        port = next(int(found[1]) for line in said if (found := re.search(r"successfully on port (\d+)", line)))
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            browser = Browser(connection)
            browser.start(profile)
            try:
                yield browser
            finally:
                browser.call("DELETE", "")
    finally:
        driver.terminate()
        driver.wait()
        driver.stdout.close()
