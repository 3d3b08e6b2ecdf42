"""Pages in a real Chromium: what a reader sees, what the console says, what leaves the page, what axe-core finds.

The fixture `browser` is in conftest.py. Skipped where there is no chromium or chromedriver.
"""

import json
import shutil
import tempfile
from pathlib import Path

import pytest

#: tests/get_axe.sh puts a recent axe-core here; without it the one of the test extra is taken.
RECENT_AXE = Path(__file__).parent / ".axe" / "axe.min.js"


def axe():
    """The script of axe-core, which is not part of this project (MPL-2.0)."""
    if RECENT_AXE.exists():
        return RECENT_AXE.read_text(encoding="utf-8")
    package = pytest.importorskip("axe_core_python", reason="no axe-core: pip install -e '.[test]', or sh tests/get_axe.sh")
    return (Path(package.__path__[0]) / "axe.min.js").read_text(encoding="utf-8")


def start():
    """A headless Chromium under selenium; skips with the reason where there is none."""
    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no chromium and chromedriver on this machine: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install -e '.[test]'")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    profile = tempfile.mkdtemp(prefix="chromium-")
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "disable-background-networking",
        "hide-scrollbars",
    ):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return Browser(webdriver.Chrome(options, webdriver.ChromeService(driver)), profile)


class Browser:
    """One window. `driver` is selenium's own; everything else is what the tests of our pages share."""

    def __init__(self, driver, profile):
        self.driver, self.profile = driver, profile

    def open(self, path, width=1200, height=900, *, dark=False, still=True):
        """Show a file in a window of this size; `still` asks for no movement."""
        self._command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        wished = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if still else "no-preference",
        }
        self._command("Emulation.setEmulatedMedia", features=[{"name": name, "value": value} for name, value in wished.items()])
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)  # what an earlier page left
        self.url = Path(path).resolve().as_uri()
        self.driver.get(self.url)

    def _command(self, name, **arguments):
        return self.driver.execute_cdp_cmd(name, arguments)

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def press(self, *keys):
        """Keys go to whatever has the focus."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def errors(self):
        """What the console says that is no mere information."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self):
        """What was asked for beside the page itself, and beside what the browser's own first page asks for (chrome://)."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if url.partition("#")[0] != self.url and not url.startswith(("data:", "blob:", "chrome://"))]

    def too_wide(self):
        """By how many pixels the page is wider than its window."""
        return self.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def violations(self, *, least=("serious", "critical")):
        """axe-core's violations of these impacts, a line each; skips where axe-core is not there."""
        self.run(axe())
        script = (
            "const done = arguments[0]; axe.run(document).then(found => done(found.violations), error => done(String(error)))"
        )
        self.driver.set_script_timeout(60)
        found = self.driver.execute_async_script(script)
        assert isinstance(found, list), found
        return [
            f"{entry['impact']}: {entry['id']}: {entry['help']}: {node['html'][:200]}"
            for entry in found
            if entry["impact"] in least
            for node in entry["nodes"]
        ]

    def quit(self):
        self.driver.quit()
        shutil.rmtree(self.profile, ignore_errors=True)
