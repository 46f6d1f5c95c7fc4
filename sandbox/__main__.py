"""The command line: `python -m sandbox --port 8077 --sms 25000`."""

import asyncio
import signal
import socket
import sys

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox.app import PATHS, SITE_ID, TOKEN, Calltouch
from sandbox.options import read_options


class Protocol(H11Protocol):
    """HTTP that gives the application its transport, for faults below HTTP."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(transport)
        app = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})["transport"] = transport
            await app(scope, receive, send)

        self.app = with_transport


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    # uvicorn raises the signal again after it has shut down, but being stopped is no failure.
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, lambda *_: sys.exit(0))
    options = read_options(sys.argv[1:])
    try:
        listening = socket.create_server(("127.0.0.1", options.port))
    except OSError as error:
        sys.exit(f"cannot listen on port {options.port}: {error.strerror}")
    calltouch = Calltouch(options)
    account = calltouch.account
    print("A Calltouch sandbox is listening. Press Ctrl+C to end it.")
    print(f"URL: http://127.0.0.1:{listening.getsockname()[1]}{PATHS[options.url][0]}")
    print(f"Token: {TOKEN}")
    print(f"Site ID: {SITE_ID}")
    print(f"Zone: {options.zone}")
    print(f"SMS: {len(account.everything())}")
    print(f"Since: {account.start:%Y-%m-%d}", flush=True)
    config = uvicorn.Config(
        calltouch.app(),
        http=Protocol,
        ws="none",
        log_level="critical",
        timeout_graceful_shutdown=0,  # calls that a fault holds back would delay the end
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
