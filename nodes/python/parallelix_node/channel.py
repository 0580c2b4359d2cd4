"""The side channel: registration, heartbeats and frames up, commands down (docs/protocol.md)."""

import base64
import json
import logging
import queue
import ssl
import threading
import time
from typing import Any, Callable

from .canonical import canonical_bytes
from .edge_http import Address, EdgeCalls, answer_of, connect
from .envelope import Ticket
from .keys import NodeKeys, spki
from .proof import sign

log = logging.getLogger("node")

#: A command stream that is silent for longer is dead: pings come every 10 s.
SILENCE_SECONDS = 25.0
COMMAND_BYTES_MAX = 4_096
#: How long a finished node waits for its last frames to be taken before it returns anyway.
CLOSE_SECONDS = 5.0
#: Of one write; the stream itself lasts as long as the attempt.
FRAME_SECONDS = 30.0


class Channel:
    """Raises EdgeError when the edge refuses, OSError or HTTPException when nobody answers."""

    def __init__(self, address: Address, context: Callable[[], ssl.SSLContext], keys: NodeKeys):
        self._address = address
        self._context = context
        self._keys = keys
        self.node_id = keys.node_id
        self._calls = EdgeCalls(address, context)

    def register(self, claims: dict) -> dict:
        """Answers `{returnKey, challenge}`. The signature is over the canonical JSON."""
        registration = {
            "nodeId": self._keys.node_id,
            **claims,
            "signingKey": base64.b64encode(spki(self._keys.signing)).decode("ascii"),
            "encryptionKey": base64.b64encode(spki(self._keys.encryption)).decode("ascii"),
            "issuedAtMs": int(time.time() * 1_000),
        }
        signature = sign(self._keys.signing, canonical_bytes(registration))
        body = {"registration": registration, "signature": signature}
        return self._calls.post("/v1/node/register", body)

    def heartbeat(self, ready: bool, running: list, challenge: dict) -> dict:
        """Answers the challenge: `{challenge, returnKey, removed?}` holds the next one."""
        body = {
            "ready": ready,
            "running": running,
            "sequence": challenge["sequence"],
            "nonce": challenge["nonce"],
        }
        return self._calls.post("/v1/node/heartbeat", body)

    def drain(self) -> list:
        """Takes nothing new; answers the attempts that it was given and that are undecided."""
        return self._calls.post("/v1/node/drain", {})["attempts"]

    def leave(self) -> None:
        self._calls.post("/v1/node/leave", {})

    def commands(self, on_command: Callable[[dict], None]) -> None:
        """Passes on commands until the stream breaks or is silent for too long."""
        path = "/v1/node/commands"
        connection = connect(self._address, self._context(), SILENCE_SECONDS)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            if response.status != 200:
                answer_of(path, response)
            while line := response.readline(COMMAND_BYTES_MAX + 1):
                if len(line) > COMMAND_BYTES_MAX:
                    raise OSError("a line of commands is too long")
                command = _parse(line)
                if command is not None:
                    on_command(command)
        finally:
            connection.close()

    def open_stream(self, ticket: Ticket) -> "FrameStream":
        path = f"/v1/node/units/{ticket.unit_id}/{ticket.dispatch}/frames"
        connection = connect(self._address, self._context(), FRAME_SECONDS)
        return FrameStream(connection, path, ticket.channel_token)


class FrameStream:
    """One attempt's frames, sent by a thread of their own. Losing them loses no result."""

    def __init__(self, connection: Any, path: str, token: str):
        self._connection = connection
        self._path = path
        self._token = token
        self._frames: queue.SimpleQueue = queue.SimpleQueue()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def send(self, frame: str) -> None:
        if not self._lost.is_set():
            self._frames.put(frame.encode("ascii") + b"\n")

    def end(self) -> None:
        """Nothing follows."""
        self._frames.put(None)

    def close(self) -> None:
        """Ends it, and waits until all frames are taken, or the stream is lost."""
        self.end()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        headers = {
            "content-type": "application/x-ndjson",
            "authorization": f"Bearer {self._token}",
            "transfer-encoding": "chunked",
        }
        try:
            body = iter(self._frames.get, None)
            self._connection.request("POST", self._path, body, headers, encode_chunked=True)
            answer_of(self._path, self._connection.getresponse())
        except Exception as error:
            self._lost.set()
            log.warning("node // stream lost, the work goes on: %s", error)
        finally:
            self._connection.close()


def _parse(line: bytes) -> dict | None:
    """None for what is no command: a newer coordinator may know some that this node doesn't."""
    try:
        command = json.loads(line)
    except ValueError:
        return None
    return command if isinstance(command, dict) else None
