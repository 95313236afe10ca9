"""nvidia-smi while a kernel runs that nobody waits for, and after it."""

from guest import Spinning, answer, csv, start, until

start()
spinning = Spinning()
busy = until(lambda: int(csv("utilization.gpu")[0][0]) == 100)
spinning.stop()
idle = until(lambda: int(csv("utilization.gpu")[0][0]) == 0)
answer([busy, idle])
