"""What PyAirbyte writes into destinations: DuckDB, and a PostgreSQL of the tests' own."""

import os
import tempfile

# PyAirbyte reads these when it is imported, so they are set before that; what it writes of its own
# is removed at the end of the run. Among its files is the configuration, token included.
_FILES = tempfile.TemporaryDirectory(prefix="calltouch-sms-")
os.environ.update(
    AIRBYTE_OFFLINE_MODE="1",
    DO_NOT_TRACK="1",
    NO_LIVE_PROGRESS="1",
    AIRBYTE_PROJECT_DIR=_FILES.name,
    AIRBYTE_INSTALL_DIR=_FILES.name,
    AIRBYTE_CACHE_ROOT=_FILES.name,
    AIRBYTE_TEMP_DIR=_FILES.name,
    AIRBYTE_LOGGING_ROOT=_FILES.name,
)
