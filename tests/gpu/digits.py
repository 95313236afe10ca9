"""Trains a small classifier on scikit-learn's digits with PyTorch and prints every loss, to the last bit.

Run natively and under `tfusion run`, the same seed must print the same lines. Options make it say what the process
sees of its device, or allocate until the slice is full.
"""

from __future__ import annotations

import argparse
import os

import torch
from sklearn.datasets import load_digits
from torch import nn


def train(epochs: int) -> None:
    """Prints `loss STEP HEXFLOAT` for each step and `accuracy VALUE`."""
    torch.manual_seed(7)
    torch.use_deterministic_algorithms(True)
    digits = load_digits()
    x = torch.tensor(digits.data, dtype=torch.float32).div(16).cuda()
    y = torch.tensor(digits.target).cuda()
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 10)).cuda()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    step = 0
    for _ in range(epochs):
        order = torch.randperm(len(x), device="cuda")
        for batch in order.split(128):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            loss.backward()
            optimiser.step()
            print(f"loss {step} {loss.item().hex()}")
            step += 1
    model.eval()
    accuracy = (model(x).argmax(1) == y).float().mean().item()
    print(f"accuracy {accuracy:.4f}")


def inspect() -> None:
    """Prints the device's memory and whether this process holds anything of NVIDIA's driver."""
    print("total_memory", torch.cuda.get_device_properties(0).total_memory)
    torch.zeros(1, device="cuda")
    with open("/proc/self/maps", encoding="utf-8") as maps:
        names = {line.split()[-1] for line in maps if "/" in line}
    print("libcuda", sorted(n for n in names if os.path.basename(n).startswith(("libcuda.so", "libnvidia-"))))
    links = (os.path.join("/proc/self/fd", f) for f in os.listdir("/proc/self/fd"))
    nodes = [os.readlink(link) for link in links if os.path.islink(link)]
    print("device_nodes", [n for n in nodes if n.startswith("/dev/nvidia")])


def fill() -> None:
    """Allocates 256 MiB pieces until torch says that memory is out; prints how much there was."""
    pieces = []
    try:
        while True:
            pieces.append(torch.empty(256 << 20, dtype=torch.uint8, device="cuda"))
    except torch.cuda.OutOfMemoryError as error:
        print("allocated_mib", 256 * len(pieces))
        print("error", str(error).splitlines()[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["train", "inspect", "fill"])
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    {"train": lambda: train(options.epochs), "inspect": inspect, "fill": fill}[options.what]()
