"""The command: `python -m demo`, or `python -m demo --config secrets/config.json`.

The work is done by a process in a session of its own, along with all that it starts. So Ctrl+C
comes here alone, and ends every one of them, wherever they are.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Do the work in another process; return its exit code, or 128 and the signal's number."""
    arguments = _arguments()
    command = [sys.executable, "-u", "-m", "demo.scenes"]
    if arguments.config:
        try:
            _read_settings(arguments.config)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 1
        command.append(str(arguments.config.resolve()))
    print("Loading PyAirbyte, which takes some seconds.", flush=True)
    with tempfile.TemporaryDirectory(prefix="calltouch-sms-") as directory:
        return _run(command, {**os.environ, **_environment(directory)})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Sync SMS into a DuckDB file by way of PyAirbyte: from the sandbox, in a demo "
        "of two syncs, or from a real account.",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings of a real account, as JSON"
    )
    return parser.parse_args()


def _read_settings(path: Path) -> dict[str, Any]:
    """Read a configuration, to tell at once what is wrong with the file itself.

    Raises:
        ValueError: a sentence.
    """
    try:
        settings = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"Cannot read the settings in {path}: {error.strerror}.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{path} is not valid JSON: {error.msg}, {place}.") from None
    except ValueError:
        raise ValueError(f"{path} is not valid JSON: it is not written in UTF-8.") from None
    if not isinstance(settings, dict):
        raise ValueError(f"{path} must hold the settings as one JSON object.")  # noqa: TRY004
    return settings


def _environment(directory: str) -> dict[str, str]:
    """Keep PyAirbyte off the network, and its files out of the way.

    Among its files is the configuration, token included, readable by everyone: the directory
    is not.
    """
    return {
        "AIRBYTE_OFFLINE_MODE": "1",
        "DO_NOT_TRACK": "1",
        "AIRBYTE_PROJECT_DIR": directory,
        "AIRBYTE_INSTALL_DIR": directory,
        "AIRBYTE_CACHE_ROOT": directory,
        "AIRBYTE_TEMP_DIR": directory,
        "AIRBYTE_LOGGING_ROOT": directory,
        "NO_LIVE_PROGRESS": "1",
        "PYTHONWARNINGS": "ignore",
    }


def _run(command: list[str], environment: dict[str, str]) -> int:
    asked_to_end = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    awaited = {signal.SIGCHLD, *asked_to_end}
    # Signals are waited for and never interrupt, so none comes between a start and its record.
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    while (code := process.poll()) is None:
        number = signal.sigwait(awaited)
        if number in asked_to_end:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            print("\nStopped. Nothing is left running.", file=sys.stderr)
            return 128 + number
    if code < 0:
        print(f"\nIt was ended from outside, by signal {-code}.", file=sys.stderr)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
