"""Errors whose text is the sentence for the learner, in whatever way Jupyter hands them on.

Handlers of APIHandler's kind send the log_message of a tornado HTTPError (any other exception becomes "Unhandled
error"), others send str(error). Raised by provisioner.py (start_error.py) and by the server extension.
"""

from __future__ import annotations

from http import HTTPStatus

from tornado.web import HTTPError


class SentenceError(HTTPError):
    """What was asked cannot be; str(error) says why and what to do."""

    def __init__(self, sentence: str, status: HTTPStatus = HTTPStatus.CONFLICT) -> None:
        # log_message is a format in tornado's eyes, and what it doubles is what Jupyter would show.
        super().__init__(status.value, sentence.replace("%", " percent"))
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence
