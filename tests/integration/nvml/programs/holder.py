"""Holds 32 MiB until its stdin ends."""

import sys

from guest import allocate, start

start()
allocate(32)
print("ready", flush=True)
sys.stdin.read()
