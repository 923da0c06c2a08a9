"""An environment on OpenEnv's own server: a word's length is paid, and three words end it. python server.py PORT"""

import sys

import uvicorn
from openenv.core.env_server.http_server import create_fastapi_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State
from pydantic import Field


class Say(Action):
    word: str = Field(..., max_length=20)


class Heard(Observation):
    heard: str = ""


class Words(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self):
        self.count = 0

    def reset(self, seed=None, episode_id=None, **more):
        self.count = 0
        return Heard(heard=f"seed {seed}")

    def step(self, action, **more):
        self.count += 1
        return Heard(heard=f"{self.count}: {action.word}", done=self.count == 3, reward=float(len(action.word)))

    @property
    def state(self):
        return State(step_count=self.count)


uvicorn.run(create_fastapi_app(Words, Say, Heard, max_concurrent_envs=8), host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
