"""What Jupyter sees of a GPU slice: kernel provisioner, kernelspecs, server extension, and the notebook's magics.

Imported in the learner's kernel too, so it imports nothing by itself.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext jupyter_tfusion`: the magics %vgpu and %%vgpu_time."""
    from jupyter_tfusion.magics import SliceMagics

    shell.register_magics(SliceMagics)


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """What Jupyter Server loads; it asks when it starts."""
    from jupyter_tfusion.extension import TFusionExtension

    return [{"module": "jupyter_tfusion", "app": TFusionExtension}]
