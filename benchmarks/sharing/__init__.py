"""What `run_sharing.py` runs: how well several slices share one GPU, its time and its memory.

`load` is the program that the slices run: the driver API through ctypes (`driver`, `kernels`), told what to do by lines
on stdin; `learner` and `neighbour` are its longer parts; `train` is the same for PyTorch. `scale` says how big
everything is here, `host` is the daemon with its settings, `process` a program under a slice. The experiments are in
`swapping`, `training`, `fairness`, `neighbours` and `classroom`; `experiments` lists them; `rows` is a row of the
table with its target; `report` writes the table, the plot and the section of docs/measurements.md.
"""
