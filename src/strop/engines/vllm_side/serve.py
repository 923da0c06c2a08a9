"""Starts a vLLM server that strop can train through. Needs nothing but vLLM and the file beside it.

    VLLM_PYTHON serve.py --model MODEL [vLLM's own options]

It is vLLM's own OpenAI-compatible server with the options that token-exact sampling and delivered weights need:

    --enable-scale-out                    tokens in, tokens out: /inference/v1/generate
    --enable-prompt-tokens-details        how many of a prompt's positions came from the cache
    --logprobs-mode processed_logprobs    log-probabilities of the distribution that was drawn from: temperature and allowed ids are in them
    --max-logprobs -1                     a whole distribution where it is asked for
    --weight-transfer-config, --worker-extension-cls    weights arrive through strop_vllm.py
    VLLM_SERVER_DEV_MODE=1                opens the endpoints that weights are delivered by, to whoever reaches the server

The last is why a server for training listens on this machine, or on a Unix socket, and nowhere else.
`--owned FOLDER` ends the server when its standard input ends: whoever holds the other end owns it, however that one dies. The folder
goes with it. A guard sees to that, a process of its own, because a server that is killed cannot: vLLM's workers would outlive it.
"""

import contextlib
import os
import runpy
import select
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

PATIENCE = 10.0
"""Seconds a server has to end by itself."""

SETTINGS = {
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "3600",
}
"""vLLM's CPU build binds its threads to cores otherwise, which starves whoever shares the machine; and its server closes a connection that
was idle for five seconds, now and then under a request."""

OPTIONS = {
    "logprobs_mode": "processed_logprobs",
    "max_logprobs": -1,
    "worker_extension_cls": "strop_vllm.Extension",
}
SERVED = [
    "--enable-scale-out",
    "--enable-prompt-tokens-details",
    "--disable-uvicorn-access-log",
    '--weight-transfer-config={"backend": "strop"}',
]
ON_CPU = {"enforce_eager": True, "block_size": 32, "enable_chunked_prefill": False}
"""A small block, so that short prompts are shared. In pieces a prompt with a seed of its own ends the engine: it turns the seed's generator
back by an offset that CPU generators do not have (seen in vLLM 0.32)."""
CPU_SETTINGS = {"TORCH_COMPILE_DISABLE": "1"}
"""One small function is compiled even in eager mode, which would keep the first request waiting for ten seconds."""


def on_cpu() -> bool:
    from vllm.platforms import current_platform  # pyright: ignore[reportMissingImports]

    return current_platform.is_cpu()


def flags(options: dict[str, Any]) -> list[str]:
    """As on a command line."""
    said: list[str] = []
    for name, value in options.items():
        word = name.replace("_", "-")
        if isinstance(value, bool):
            said.append(f"--{word}" if value else f"--no-{word}")
        else:
            said += [f"--{word}", *map(str, value)] if isinstance(value, list) else [f"--{word}={value}"]
    return said


def settle() -> dict[str, Any]:
    """This process's environment, and the options that go with it."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if not on_cpu():
        return OPTIONS
    for name, value in CPU_SETTINGS.items():
        os.environ.setdefault(name, value)
    return OPTIONS | ON_CPU


def guard(folder: str) -> None:
    """In a process of its own, which goes on when the server, its parent, is gone: until the owner is gone too, or has closed the pipe."""
    server, asked = os.getppid(), False
    os.setsid()
    until = float("inf")
    while os.getppid() == server and time.monotonic() < until:
        if not asked and not held(0.2):
            os.kill(server, signal.SIGTERM)
            asked, until = True, time.monotonic() + PATIENCE
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server, signal.SIGKILL)
    while held(10.0):
        pass
    shutil.rmtree(folder, ignore_errors=True)


def held(seconds: float) -> bool:
    """Somebody still holds the other end of standard input."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return not ready or bool(os.read(0, 1 << 12))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if "--owned" in arguments:
        at = arguments.index("--owned")
        _, folder = arguments[at : at + 2]
        del arguments[at : at + 2]
        if not os.fork():
            guard(folder)
            os._exit(0)
    here = str(Path(__file__).resolve().parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH", ""))))
    sys.argv = ["vllm", *SERVED, *flags(settle()), *arguments]
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=False)
