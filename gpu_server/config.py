"""The daemon's configuration. The traits' help texts are its documentation.

Read from a Python or JSON configuration file (`tfusion serve --config FILE`, else
~/.config/tfusion/tfusion_server_config.py; section ``c.TFusionServer``) and from the options of `tfusion serve`,
which win.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from traitlets import Bool, Enum, Float, Int, List, TraitError, Unicode, validate
from traitlets.config import Config, Configurable
from traitlets.config.loader import ConfigFileNotFound, JSONFileConfigLoader, PyFileConfigLoader

from gpu_server.account import SLOTS
from gpu_server.errors import TFusionError
from gpu_server.runtime_folder import CONTROL_SOCKET, default_folder
from gpu_server.sizes import GIB, MemorySize


class TFusionServer(Configurable):
    """Settings of one gpu_server daemon."""

    device = Enum(
        ["auto", "nvidia", "software"],
        default_value="auto",
        help="Which GPUs to share: 'nvidia' the host's, 'software' the one that runs on the CPU, "
        "'auto' the host's if there are any, else the software one.",
    ).tag(config=True)
    gpus = List(
        Unicode(),
        help="Which of the host's GPUs to share: UUIDs, beginnings of UUIDs, or numbers as nvidia-smi shows them. "
        "Empty: those that CUDA_VISIBLE_DEVICES names, else all.",
    ).tag(config=True)
    memory = MemorySize(
        default_value=0,
        help="How much memory of each GPU the daemon may use, e.g. '16GiB'. 0: all of an NVIDIA GPU's; 1 GiB for "
        "the software GPU.",
    ).tag(config=True)
    oversubscription = Float(
        1.0,
        min=1.0,
        max=100.0,
        help="How many times a GPU's memory may be promised to slices. Above 1, who does not compute is swapped out to "
        "the host when others need the memory, and comes back with its next call.",
    ).tag(config=True)
    swap_memory = MemorySize(
        default_value=0,
        help="How much of the host's memory swapped-out GPU memory may take; it is pinned. 0: half of what is "
        "available when the daemon starts.",
    ).tag(config=True)
    swap_disk = MemorySize(
        default_value=0, help="How much more of it may go to disk, which is slow. 0: none."
    ).tag(config=True)
    swap_folder = Unicode(
        "",
        help="Folder on the disk that 'swap_disk' means; others must not be able to enter it. Empty: "
        "$XDG_CACHE_HOME/tfusion/swap, or ~/.cache/tfusion/swap.",
    ).tag(config=True)
    quantum_s = Float(
        0.02,
        min=0.001,
        max=10.0,
        help="Seconds of GPU time that a slice of share 1 may run ahead of the one furthest behind, while both have "
        "work.",
    ).tag(config=True)
    swap_part = Float(
        0.1,
        min=0.001,
        max=0.9,
        help="Most of the time that may go into swapping while the memory of those who compute does not fit: the "
        "fewer, the longer they take turns.",
    ).tag(config=True)
    cooling_s = Float(
        10.0,
        min=0.0,
        help="Seconds without work after which a session's memory is swapped out ahead of need, if memory was short "
        "lately. 0: never; it goes when others need it.",
    ).tag(config=True)
    kernel_limit_s = Float(
        0.0,
        min=0.0,
        help="Seconds that one kernel may run; then its session is ended with a sentence for the learner. Others' work "
        "on the same GPU stretches a kernel, so leave room. 0: no limit.",
    ).tag(config=True)
    run_limit_s = Float(
        0.0,
        min=0.0,
        help="Seconds that a slice may keep the GPU at work without a pause of a second or two, waiting for "
        "its turn included; then its sessions are ended with a sentence for the learner. 0: no limit.",
    ).tag(config=True)
    idle_expiry_s = Float(
        0.0,
        min=0.0,
        help="Seconds without work for the GPU after which a slice's sessions are ended: their memory, on the GPU and "
        "on the host, and their workers are given back, and the kernel needs a restart to use the GPU again. "
        "JupyterLab warns before. 0: never.",
    ).tag(config=True)
    socket = Unicode(
        "",
        help="Path of the control socket. Its folder is the daemon's own: private (mode 0700), and home of the "
        "session socket and the lock. Empty: $XDG_RUNTIME_DIR/tfusion/control.sock, or "
        "/tmp/tfusion-<uid>/control.sock.",
    ).tag(config=True)
    default_slice_vram = MemorySize(
        default_value=0,
        help="Memory limit of a slice whose opener names none. No more than a GPU has. 0: by the GPU's memory, as "
        "the kernelspecs' profile 'medium' (about a sixteenth; a quarter of a GPU below 4 GiB).",
    ).tag(config=True)
    max_slice_vram = MemorySize(
        default_value=0, help="The most memory one slice may ask for. 0: as much as a GPU has."
    ).tag(config=True)
    slice_ttl_s = Float(60.0, min=0.5, help="Seconds after which a slice that nobody renewed expires.").tag(
        config=True
    )
    max_sessions_per_slice = Int(
        16, min=1, max=SLOTS, help="How many processes may use one slice at once (at most 64)."
    ).tag(config=True)
    warm_workers = Int(
        1,
        min=0,
        max=64,
        help="Worker processes kept ready per GPU. Each makes the start of a session faster by about a quarter of a "
        "second, and costs about 0.5 GiB of an NVIDIA GPU's memory while it waits.",
    ).tag(config=True)
    max_starting_workers = Int(
        4, min=1, max=64, help="How many workers of a GPU may be starting at once."
    ).tag(config=True)
    worker_start_timeout_s = Float(
        60.0,
        min=0.1,
        help="Seconds in which a worker must be ready, and that a client process waits for one.",
    ).tag(config=True)
    worker_stop_grace_s = Float(
        1.0, min=0.0, help="Seconds between asking a worker to end and killing it."
    ).tag(config=True)
    hello_timeout_s = Float(
        5.0, min=0.1, help="Seconds in which a client process that connected must have said who it is."
    ).tag(config=True)
    max_pending_hellos = Int(
        64,
        min=1,
        help="How many connections may be open that have not yet said who they are. With one more, the oldest is "
        "dropped.",
    ).tag(config=True)
    driver_library = Unicode(
        "", help="Path of the host's libcuda.so.1. Empty: looked for where drivers are installed."
    ).tag(config=True)
    software_library = Unicode(
        "",
        help="Path of the software GPU's libcuda.so.1. Empty: $TFUSION_SOFTWARE_GPU_LIB, or the one installed with "
        "this package.",
    ).tag(config=True)
    image_cache_folder = Unicode(
        "",
        help="Where compiled GPU code that many learners load is kept once. Empty: $XDG_CACHE_HOME/tfusion/images, "
        "or ~/.cache/tfusion/images.",
    ).tag(config=True)
    image_cache_size = MemorySize(
        default_value=4 * GIB,
        help="The most disk space the image cache may take; the least recently used go first.",
    ).tag(config=True)
    metrics_address = Unicode(
        "",
        help="Where Prometheus finds the daemon's metrics, e.g. '127.0.0.1:9400' (path /metrics). They name slices and "
        "owners, and whoever reaches the address may read them. Empty: nowhere.",
    ).tag(config=True)
    telemetry_endpoint = Unicode(
        "",
        help="Where an OpenTelemetry collector takes spans of slices and swaps by OTLP over HTTP, e.g. "
        "'http://127.0.0.1:4318/v1/traces'. Needs the package's extra 'telemetry'. Empty: nowhere.",
    ).tag(config=True)
    embedded = Bool(
        False,
        help="The daemon was started by a client for its own use, and ends itself when nobody needs it.",
    ).tag(config=True)
    embedded_idle_s = Float(
        60.0,
        min=0.5,
        help="Seconds without a slice, a watcher or a request after which an embedded daemon ends.",
    ).tag(config=True)
    log_level = Enum(
        ["DEBUG", "INFO", "WARNING", "ERROR"],
        default_value="INFO",
        help="What goes to the log, and so to stderr.",
    ).tag(config=True)

    @validate(
        "slice_ttl_s",
        "worker_start_timeout_s",
        "hello_timeout_s",
        "embedded_idle_s",
        "worker_stop_grace_s",
        "kernel_limit_s",
        "run_limit_s",
        "idle_expiry_s",
        "cooling_s",
    )
    def _finite(self, proposal: Any) -> float:
        value = float(proposal["value"])
        if not value < 1e9:
            raise TraitError(f"{proposal['trait'].name} must be a number of seconds, not {value}.")
        return value

    def control_socket(self) -> Path:
        """Absolute path of the control socket."""
        return Path(os.path.abspath(self.socket)) if self.socket else default_folder() / CONTROL_SOCKET

    def image_cache(self) -> Path:
        """Absolute path of the image cache's folder."""
        if self.image_cache_folder:
            return Path(os.path.abspath(self.image_cache_folder))
        return _cache_folder() / "images"

    def swap_path(self) -> Path | None:
        """Absolute path of the swap folder; None where nothing goes to disk."""
        if not self.swap_disk:
            return None
        return Path(os.path.abspath(self.swap_folder)) if self.swap_folder else _cache_folder() / "swap"


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return root / "tfusion"


def default_config_file() -> Path:
    """Where `tfusion serve`, the embedded one too, looks without --config."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path.home() / ".config"
    return root / "tfusion" / "tfusion_server_config.py"


def load_config(file: Path | None, options: dict[str, Any]) -> TFusionServer:
    """The configuration from a file (.py or .json) with ``options`` (trait name to value) over it.

    Without ``file``, from default_config_file() if that exists.
    Raises TFusionError with a sentence for a file that cannot be read, an unknown trait or a value that cannot be.
    """
    config = Config()
    if file is None and default_config_file().is_file():
        file = default_config_file()
    if file is not None:
        loader = JSONFileConfigLoader if file.suffix == ".json" else PyFileConfigLoader
        try:
            config = loader(file.name, path=os.fspath(file.absolute().parent)).load_config()
        except ConfigFileNotFound:
            raise TFusionError(
                f"The configuration file {file} does not exist. Check the path after --config."
            ) from None
        except Exception as error:  # a configuration file is a program: anything may be wrong in it
            raise TFusionError(f"The configuration file {file} could not be read: {error}.") from None
    section = config.get("TFusionServer", {})
    known = set(TFusionServer.class_trait_names(config=True))
    unknown = sorted(set(section) - known)
    if unknown:
        raise TFusionError(
            f"The configuration file {file} sets TFusionServer.{unknown[0]}, which does not exist. "
            f"There are: {', '.join(sorted(known))}."
        )
    try:
        return TFusionServer(config=config, **options)
    except TraitError as error:
        raise TFusionError(f"A setting cannot be: {error}") from None
