"""PyTorch's machinery: a replayed CUDA graph, torch.compile, a Triton kernel, streams, linear algebra and its kin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gpu.registry import Unavailable, Work, need, workload
from gpu.torch_device import DEVICE, as_bytes, need_cuda, start, sync


@workload("graph", "CUDA graph replay: 24 linear layers")
def graph() -> Work:
    """One launch for the whole of it."""
    torch = start()
    need_cuda("a CUDA graph")
    nn = torch.nn
    layers = (layer for _ in range(24) for layer in (nn.Linear(512, 512), nn.ReLU()))
    model = nn.Sequential(*layers).to(DEVICE).eval()
    x = torch.randn(64, 512, device=DEVICE)
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside), torch.no_grad():
        for _ in range(3):
            model(x)
    torch.cuda.current_stream().wait_stream(aside)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded), torch.no_grad():
        y = model(x)
    return Work(recorded.replay, sync, lambda: [as_bytes(y)])


@workload("compile", "torch.compile of a fused elementwise function")
def compiled() -> Work:
    """Triton kernels that Inductor writes."""
    torch = start()

    @torch.compile
    def f(x: Any, w: Any) -> Any:
        return torch.softmax(torch.tanh(x * 1.25 + w) * torch.sigmoid(x), -1)

    x = torch.randn(2048, 2048, device=DEVICE)
    w = torch.randn(2048, device=DEVICE)
    made: list[Any] = []

    def step() -> None:
        made[:] = [f(x, w)]

    return Work(step, sync, lambda: (as_bytes(y) for y in made))


@workload("triton", "Triton kernel: row-wise softmax")
def triton_softmax() -> Work:
    """A row per program, as in Triton's lessons."""
    torch = start()
    need_cuda("Triton")
    need("triton")
    from gpu import triton_kernel

    x = torch.randn(4096, 1000, device=DEVICE)
    y = torch.empty_like(x)

    def step() -> None:
        triton_kernel.softmax[(len(x),)](x, y, x.shape[1], x.stride(0), WIDTH=1024)

    return Work(step, sync, lambda: [as_bytes(y)])


@workload("streams", "four streams: pinned copies up, work, copies down")
def streams() -> Work:
    """Copies and kernels that may overlap; events order them."""
    torch = start()
    need_cuda("a stream")
    lanes = []
    for _ in range(4):
        up = torch.randn(1 << 20).pin_memory()
        lanes.append((torch.cuda.Stream(), up, torch.empty_like(up).pin_memory()))

    def step() -> None:
        for stream, up, down in lanes:
            with torch.cuda.stream(stream):
                x = up.to(DEVICE, non_blocking=True)
                down.copy_(torch.sin(x) * 2, non_blocking=True)
        for stream, _, _ in lanes:
            stream.synchronize()

    return Work(step, sync, lambda: (as_bytes(down) for _, _, down in lanes))


@workload("linalg", "linear algebra, FFT, sparse, sorting mix")
def linalg() -> Work:
    """cuSOLVER, cuBLAS, cuFFT, cuSPARSE and CUB; allocates and waits a lot, as explorative notebooks do."""
    torch = start()
    made: list[Any] = []
    count = 2000
    index = torch.randint(count, (2, 8 * count), device=DEVICE)
    values = torch.rand(8 * count, device=DEVICE)
    matrix = torch.randn(384, 384, device=DEVICE)

    def step() -> None:
        a = matrix + 0.01
        solid = a @ a.T + 384 * torch.eye(384, device=DEVICE)
        solved = torch.linalg.solve(solid, a)
        factor = torch.linalg.cholesky(solid)
        eigen = torch.linalg.eigvalsh(solid[:64, :64])
        singular = torch.linalg.svdvals(a[:64, :64])
        spectrum = torch.fft.irfft2(torch.fft.rfft2(a) * 0.5)
        sparse = torch.sparse_coo_tensor(index, values, (count, count)).coalesce()
        product = sparse @ torch.ones(count, 16, device=DEVICE)
        ordered, _ = torch.sort(a.flatten())
        best = torch.topk(a, 5).values
        running = torch.cumsum(a, 0)
        made[:] = [solved, factor, eigen, singular, spectrum, product, ordered, best, running]
        float(a.sum())

    def results() -> Iterable[bytes]:
        return (as_bytes(x) for x in made)

    return Work(step, sync, results)


@workload("events", "a timing loop with CUDA events")
def event_timing() -> Work:
    """What a lesson about measuring does: two events around a product, wait, elapsed time."""
    torch = start()
    if DEVICE != "cuda":
        raise Unavailable("CUDA events need CUDA")
    a = torch.randn(1024, 1024, device=DEVICE)
    made: list[Any] = [a]

    def step() -> None:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        made[:] = [a @ a]
        end.record()
        end.synchronize()
        if begin.elapsed_time(end) < 0:
            raise ValueError("time went backwards")

    return Work(step, sync, lambda: (as_bytes(x) for x in made))
