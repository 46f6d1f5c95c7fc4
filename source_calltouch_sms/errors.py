"""Errors for the person who filled in the form: what happened, and what to do."""

from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException


def config_error(message: str) -> AirbyteTracedException:
    """Return an error that the user can mend."""
    return _error(message, FailureType.config_error)


def transient_error(message: str) -> AirbyteTracedException:
    """Return an error that time mends."""
    return _error(message, FailureType.transient_error)


def system_error(message: str) -> AirbyteTracedException:
    """Return an error of the connector's own."""
    return _error(message, FailureType.system_error)


def _error(message: str, failure_type: FailureType) -> AirbyteTracedException:
    return AirbyteTracedException(
        message=message, internal_message=message, failure_type=failure_type
    )
