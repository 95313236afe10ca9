"""Generates the Python code of control.proto with grpcio-tools.

Run by gpu_server/proto/CMakeLists.txt when the wheel is built, and by hand for work in the source tree:
``python gpu_server/proto/generate.py``. What it writes (control_pb2.py, control_pb2.pyi, control_pb2_grpc.py) is
imported as ``gpu_server.proto.control_pb2`` and is never edited or checked in.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
GENERATED = ("control_pb2.py", "control_pb2.pyi", "control_pb2_grpc.py")


def generate(out: Path) -> None:
    """Writes the generated modules into the folder ``out``; raises RuntimeError with a sentence if that fails."""
    try:
        import grpc_tools
        from grpc_tools import protoc
    except ImportError as error:
        raise RuntimeError(
            f"grpcio-tools is missing in {sys.executable}: install it with 'pip install grpcio-tools'."
        ) from error
    well_known = Path(grpc_tools.__file__).resolve().parent / "_proto"
    # protoc derives the import lines from the path below -I, so it sees the file as gpu_server/proto/control.proto.
    with tempfile.TemporaryDirectory(prefix="tfusion-proto-") as scratch:
        package = Path(scratch) / "in" / "gpu_server" / "proto"
        package.mkdir(parents=True)
        shutil.copy(HERE / "control.proto", package)
        made = Path(scratch) / "out"
        made.mkdir()
        status = protoc.main(
            [
                "protoc",
                f"-I{Path(scratch) / 'in'}",
                f"-I{well_known}",
                f"--python_out={made}",
                f"--pyi_out={made}",
                f"--grpc_python_out={made}",
                "gpu_server/proto/control.proto",
            ]
        )
        if status != 0:
            raise RuntimeError(f"protoc could not compile {HERE / 'control.proto'} (exit status {status}).")
        out.mkdir(parents=True, exist_ok=True)
        for name in GENERATED:
            fresh = made / "gpu_server" / "proto" / name
            target = out / name
            # Replaced in one step: another process may be importing the old one.
            staged = out / f".{name}.new"
            shutil.copyfile(fresh, staged)
            staged.replace(target)


def main() -> int:
    """Command line: ``generate.py [--out FOLDER]``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the generated modules")
    try:
        generate(parser.parse_args().out)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
