"""The error a learner sees when a kernel cannot start because there is no slice for it.

Raised by provisioner.py. Jupyter hands errors of a kernel start on in several ways, and all shall show the sentence
alone: /api/kernels sends the log_message of a tornado HTTPError, /api/sessions, which notebooks use, sends str(error),
nbclient and jupyter_client raise the error itself.
"""

from __future__ import annotations

from http import HTTPStatus

from jupyter_tfusion.sentence_error import SentenceError


class KernelStartError(SentenceError):
    """No slice for this kernel; str(error) says why and what to do."""

    def __init__(self, sentence: str, status: HTTPStatus = HTTPStatus.SERVICE_UNAVAILABLE) -> None:
        super().__init__(sentence, status)
