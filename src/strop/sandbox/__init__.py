"""Executes Python that a model wrote, behind two walls of the kernel, in milliseconds: docs/sandbox.md."""

from strop.sandbox.box import Ran, Sandbox, Session
from strop.sandbox.cell import SandboxError
from strop.sandbox.rules import Level, Rules
from strop.sandbox.trial import Held, held

__all__ = ["Held", "Level", "Ran", "Rules", "Sandbox", "SandboxError", "Session", "held"]
