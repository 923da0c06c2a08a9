"""What a delivery is known by. Computed by the trainer of what it sends, and by vLLM's workers of what arrived. Needs nothing of strop."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data).hexdigest()


def checksum(digests: Mapping[str, str]) -> str:
    """One for all tensors and their names."""
    return hashlib.sha256("".join(f"{name}={digests[name]}\n" for name in sorted(digests)).encode()).hexdigest()
