"""What Jupyter sees of a GPU slice: the kernel provisioner and the kernelspecs that name it."""

__version__ = "0.1.0"
