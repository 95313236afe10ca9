"""The command line of our nvidia-smi: what is asked, how often, and the exit status.

Statuses are those of NVIDIA's: 2 for what cannot be asked, 6 where no such GPU is there, 9 where there is no driver
(here: no slice), 15 where the GPU is lost.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence

import pynvml

from kernel_hook.nvidia_smi import fields
from kernel_hook.nvidia_smi.gpu import Gpu, read_gpus
from kernel_hook.nvidia_smi.real import become, find_real
from kernel_hook.nvidia_smi.table import table

_BAD_REQUEST, _NO_SUCH_GPU, _NO_SLICE, _LOST = 2, 6, 9, 15

_NO_SLICE_SENTENCE = (
    "This process has no GPU slice to show. Start nvidia-smi from a vGPU kernel, or with: "
    "tfusion run -- nvidia-smi"
)
_LOST_SENTENCE = (
    "The GPU server does not answer for this slice: it was closed or has expired, or the server is not running. "
    "Restart the kernel to get a new one."
)


class _Refused(Exception):
    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `nvidia-smi ARGUMENTS`; gives the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return _run(arguments)
    except _Refused as refusal:
        print(f"nvidia-smi: {refusal}", file=sys.stderr)
        return refusal.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(arguments: Sequence[str]) -> int:
    if not os.environ.get("TFUSION_SLICE"):
        raise _Refused(_NO_SLICE, _NO_SLICE_SENTENCE)
    try:
        pynvml.nvmlInit()
        uuid = pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(0))
        real = find_real(uuid)
        if real is not None:
            become(real, arguments)
        return _show(_parser().parse_args(arguments))
    except pynvml.NVMLError as error:
        raise _refusal(error) from None


def _refusal(error: pynvml.NVMLError) -> _Refused:
    if error.value in (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_LIBRARY_NOT_FOUND):
        return _Refused(_NO_SLICE, _NO_SLICE_SENTENCE)
    if error.value in (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_TIMEOUT):
        return _Refused(_LOST, _LOST_SENTENCE)
    return _Refused(error.value or 1, f"NVML cannot tell about the GPU: {error}.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nvidia-smi",
        description="Shows the GPU slice that this process runs under: memory, processes, how busy it is. What only "
        "the whole card has (temperature, power, clocks) is N/A.",
        allow_abbrev=False,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("-L", "--list-gpus", action="store_true", help="name and UUID, one line a GPU")
    what.add_argument("--query-gpu", metavar="FIELDS", help="these fields of each GPU; needs --format=csv")
    what.add_argument(
        "--query-compute-apps", metavar="FIELDS", help="these fields of each process; needs --format=csv"
    )
    what.add_argument("--help-query-gpu", action="store_true", help="the fields of --query-gpu")
    what.add_argument(
        "--help-query-compute-apps", action="store_true", help="the fields of --query-compute-apps"
    )
    parser.add_argument(
        "--format", metavar="csv[,noheader][,nounits]", help="how to write what a query gives"
    )
    parser.add_argument("-i", "--id", metavar="GPU", help="only this one: index, UUID or PCI address")
    often = parser.add_mutually_exclusive_group()
    often.add_argument(
        "-l",
        "--loop",
        type=float,
        nargs="?",
        const=5.0,
        metavar="SECONDS",
        help="again and again (default 5 s)",
    )
    often.add_argument(
        "-lms", "--loop-ms", type=float, metavar="MILLISECONDS", help="the same in milliseconds"
    )
    return parser


def _show(options: argparse.Namespace) -> int:
    if options.help_query_gpu:
        return _explain(fields.GPU_FIELDS)
    if options.help_query_compute_apps:
        return _explain(fields.APP_FIELDS)
    period_s = options.loop_ms / 1000 if options.loop_ms is not None else options.loop
    if period_s is not None and not 0 < period_s < 1e6:
        raise _Refused(_BAD_REQUEST, f"A period of {period_s:g} s cannot be: give a number above 0.")
    style = _style(options)
    gpu_names = _names(options.query_gpu, fields.GPU_FIELDS, "gpu")
    app_names = _names(options.query_compute_apps, fields.APP_FIELDS, "compute-apps")
    if gpu_names and style.header:
        print(fields.header(gpu_names, fields.GPU_FIELDS))
    if app_names and style.header:
        print(fields.header(app_names, fields.APP_FIELDS))
    while True:
        gpus = _chosen(read_gpus(), options.id)
        if gpu_names:
            lines = [fields.row(gpu_names, fields.GPU_FIELDS, gpu, style) for gpu in gpus]
        elif app_names:
            apps = [(gpu, process) for gpu in gpus for process in gpu.processes]
            lines = [fields.row(app_names, fields.APP_FIELDS, app, style) for app in apps]
        elif options.list_gpus:
            lines = [f"GPU {gpu.index}: {gpu.name or 'N/A'} (UUID: {gpu.uuid})" for gpu in gpus]
        else:
            lines = [table(gpus)]
        for line in lines:
            print(line)
        sys.stdout.flush()
        if period_s is None:
            return 0
        time.sleep(period_s)


def _style(options: argparse.Namespace) -> fields.CsvStyle:
    if options.query_gpu is None and options.query_compute_apps is None:
        if options.format is not None:
            raise _Refused(_BAD_REQUEST, "--format goes with --query-gpu or --query-compute-apps.")
        return fields.CsvStyle()
    if options.format is None:
        raise _Refused(_BAD_REQUEST, "A query needs --format=csv.")
    try:
        return fields.parse_style(options.format)
    except ValueError as error:
        raise _Refused(
            _BAD_REQUEST, f"The format '{error}' is not known. Write --format=csv[,noheader][,nounits]."
        ) from None


def _names(text: str | None, known: Mapping[str, fields.Field[fields.T]], query: str) -> list[str]:
    if text is None:
        return []
    try:
        return fields.parse_fields(text, known)
    except fields.UnknownField as error:
        raise _Refused(
            _BAD_REQUEST,
            f"'{error}' is not a field of --query-{query}. nvidia-smi --help-query-{query} lists those there are.",
        ) from None


def _chosen(gpus: list[Gpu], wanted: str | None) -> list[Gpu]:
    if wanted is None:
        return gpus

    def is_wanted(gpu: Gpu, name: str) -> bool:
        bus = (gpu.bus_id or "").lower()
        short = bus[4:] if bus.startswith("0000") else bus
        return name.lower() in (str(gpu.index), gpu.uuid.lower(), bus, short)

    names = [name.strip() for name in wanted.split(",")]
    for name in names:
        if not any(is_wanted(gpu, name) for gpu in gpus):
            there = ", ".join(f"{gpu.index}: {gpu.uuid}" for gpu in gpus)
            raise _Refused(_NO_SUCH_GPU, f"There is no GPU '{name}' here. There is {there}.")
    return [gpu for gpu in gpus if any(is_wanted(gpu, name) for name in names)]


def _explain(known: Mapping[str, fields.Field[fields.T]]) -> int:
    width = max(map(len, known))
    for name, field in known.items():
        unit = f" [{field.unit}]" if field.unit else ""
        print(f"{name:<{width}}  {field.meaning}{unit}")
    return 0
