"""What nvidia-smi, a child without a session, shows of this process and of another one of the same slice."""

import os

from guest import allocate, answer, child, csv, smi, start, until

before = {
    "apps": csv("pid,process_name,used_memory", "compute-apps"),
    "used": csv("memory.used,memory.total"),
}
start()
allocate(64)
own = {"apps": csv("pid,used_memory", "compute-apps"), "used": csv("memory.used,memory.free")}
other = child("holder")
both = {"apps": csv("pid,used_memory", "compute-apps"), "used": csv("memory.used,memory.free")}
table = smi().stdout
other.communicate()
until(lambda: len(csv("pid", "compute-apps")) == 1)
after = {"apps": csv("pid,used_memory", "compute-apps"), "used": csv("memory.used,memory.free")}
answer(
    {
        "pids": [os.getpid(), other.pid],
        "before": before,
        "own": own,
        "both": both,
        "table": table,
        "after": after,
    }
)
