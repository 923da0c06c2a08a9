"""A real browser, spoken to in its own protocol: what a page says, what it looks like, what it complained of."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = os.environ.get("STROP_BROWSER", "chromium")


class Tab:
    def __init__(self, wire: Any):
        self.wire, self.numbers, self.session = wire, itertools.count(1), {}
        self.complaints: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self.numbers)
        self.wire.send(json.dumps({"id": number, "method": method, "params": params, **self.session}))
        while True:
            said = json.loads(self.wire.recv(timeout=60))
            if said.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(json.dumps(said["params"]))
            if said.get("id") == number:
                assert "error" not in said, said
                return said["result"]

    def open(self, address: str) -> None:
        if not self.session:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self.session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
            for part in ("Page", "Runtime", "Log"):
                self.call(f"{part}.enable")
        self.call("Page.navigate", url=address)

    def value(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def until(self, expression: str, seconds: float = 120) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := self.value(expression)):
            assert time.monotonic() < deadline, (expression, self.value("document.body.innerText"), self.complaints)
            time.sleep(0.1)
        return found

    def picture(self, file: Path, scheme: str = "light", width: int = 1000, height: int = 1400) -> Path:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
        return file


@contextmanager
def tab(profile: Path) -> Iterator[Tab]:
    """A fresh browser without a past, gone afterwards."""
    from websockets.sync.client import connect

    assert shutil.which(BROWSER), f"no {BROWSER}: apt-get install chromium, or name one in STROP_BROWSER"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    process = subprocess.Popen([BROWSER, *flags], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        address = next(line.split()[-1] for line in process.stderr if line.startswith("DevTools listening on "))
        with connect(address, max_size=None) as wire:
            yield Tab(wire)
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
