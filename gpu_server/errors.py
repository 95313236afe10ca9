"""The errors a caller can mend. Raised by the daemon's registry and, from its replies, by gpu_server.client.

The text of each is one sentence or two for a learner: what was asked, what is the matter, what to do next.
"""

from __future__ import annotations


class TFusionError(Exception):
    """Base of all; ``str(error)`` is what to show to the learner."""


class ServerUnreachable(TFusionError):
    """No daemon answers at the socket, or it could not be started."""


class NoCapacity(TFusionError):
    """No GPU has that much memory left, or there is no GPU at all."""


class SliceNotFound(TFusionError):
    """The slice was closed, has expired, or never was."""


class WrongToken(TFusionError):
    """The token does not belong to the slice."""


class InvalidRequest(TFusionError):
    """What was asked can never be granted: a limit below or above what is possible, a bad option."""


class NotNow(TFusionError):
    """What was asked can be done, but not as things are; nothing has changed."""


class SliceFull(TFusionError):
    """The slice already has as many sessions as it may."""


class WorkerFailed(TFusionError):
    """No worker process could be started for a GPU."""
