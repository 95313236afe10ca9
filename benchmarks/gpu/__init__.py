"""What `make bench-gpu` runs: programs of learners' kind, each natively and under a slice in turn.

`registry` says what a workload is; the files of the families (`torch_*`, `on_*`) hold the workloads; `child` is the
process that runs one of them on command; `pairs` starts two such processes and times them in turn; `first_result`
and `startup` look at fresh processes; `report` writes the table, the plot and the section of docs/measurements.md.
Only `child` and what it loads import a GPU library.
"""
