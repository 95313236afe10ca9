"""The table that plain `nvidia-smi` prints: a head with versions, three lines a GPU, the processes."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from kernel_hook.nvidia_smi.fields import mib
from kernel_hook.nvidia_smi.gpu import Gpu

# Columns of a GPU's lines, and the width of what spans all of them.
_LEFT, _MIDDLE, _RIGHT = 41, 24, 22
_WIDE = _LEFT + _MIDDLE + _RIGHT + 2


def table(gpus: Sequence[Gpu]) -> str:
    """The whole table, with the moment above it."""
    return "\n".join(
        [f"{datetime.datetime.now():%a %b %e %H:%M:%S %Y}", *_gpu_part(gpus), "", *_process_part(gpus)]
    )


def _gpu_part(gpus: Sequence[Gpu]) -> list[str]:
    driver = (gpus[0].driver_version if gpus else None) or "N/A"
    cuda = (gpus[0].cuda_version if gpus else None) or "N/A"
    lines = [
        f"+{'-' * _WIDE}+",
        _whole(f" NVIDIA-SMI of tfusion{'':12}Driver Version: {driver:<15}CUDA Version: {cuda}"),
        f"|{'-' * _LEFT}+{'-' * _MIDDLE}+{'-' * _RIGHT}+",
        _columns(" GPU  Name", "Persistence-M ", " Bus-Id", "Disp.A ", "", "Volatile Uncorr. ECC "),
        _columns(" Fan  Temp   Perf", "Pwr:Usage/Cap ", "", "Memory-Usage ", " GPU-Util", "Compute M. "),
        _columns("", "", "", "", "", "MIG M. "),
        f"|{'=' * _LEFT}+{'=' * _MIDDLE}+{'=' * _RIGHT}|",
    ]
    for gpu in gpus:
        lines += [*_gpu_lines(gpu), f"+{'-' * _LEFT}+{'-' * _MIDDLE}+{'-' * _RIGHT}+"]
    return lines


def _gpu_lines(gpu: Gpu) -> list[str]:
    persistence = _switch(gpu.persistence)
    name = (gpu.name or "N/A")[: _LEFT - 8 - len(persistence)]
    fan = _or("{}%", gpu.fan)
    temperature = _or("{}C", gpu.temperature)
    power = f"{_or('{:.0f}W', gpu.power)} / {_or('{:.0f}W', gpu.power_limit):>4}"
    memory = f"{mib(gpu.memory_used)}MiB / {mib(gpu.memory_total):>6}MiB"
    return [
        _columns(
            f" {gpu.index:>3}  {name}",
            f"{persistence} ",
            f" {gpu.bus_id or 'N/A'}",
            f"{_switch(gpu.display_active)} ",
            "",
            f"{_switch(gpu.ecc_mode)} ",
        ),
        _columns(
            f" {fan:>3}  {temperature:>4}  {gpu.performance_state or 'N/A':>4}",
            f"{power} ",
            "",
            f"{memory} ",
            f" {_or('{}%', gpu.utilization):>7}",
            f"{gpu.compute_mode or 'N/A'} ",
        ),
        _columns("", "", "", "", "", f"{_switch(gpu.mig_mode)} "),
    ]


def _process_part(gpus: Sequence[Gpu]) -> list[str]:
    lines = [
        f"+{'-' * _WIDE}+",
        _whole(" Processes:"),
        _process("GPU", "GI", "CI", "PID", "Type", "Process name", "GPU Memory"),
        _process("", "ID", "ID", "", "", "", "Usage     "),
        f"|{'=' * _WIDE}|",
    ]
    rows = [
        _process(
            str(gpu.index),
            "N/A",
            "N/A",
            str(process.pid),
            "C",
            process.name,
            _or("{}MiB", mib(process.used_bytes)),
        )
        for gpu in gpus
        for process in gpu.processes
    ]
    return [*lines, *(rows or [_whole("  No running processes found")]), f"+{'-' * _WIDE}+"]


def _process(gpu: str, gi: str, ci: str, pid: str, kind: str, name: str, memory: str) -> str:
    before = f" {gpu:>4} {gi:>5} {ci:>4} {pid:>16} {kind:>6}   "
    room = _WIDE - len(before) - 12
    return _whole(f"{before}{name[:room]:<{room}}{memory:>11}")


def _columns(*parts: str) -> str:
    """Three columns, each of a left and a right part."""
    cells = [
        f"{left}{right:>{width - len(left)}}"[:width]
        for width, left, right in zip((_LEFT, _MIDDLE, _RIGHT), parts[::2], parts[1::2], strict=True)
    ]
    return f"|{'|'.join(cells)}|"


def _whole(text: str) -> str:
    return f"|{text[:_WIDE]:<{_WIDE}}|"


def _switch(value: bool | None) -> str:
    return "N/A" if value is None else "On" if value else "Off"


def _or(style: str, value: float | None) -> str:
    return "N/A" if value is None else style.format(value)
