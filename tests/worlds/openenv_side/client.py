"""OpenEnv's own client plays an episode of a served wiki: python client.py URL SEED KEY ANSWER, in an environment with openenv."""

import json
import sys

from openenv.core.generic_client import GenericEnvClient

url, seed, key, answer = sys.argv[1:]
with GenericEnvClient(base_url=url).sync() as env:
    first = env.reset(seed=int(seed))
    card = env.step({"tool": "get", "arguments": {"key": key}})
    steps = env.state()["step_count"]
    last = env.step({"text": answer})
print(json.dumps([first.observation["text"], card.observation["text"], steps, last.reward, last.done]))
