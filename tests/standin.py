"""A server that speaks chat completions by a script, and misbehaves on request."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(text: str) -> bytes:
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}).encode()


class StandIn(ThreadingHTTPServer):
    """Each request takes the next line of `plan`, (code, body, seconds to wait); behind them it says what `says` makes of the last
    message."""

    daemon_threads = True
    plan: list[tuple[int, bytes, float]]
    asked: list[dict]
    says: Callable[[str], str]
    now = most = 0

    @property
    def engine(self) -> str:
        return f"remote:http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/chat/completions"
        self.server.asked.append(body)
        self.server.now += 1
        self.server.most = max(self.server.most, self.server.now)
        said = completion(self.server.says(body["messages"][-1]["content"]))
        code, said, wait = self.server.plan.pop(0) if self.server.plan else (200, said, 0.0)
        time.sleep(wait)
        self.server.now -= 1
        self.send_response(code)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        with contextlib.suppress(OSError):  # nobody reads to the end
            self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def serving(says: Callable[[str], str] = lambda question: "<answer>3</answer>") -> Iterator[StandIn]:
    server = StandIn(("127.0.0.1", 0), Handler)
    server.plan, server.asked, server.says = [], [], says
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
