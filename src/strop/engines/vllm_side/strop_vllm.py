"""Inside vLLM's worker: weights that arrive as a safetensors file, through vLLM's own weight-transfer interface.

vLLM's transports (NCCL, CUDA IPC, RDMA) need a GPU on both sides. This one needs a directory that both sides see, so it works on a
CPU and on a GPU alike. Nothing is loaded that is not whole: every tensor's bytes are hashed here and compared with what the
trainer says it sent, and a delivery must hold the names that the first one held. What was loaded is remembered, for the trainer to ask.

Needs nothing of strop but the files beside it.
"""

# pyright: basic, reportMissingImports=false
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from strop_sums import checksum, digest
from vllm.distributed.weight_transfer import WeightTransferEngine, WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload


@dataclass
class Nothing(WeightTransferInitInfo):
    """There is no connection to make."""


@dataclass
class Delivery(WeightTransferUpdateInfo):
    """All tensors of the model, in one file."""

    file: str
    digests: dict[str, str] = field(default_factory=dict)
    """sha256 of each tensor's bytes, by the trainer."""


class FileTransfer(WeightTransferEngine[Nothing, Delivery]):
    init_info_cls, update_info_cls = Nothing, Delivery
    names: frozenset[str] = frozenset()
    """Of the first delivery; each one holds these."""
    delivered: dict[str, Any] | None = None

    def init_transfer_engine(self, init_info: Nothing) -> None: ...

    def start_weight_update(self) -> None:
        """The model is left as it is until a delivery was found to be whole."""

    def finish_weight_update(self) -> None: ...

    def shutdown(self) -> None: ...

    def receive_weights(self, update_info: Delivery) -> None:
        path, said = Path(update_info.file), update_info.digests
        with safe_open(path, framework="pt") as file:
            found = {name: digest(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        missing = sorted((self.names or frozenset(said)) - found.keys())
        if missing:
            raise ValueError(f"half a delivery: {len(missing)} of {len(missing) + len(found)} tensors are missing, first {missing[0]}")
        wrong = sorted(name for name in found.keys() | said.keys() if found.get(name) != said.get(name))
        if wrong:
            raise ValueError(f"a damaged delivery: {len(wrong)} of {len(found)} tensors are not what was sent, first {wrong[0]}")
        names = {name.replace(".base_layer.", ".") for name, _ in self.model.named_parameters()}
        initialize_layerwise_reload(self.model)
        with safe_open(path, framework="pt") as file:
            loaded = self.model.load_weights((name, file.get_tensor(name)) for name in found)
        finalize_layerwise_reload(self.model, self.model_config)
        pack_heads(self.model)
        unknown = sorted(names - {name.replace(".base_layer.", ".") for name in loaded}) if loaded is not None else []
        if unknown:
            raise ValueError(f"half a delivery: {len(unknown)} parameters of the model got no weights, first {unknown[0]}")
        self.names = frozenset(found)
        self.delivered = {"checksum": checksum(found), "tensors": len(found)}


def pack_heads(model: torch.nn.Module) -> None:
    """A head tied to the embedding has no tensors of its own to load, so vLLM's reload passes it by; but on a CPU it computes with a packed
    copy of the embedding, which would stay that of the weights before (seen in vLLM 0.32)."""
    for layer in model.modules():
        if isinstance(layer, ParallelLMHead) and layer.weight.device.type == "cpu":
            layer.quant_method.process_weights_after_loading(layer)  # pyright: ignore


class Extension:
    """Methods that the trainer may call in the worker."""

    def strop_delivered(self) -> dict[str, Any] | None:
        """Checksum of the weights that were loaded last, as computed here."""
        return self.weight_transfer_engine.delivered  # type: ignore[attr-defined]


WeightTransferEngineFactory.register_engine("strop", FileTransfer)
