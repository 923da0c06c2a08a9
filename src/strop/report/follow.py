"""A run's page that follows it: served on this machine alone, made again whenever something was committed.

It is the page of `strop report`; a short script asks every second whether there is more and exchanges the sections that changed. What a
model wrote is text here too, and the page's policy lets the browser run that script, ask this server, and nothing else.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from strop.directory import read_about, read_metrics
from strop.report import page

HERE = "127.0.0.1"
WATCHED = ("recipe.json", "metrics.jsonl", "result.json")
WAITS = 10
"""Seconds for a browser to say what it wants, and to take it."""

SCRIPT = """<script nonce="NONCE">
"use strict";
let version = "";
async function look() {
  const said = document.getElementById("said");
  try {
    const answer = await (await fetch("/page?have=" + version, {cache: "no-store"})).json();
    if (answer.html !== null) {
      const shown = document.getElementById("run"), fresh = document.createElement("template");
      fresh.innerHTML = answer.html;
      const parts = [...fresh.content.children];
      parts.forEach((part, i) => {
        const old = shown.children[i];
        if (!old) shown.append(part);
        else if (old.outerHTML !== part.outerHTML) old.replaceWith(part);
      });
      while (shown.children.length > parts.length) shown.lastElementChild.remove();
      version = answer.version;
    }
    said.textContent = answer.said;
  } catch {
    said.textContent = "strop report --watch does not answer any more; below is the last it said";
  }
  setTimeout(look, 1000);
}
look();
</script>
"""


class Followed:
    """A run as it stands, made into a page when it has changed."""

    def __init__(self, run: Path):
        self.run = run
        self.title, self._html = page.content(run)
        self._made, self._lock = "", threading.Lock()

    def now(self, have: str = "") -> dict[str, Any]:
        """What to show to somebody who has a version."""
        with self._lock:
            version = "-".join(_stamp(self.run / name) for name in WATCHED)
            if version != self._made:
                try:
                    self.title, self._html = page.content(self.run)
                    self._made = version
                except (OSError, ValueError, KeyError) as error:  # caught while it was written, or damaged: the last good one stays
                    return {"version": have, "said": f"cannot be read now ({type(error.__cause__ or error).__name__})", "html": None}
            return {"version": version, "said": self.said(), "html": None if have == version else self._html}

    def said(self) -> str:
        lines = read_metrics(self.run)
        steps = read_about(self.run)["resolved"]["steps"]
        if (self.run / "result.json").exists():
            return f"done: {len(lines)} of {steps} steps"
        if not lines:
            return f"no step of {steps} yet"
        return f"{len(lines)} of {steps} steps, the last {_ago(time.time() - lines[-1].get('t', {}).get('at', 0))} ago"


def _stamp(path: Path) -> str:
    try:
        about = path.stat()
    except OSError:
        return "0"
    return f"{about.st_mtime_ns:x}.{about.st_size:x}"


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


class Server(ThreadingHTTPServer):
    """On this machine's own address. A browser that goes away, and what it had not read, is nobody's fault."""

    daemon_threads = True

    def __init__(self, run: Path, port: int):
        self.followed = Followed(run)
        super().__init__((HERE, port), Asked)

    @property
    def address(self) -> str:
        return f"http://{HERE}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Asked(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = WAITS

    def do_GET(self) -> None:
        names = {f"{name}:{self.server.server_port}" for name in (HERE, "localhost")}
        if self.headers.get("Host") not in names:  # a page elsewhere whose name was made to point here
            self._send(421, "text/plain", "this is served on 127.0.0.1 alone")
            return
        asked = urlsplit(self.path)
        if asked.path == "/page":
            have = parse_qs(asked.query).get("have", [""])[0]
            self._send(200, "application/json", json.dumps(self.server.followed.now(have)))
        elif asked.path == "/":
            nonce = secrets.token_urlsafe(16)
            now = self.server.followed.now()
            body = f"<p id=said class=dim>{page.escape(now['said'])}</p><div id=run>{now['html'] or ''}</div>"
            shown = page.document(self.server.followed.title, body, SCRIPT.replace("NONCE", nonce))
            self._send(200, "text/html; charset=utf-8", shown, f"; script-src 'nonce-{nonce}'; connect-src 'self'")
        else:
            self._send(404, "text/plain", "nothing here; the page is /")

    def _send(self, code: int, kind: str, text: str, more: str = "") -> None:
        data = text.encode()
        policy = f"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'{more}"
        headers = {"Content-Type": kind, "Content-Length": str(len(data)), "Cache-Control": "no-store"}
        headers |= {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass
