"""The kinds of failure, and who can fix them.

    AirbyteTracedException      ends a check or a sync: a sentence for the person who set it up
    ├── config_error            that person can fix it: a setting, or a right in Calltouch
    ├── transient_error         time fixes it
    ├── system_error            the connector's developers can: a bug, or an API that changed
    └── RefusedError            Calltouch refused this request; another may be answered. A
                                config_error, or transient where the settings were right before

    requests.RequestException   a request without an answer: the error handler decides
    └── AnswerTooLargeError     the answer was given up for its size

    CancelledError              nobody waits for the request; no user ever sees it

What Calltouch answers instead of a page are the kinds of `api.ErrorBody`; `error_handler.py` says
which of these errors each leads to.
"""

from functools import partial
from typing import Final

import requests
from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

LATER: Final = "Try again later."
REPORT: Final = "Please report this to the connector's developers."


def _error(failure_type: FailureType, message: str) -> AirbyteTracedException:
    return AirbyteTracedException(message, message, failure_type)


config_error = partial(_error, FailureType.config_error)
"""Makes an error that the user can fix."""
transient_error = partial(_error, FailureType.transient_error)
"""Makes an error that passes."""
system_error = partial(_error, FailureType.system_error)
"""Makes an error of the connector itself."""


class RefusedError(AirbyteTracedException):
    """Calltouch refused this request, for its dates, its numbers or its page; another may pass."""

    def __init__(self, message: str, failure_type: FailureType = FailureType.config_error) -> None:
        super().__init__(message, message, failure_type)


class AnswerTooLargeError(requests.RequestException):
    """An answer is larger than its argument, a limit in bytes; the rest was not read."""


class CancelledError(Exception):
    """Nobody waits for the request: it is cancelled, or failed early and is made anew when due."""
