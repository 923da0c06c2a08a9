"""The page that follows a run: what it answers, whom it refuses, and, in a real browser, a run that is killed and resumed."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from browser import tab
from hostile import HOSTILE

from strop.directory import read_metrics
from strop.report import follow

STROP = [sys.executable, "-m", "strop"]


@pytest.fixture
def served(run):
    """The address of a server that follows the run."""
    with follow.Server(run, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(port, path, **headers):
    wire = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    wire.request("GET", path, headers=headers)
    answer = wire.getresponse()
    with contextlib.closing(wire):
        return answer.status, answer.headers, answer.read().decode()


def test_it_answers_with_the_page_and_then_only_with_what_is_new(run, served):
    status, _, html = ask(served, "/")
    assert status == 200
    assert "<h2>Curves</h2>" in html
    now = json.loads(ask(served, "/page?have=")[2])
    assert "5 of 5 steps" in now["said"]
    assert "<h3>Step 5</h3>" in now["html"]
    again = json.loads(ask(served, f"/page?have={now['version']}")[2])
    assert again == {**now, "html": None}
    with open(run / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": 5, "reward": 0.875}) + "\n")
    more = json.loads(ask(served, f"/page?have={now['version']}")[2])
    assert more["version"] != now["version"]
    assert "6 of 5 steps" in more["html"]


def test_what_a_model_wrote_is_text_and_the_browser_is_told_to_run_one_script(served):
    _, headers, html = ask(served, "/")
    assert HOSTILE not in html
    assert html.count("<script") == 1
    policy = headers["Content-Security-Policy"]
    nonce = html.split('nonce="')[1].split('"')[0]
    assert f"script-src 'nonce-{nonce}'" in policy
    assert policy.startswith("default-src 'none';")
    assert nonce not in ask(served, "/")[2], "a new one each time"


def test_it_answers_nobody_who_calls_it_by_another_name_and_knows_one_page(served):
    assert ask(served, "/", Host="evil.example")[0] == 421
    assert ask(served, "/page", Host=f"evil.example:{served}")[0] == 421
    assert ask(served, "/", Host=f"localhost:{served}")[0] == 200
    assert ask(served, "/../recipe.json")[0] == 404


def test_a_file_that_is_being_written_leaves_the_page_as_it_was(run, served):
    now = json.loads(ask(served, "/page")[2])
    (run / "recipe.json").write_text('{"recipe": ')
    torn = json.loads(ask(served, f"/page?have={now['version']}")[2])
    assert torn == {"version": now["version"], "said": "cannot be read now (JSONDecodeError)", "html": None}


def test_a_browser_that_goes_away_stops_nothing(served, capfd):
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", served)) as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            wire.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{served}\r\n\r\n".encode())
    assert ask(served, "/")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_port_in_use_is_refused_in_one_line(run, served, refused):
    said = refused("report", run, "--watch", "--port", served)
    assert (
        said
        == f"strop: port {served} of 127.0.0.1 cannot be had: Address already in use. Name another with --port N; 0 takes a free one.\n"
    )
    assert "from 0" in refused("report", run, "--watch", "--port", 70000)
    assert "add --watch" in refused("report", run, "--port", 1)
    assert "leave --out away" in refused("report", run, "--watch", "--out", "x.html")
    assert "holds no run" in refused("report", run / "groups", "--watch")


@pytest.mark.full
def test_a_browser_follows_a_run_that_is_killed_and_resumed(tmp_path):
    run, steps = tmp_path / "run", 60  # long enough for a browser to come
    sizes = ["--steps", str(steps), "--tasks", "4", "--group", "4", "--max-tokens", "12", "--eval-tasks", "0", "--checkpoint-every", "20"]
    points = "document.querySelector('polyline.curve')?.getAttribute('points').split(' ').length"
    training = subprocess.Popen([*STROP, "train", *sizes, "--out", str(run)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watching = None
    try:
        deadline = time.monotonic() + 120
        while not (run / "recipe.json").exists():
            assert training.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        watching = subprocess.Popen(
            [*STROP, "report", str(run), "--watch", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        address = watching.stdout.readline().strip()
        with tab(tmp_path / "profile") as seen:
            seen.open(address)
            seen.until(f"{points} >= 3")
            os.kill(training.pid, signal.SIGKILL)
            assert training.wait() == -signal.SIGKILL
            there = len(read_metrics(run))
            assert there < steps, "killed too late to prove anything"
            seen.until(f"document.getElementById('said').textContent.startsWith('{there} of {steps} steps')")
            training = subprocess.Popen([*STROP, "train", "--resume", str(run)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            seen.until(f"document.getElementById('said').textContent === 'done: {steps} of {steps} steps'")
            assert training.wait(60) == 0
            seen.until(f"{points} === {steps}")
            text = seen.value("document.body.innerText")
            assert f"Step {steps}\n" in text, "a rollout of the last step"
            assert "Tripwires" in text
            assert seen.complaints == []
            for scheme in ("light", "dark"):
                assert seen.picture(tmp_path / f"{scheme}.png", scheme).stat().st_size > 20_000
        with tab(tmp_path / "another") as seen:
            seen.open(address)
            seen.until(f"{points} === {steps}")
            watching.send_signal(signal.SIGINT)
            assert watching.wait(20) == 0
            seen.until("document.getElementById('said').textContent.includes('does not answer any more')")
            assert seen.value(points) == steps, "what was there stays to read"
    finally:
        for process in filter(None, (training, watching)):
            process.kill()
            process.communicate()
