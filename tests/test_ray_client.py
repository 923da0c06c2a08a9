"""A cluster that is reached through Ray's client server: a real head with ports and a token of its own."""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from strop.cli import main
from strop.directory import read_metrics

pytest.importorskip("ray")
pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]
SIZES = ["--steps", "2", "--tasks", "4", "--group", "4", "--max-tokens", "24", "--eval-tasks", "0"]


def free(count: int) -> list[str]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


def answers(host: str, port: int, until: float) -> None:
    while True:
        try:
            return socket.create_connection((host, port), 5).close()
        except OSError:
            assert time.monotonic() < until, "Ray's client server did not come up"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def head():
    """Its address and the environment to reach it in. Ray's own client server, in the head's processes."""
    port, client = free(2)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **token}
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        command = [
            str(Path(sys.executable).parent / "ray"),
            "start",
            "--head",
            "--block",
            "--port",
            port,
            "--ray-client-server-port",
            client,
        ]
        command += ["--num-cpus", "2", "--include-dashboard=false", "--object-store-memory", str(100 << 20), "--temp-dir", folder]
        with (Path(folder) / "head.log").open("w") as log:
            started = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            try:
                answers("127.0.0.1", int(client), time.monotonic() + 120)
                yield f"ray://127.0.0.1:{client}", environment
            finally:
                started.terminate()
                started.wait(60)


def trained(out: Path, address: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "strop", "train", "--cluster", address, "--replicas", "2", "--out", str(out), *SIZES]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, check=False)


def lines(out: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k != "t"} for line in read_metrics(out)]


def test_ray_through_its_client_server_a_run_writes_the_very_metrics_of_one_process(head, tmp_path, monkeypatch):
    address, environment = head
    done = trained(tmp_path / "there", address, environment)
    assert done.returncode == 0, done.stderr[-2000:]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    main(["train", "--out", str(tmp_path / "here"), *SIZES])
    assert lines(tmp_path / "there") == lines(tmp_path / "here")
    assert json.loads((tmp_path / "there" / "recipe.json").read_text())["grade"] == "exact"


def test_ray_a_cluster_that_asks_for_a_token_is_named_with_the_way_to_give_it(head, tmp_path):
    address, environment = head
    done = trained(tmp_path / "run", address, {**environment, "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    assert done.returncode == 2
    assert "set RAY_AUTH_MODE=token, and its RAY_AUTH_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr
