"""The list of experiments, and how one is run: what fails is a row with a sentence, and the next one begins."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable

from gpu_server.errors import TFusionError
from sharing import classroom, fairness, neighbours, swapping, training
from sharing.process import Failed
from sharing.rows import Outcome
from sharing.scale import Scale

# In this order: the short ones first, so that a budget cuts off the long ones.
EXPERIMENTS: dict[str, Callable[[Scale, Outcome], None]] = {
    "swap": swapping.swap,
    "trade": swapping.trade,
    "wake": swapping.wake,
    "shares": fairness.shares,
    "burst": fairness.burst,
    "fits": fairness.fits,
    "neighbours": neighbours.neighbours,
    "train4": training.train4,
    "mixed6": training.mixed6,
    "class": classroom.classroom,
}


def run(name: str, scale: Scale) -> Outcome:
    """Runs one. Never raises for what an experiment can meet."""
    outcome, began = Outcome(name), time.monotonic()
    try:
        EXPERIMENTS[name](scale, outcome)
    except (Failed, TFusionError) as error:
        outcome.failed("the experiment", str(error))
    except (OSError, KeyError, ValueError, ZeroDivisionError, StopIteration) as error:
        # A daemon or a process that ends in the middle shows in many ways.
        outcome.failed("the experiment", f"{type(error).__name__}: {error}")
        outcome.seen["traceback"] = traceback.format_exc()
    outcome.seconds = time.monotonic() - began
    return outcome
