"""The control API: control.proto, and the modules that generate.py makes of it."""
