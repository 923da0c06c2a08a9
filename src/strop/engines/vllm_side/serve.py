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
`--owned` ends the server when its standard input ends: whoever holds the other end owns it, however that one dies.
"""

import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

PATIENCE = 10.0
"""Seconds a server has to end by itself."""

SETTINGS = {
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    "VLLM_WORKER_MULTIPROCESSING_METHOD": "spawn",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TORCH_COMPILE_DISABLE": "1",
}
"""Threads of vLLM's CPU build are bound to cores otherwise, which starves whoever shares the machine; and one small function that it
compiles even in eager mode would keep the first request waiting."""

OPTIONS = [
    "--enable-scale-out",
    "--enable-prompt-tokens-details",
    "--logprobs-mode=processed_logprobs",
    "--max-logprobs=-1",
    '--weight-transfer-config={"backend": "strop"}',
    "--worker-extension-cls=strop_vllm.Extension",
]


def end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if "--owned" in arguments:
        arguments.remove("--owned")
        threading.Thread(target=end_with_stdin, daemon=True).start()
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    here = str(Path(__file__).resolve().parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH", ""))))
    sys.argv = ["vllm", *OPTIONS, *arguments]
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=False)
