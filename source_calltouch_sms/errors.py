"""Errors for the person who filled in the form: what happened, and what to do."""

from functools import partial

from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException


def _error(failure_type: FailureType, message: str) -> AirbyteTracedException:
    return AirbyteTracedException(message, message, failure_type)


config_error = partial(_error, FailureType.config_error)
"""Makes an error that the user can fix."""
transient_error = partial(_error, FailureType.transient_error)
"""Makes an error that passes."""
system_error = partial(_error, FailureType.system_error)
"""Makes an error of the connector itself."""
