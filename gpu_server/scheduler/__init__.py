"""Who may use a GPU's time and memory: one pure state machine per GPU.

Reports and the clock go in, orders come out: no I/O, no clock of its own, no threads. The daemon's shell feeds
`GpuScheduler` and writes the orders to the workers' pages. The ideas, a file each:

| idea | file |
|---|---|
| the numbers that decide | policy.py |
| what goes in and comes out | messages.py |
| what the machine knows of a session, of a slice | session.py, slice_account.py |
| GPU time: who was charged what, who is ahead, who is held back | fairness.py |
| the hard limit of a slice in time | ceiling.py |
| how often memory may be exchanged | swap_budget.py |
| who holds memory, who gives it | memory_plan.py, victims.py |
| memory that leaves or comes back because somebody asked | wishes.py |
| no byte promised twice, on the GPU and on the host | ledger.py, host_ledger.py |
| why | story.py |
| all of it, event by event | machine.py |
"""

from gpu_server.scheduler.machine import GpuScheduler
from gpu_server.scheduler.messages import CannotSwap, Order, Phase, Report, SessionState
from gpu_server.scheduler.policy import Policy
from gpu_server.scheduler.story import StoryEntry

__all__ = ["CannotSwap", "GpuScheduler", "Order", "Phase", "Policy", "Report", "SessionState", "StoryEntry"]
