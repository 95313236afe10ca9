"""An `nvidia-smi` for programs under a slice: the table, lists and CSV that people and scripts know, of the slice.

Started by kernel_hook/bin/nvidia-smi. Everything shown comes from NVML (the hook's libnvidia-ml.so.1 under a slice),
so a monitor and this program say the same.
"""
