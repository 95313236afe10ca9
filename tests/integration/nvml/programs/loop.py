"""nvidia-smi that goes on by itself, until it is interrupted."""

import signal
import subprocess

from guest import answer

command = ["nvidia-smi", "--query-gpu=index", "--format=csv", "-lms", "50"]
with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as looping:
    assert looping.stdout is not None
    lines = [looping.stdout.readline() for _ in range(4)]
    looping.send_signal(signal.SIGINT)
    answer([lines, looping.wait()])
