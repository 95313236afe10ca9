"""The GPU server: the daemon that shares GPUs, its workers, the program `tfusion`, and the control client."""
