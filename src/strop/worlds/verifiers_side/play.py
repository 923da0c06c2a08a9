"""play: an environment of `verifiers` 0.4, played against a desk. Needs nothing but verifiers and the file beside it.

    PYTHON play.py ENVIRONMENT                   a rollout for each line of JSON that comes, its reward for each as a line of JSON
    PYTHON play.py ENVIRONMENT --rows 256        its first tasks, as the questions of a run: strop train --data rows.jsonl

ENVIRONMENT is the id of a taskset, as `verifiers` loads one: a package that is installed, or a module in `--path DIRECTORY`. Its knobs
stand behind it as KEY=VALUE, and which `Env` plays it is named with `--env ID`. A line that comes is what strop tells a guest; the number
of the task in its taskset stands in `needs.answer`. Where the line names no address, the environment does.

The seats' harness is `strop_chat`, the file beside this one: verifiers' own `null` and `bash` build a virtual environment for a script of
theirs with `uv`, from a package index, for which a machine needs one. `--harness null` takes them all the same.
"""

import argparse
import asyncio
import json
import logging
import os
import sys
from itertools import count, islice
from pathlib import Path
from typing import Any

HERE = str(Path(__file__).resolve().parent)


def configured(name: str, knobs: dict[str, Any], env: str, harness: str) -> Any:
    """The environment's configuration, with every seat played by this harness in a directory of this machine."""
    from verifiers.v1.configs.agent import AgentConfig  # pyright: ignore[reportMissingImports]
    from verifiers.v1.utils.loaders import env_config_type, resolve_env_config  # pyright: ignore[reportMissingImports]

    seats = [seat for seat, field in env_config_type(name, env).model_fields.items() if isinstance(field.default, AgentConfig)]
    played = {"harness": {"id": harness}, "runtime": {"type": "subprocess"}, "network_notice": False}
    return resolve_env_config({"id": env, "taskset": {"id": name, **knobs}, **{seat: played for seat in seats}})


def told(episode: Any) -> dict[str, Any]:
    """What an episode earned: the mean reward of those whose replies are trained, and each reward by its name."""
    wrong = [*episode.errors, *(error for trace in episode.traces for error in trace.errors)]
    cut = [trace for trace in episode.traces if not trace.ok]
    if wrong or cut or not episode.traces:
        said = [" ".join(f"{error.type}: {error.message}".split())[:300] for error in wrong]
        return {"error": said[0] if said else "the episode is not ok, and verifiers does not say why"}
    trained = [trace for trace in episode.traces if trace.agent.trainable] or episode.traces
    scores = {"outcome": sum(trace.reward for trace in trained) / len(trained)}
    for trace in trained:
        scores |= {f"vf_{key}": float(reward.value) for key, reward in trace.rewards.items() if reward is not None}
    return {"scores": scores}


async def play(env: Any, tasks: dict[int, Any]) -> None:
    """Line after line, until the input ends."""
    from verifiers.v1.clients import EvalClientConfig, ModelContext  # pyright: ignore[reportMissingImports]

    stream, rollouts = iter(env.taskset), count()
    async with env.serving():
        while line := await asyncio.to_thread(sys.stdin.readline):
            given = json.loads(line)
            # verifiers keeps a client, with its key, for each configuration it has met: each rollout has one of its own
            os.environ[variable := f"STROP_DESK_KEY_{next(rollouts)}"] = given.get("key") or os.environ["OPENAI_API_KEY"]
            number = int(given["needs"]["answer"])
            for found, task in enumerate(islice(stream, max(0, number + 1 - len(tasks))), len(tasks)):
                tasks[found] = task
            client = EvalClientConfig(base_url=given.get("url") or os.environ["OPENAI_BASE_URL"], api_key_var=variable)
            episode = await env.run_episode(tasks[number], ModelContext(model=given["model"], client=client))
            print(json.dumps(told(episode)), flush=True)
            del os.environ[variable]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment")
    parser.add_argument("knobs", nargs="*", metavar="KEY=VALUE", help="of the taskset; a value is read as JSON where it is JSON")
    parser.add_argument("--env", default="", help="which Env plays it; by default the taskset's own")
    parser.add_argument("--path", default="", help="a directory in which the taskset's module lies")
    parser.add_argument("--harness", default="strop_chat")
    parser.add_argument("--rows", type=int, default=0)
    asked = parser.parse_args()
    sys.path[:0] = [HERE, *([asked.path] if asked.path else [])]
    logging.disable(logging.WARNING)
    from verifiers.v1.utils.loaders import load_environment  # pyright: ignore[reportMissingImports]

    knobs = {}
    for knob in asked.knobs:
        key, _, value = knob.partition("=")
        try:
            knobs[key] = json.loads(value)
        except ValueError:
            knobs[key] = value
    env = load_environment(configured(asked.environment, knobs, asked.env, asked.harness))
    if asked.rows:
        for number, task in enumerate(islice(iter(env.taskset), asked.rows)):
            print(json.dumps({"prompt": task.data.prompt_text, "answer": str(number)}))
        return
    asyncio.run(play(env, {}))


if __name__ == "__main__":
    main()
