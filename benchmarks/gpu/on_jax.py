"""JAX: a jitted function, and a training loop."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from gpu.registry import Unavailable, Work, need, workload


def start() -> Any:
    """jax on a GPU; it must not take three quarters of the memory for itself."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # XLA chooses among algorithms by their time, so two processes may compute the same in different orders.
    os.environ.setdefault("XLA_FLAGS", "--xla_gpu_autotune_level=0")
    need("jax")
    import jax

    if jax.default_backend() != "gpu" and os.environ.get("TFUSION_BENCH_DEVICE") != "cpu":
        raise Unavailable(f"JAX sees no GPU; its backend is {jax.default_backend()}")
    return jax


def as_bytes(tree: Any) -> Iterable[bytes]:
    """All arrays of a tree."""
    import jax
    import numpy as np

    return (np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree))


@workload("jax_jit", "JAX: a jitted product and reduction")
def jax_jit() -> Work:
    """Calls that JAX queues; only the last result of a round is waited for."""
    jax = start()
    jnp = jax.numpy
    f = jax.jit(lambda x: jnp.tanh(x @ x * 1e-2).sum(axis=0))
    x = jax.random.normal(jax.random.key(20), (1024, 1024))
    made = [f(x)]

    def step() -> None:
        made[:] = [f(x)]

    return Work(step, lambda: made[0].block_until_ready(), lambda: as_bytes(made))


@workload("jax_train", "JAX training loop: MLP, gradients, update")
def jax_train() -> Work:
    """value_and_grad and an update in one jitted step; the loss is read each step, as in lessons."""
    jax = start()
    jnp = jax.numpy
    keys = jax.random.split(jax.random.key(20), 4)
    sizes = ((784, 256), (256, 256), (256, 10))
    weights = [
        (jax.random.normal(key, shape) / shape[0] ** 0.5, jnp.zeros(shape[1]))
        for key, shape in zip(keys, sizes, strict=False)
    ]
    images = jax.random.normal(keys[3], (256, 784))
    labels = jnp.arange(256) % 10

    def loss_of(parameters: Any) -> Any:
        x = images
        for weight, bias in parameters[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        weight, bias = parameters[-1]
        scores = jax.nn.log_softmax(x @ weight + bias)
        return -jnp.take_along_axis(scores, labels[:, None], axis=1).mean()

    @jax.jit
    def update(parameters: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(parameters)
        return jax.tree.map(lambda p, g: p - 0.05 * g, parameters, gradients), loss

    state = [weights]

    def step() -> None:
        state[0], loss = update(state[0])
        float(loss)

    return Work(step, lambda: jax.block_until_ready(state[0]), lambda: as_bytes(state[0]))
