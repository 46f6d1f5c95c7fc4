"""The connector without Airbyte: SMS into DuckDB, or another destination, through dlt."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# dlt reads these when it is imported.
os.environ.update(
    DLT_PROJECT_DIR=str(ROOT / "secrets"),  # where it looks for .dlt/secrets.toml
    RUNTIME__DLTHUB_TELEMETRY="false",
    ENABLE_RUNTIME_TRACE="false",  # only needed for telemetry, and writes a file
    RUNTIME__LOG_LEVEL="CRITICAL",  # its log quotes SMS in failed statements
    RUNTIME__INTERCEPT_SIGNALS="false",
    SCHEMA__NAMING="sql_cs_v1",  # columns named as Airbyte names them: dateSent
    LOAD__TRUNCATE_STAGING_DATASET="true",
)
