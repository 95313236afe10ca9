"""A PyTorch training that holds so many GiB and uses all of them in each step: `python -m sharing.train GIB`.

A chain of wide layers with SGD and momentum, from a seed, so that the same steps give the same losses to the last bit
whatever happened to the memory between them. Speaks JSON as load.py does: {"do": "train", "steps": N, "cell_steps": N,
"think_s": S} begins anew from the seed and answers with its times and a checksum of the losses.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from typing import Any

import torch

WIDTH, BATCH = 4096, 2048
FLOAT = 4
# Of a layer: its weights, their gradient and momentum; its output and that of the activation, kept for the way back.
LAYER_BYTES = FLOAT * (3 * WIDTH * WIDTH + 2 * BATCH * WIDTH)
SEED = 20261


class Training:
    """The model, its optimizer and its data. Memory is taken once; begin() writes it anew."""

    def __init__(self, gib: float) -> None:
        torch.backends.cuda.matmul.allow_tf32 = True
        layers = max(2, int(gib * (1 << 30) / LAYER_BYTES))
        self.model = torch.nn.Sequential()
        for _ in range(layers):
            self.model.append(torch.nn.Linear(WIDTH, WIDTH, bias=False, device="cuda"))
            self.model.append(torch.nn.Tanh())
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)
        self.inputs = torch.empty(BATCH, WIDTH, device="cuda")
        self.targets = torch.empty(BATCH, WIDTH, device="cuda")
        self.begin()
        for _ in range(2):  # takes the rest of the memory
            self.step()
        torch.cuda.synchronize()

    def begin(self) -> None:
        """As if nothing had been trained yet."""
        generator = torch.Generator(device="cuda").manual_seed(SEED)
        with torch.no_grad():
            for weights in self.model.parameters():
                weights.normal_(0.0, 1.0 / 64.0, generator=generator)
            self.inputs.normal_(generator=generator)
            self.targets.uniform_(-1.0, 1.0, generator=generator)
            for state in self.optimizer.state.values():
                if state.get("momentum_buffer") is not None:
                    state["momentum_buffer"].zero_()

    def step(self) -> torch.Tensor:
        """One step; the loss, still on the GPU. Gradients stay in place, so that memory is neither given nor taken."""
        self.optimizer.zero_grad(set_to_none=False)
        loss = torch.nn.functional.mse_loss(self.model(self.inputs), self.targets)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def start(self) -> dict[str, Any]:
        """What is held."""
        return {"pid": os.getpid(), "bytes": torch.cuda.memory_reserved()}

    def train(self, steps: int, cell_steps: int, think_s: float, **_: Any) -> dict[str, Any]:
        """Trains from the seed, with pauses for thought between cells; an `.item()` ends each cell, as learners' do."""
        began, digest, cells = time.monotonic(), hashlib.sha256(), []
        self.begin()
        for first in range(0, steps, cell_steps):
            if first:
                time.sleep(think_s)
            cell = time.monotonic()
            losses = [self.step() for _ in range(min(steps, first + cell_steps) - first)]
            digest.update(torch.stack(losses).cpu().numpy().tobytes())
            cells.append(time.monotonic() - cell)
        return {"began": began, "ended": time.monotonic(), "cells_s": cells, "checksum": digest.hexdigest()}


def main() -> None:
    """Follows orders until there are no more."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # only answers may go there
    training: Training | None = None
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if training is None:
                training = Training(float(sys.argv[1]))
            answer = {"state": "ok", **getattr(training, order.pop("do"))(**order)}
        except RuntimeError as error:  # what PyTorch raises for errors of the driver
            answer = {"state": "failed", "error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
