"""Steps 5 and 6: decrypt, run, commit, sign, and seal the return (nodes/execute.ts)."""

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from temporalio import activity
from temporalio.exceptions import ApplicationError

from .answer import BackendFailed, ContextExceeded, Generation, InvalidRequest
from .attempts import Attempts, Stop
from .backend import OpenAiBackend
from .channel import Channel, FrameStream
from .envelope import (
    DELTA_CHARACTERS_MAX,
    Attempt,
    StreamSealer,
    Ticket,
    open_request,
    open_ticket,
    seal_return,
)
from .keys import NodeKeys
from .membership import Membership
from .payload import generate_choices, parse_payload
from .proof import (
    EMPTY_STREAM_DIGEST,
    RESULT_BYTES_MAX,
    SCHEME,
    extend_stream_digest,
    proof_of_execution,
    result_bytes,
    sign,
    signed_message,
)

log = logging.getLogger("node")

HEARTBEAT_SECONDS = 2.0
#: Room for the chat template's own tokens, which the payload doesn't hold.
TEMPLATE_TOKENS_MAX = 256


@dataclass(frozen=True)
class _Opened:
    ticket: Ticket
    payload: dict
    payload_bytes: int


class Executor:
    """The one activity that a node offers."""

    def __init__(
        self,
        keys: NodeKeys,
        backend: OpenAiBackend,
        model_digest: str,
        channel: Channel,
        membership: Membership,
        attempts: Attempts,
        slots: int,
    ):
        self._keys = keys
        self._decryption_key = keys.decryption_jwk
        self._backend = backend
        self._model_digest = model_digest
        self._channel = channel
        self._membership = membership
        self._attempts = attempts
        self._threads = ThreadPoolExecutor(slots)

    @activity.defn(name="execute")
    async def execute(self, given: dict) -> dict:
        """Raises ApplicationError with a code that nodes may report of themselves."""
        stop = Stop()
        work = asyncio.get_running_loop().run_in_executor(self._threads, self._run, given, stop)
        try:
            while not work.done():
                activity.heartbeat()
                await asyncio.wait({work}, timeout=HEARTBEAT_SECONDS)
            return work.result()
        except asyncio.CancelledError:
            details = activity.cancellation_details()
            requested = details is not None and details.cancel_requested
            stop.set("cancelled" if requested else "abandoned")
            returned = await work
            # What there is so far is wanted, if it was asked to stop.
            if requested:
                return returned
            raise

    def _run(self, given: dict, stop: Stop) -> dict:
        opened = self._open(given)
        ticket = opened.ticket
        # Not by the wall clock alone, which may jump; the deadline starts at decrypt.
        decrypted_at_ms, started = time.time() * 1_000, time.monotonic()
        timer = threading.Timer(ticket.deadline_seconds, stop.set, ["deadline"])
        timer.daemon = True
        timer.start()
        attempt = self._attempt(given, ticket)
        stream = _Stream(self._channel, attempt, ticket)
        try:
            with self._attempts.running(ticket.unit_id, ticket.dispatch, stop):
                generations = self._generate(given["parameters"], opened, stream, stop)
                timer.cancel()
                elapsed_ms = (time.monotonic() - started) * 1_000
                if stop.reason == "deadline" or elapsed_ms > ticket.deadline_seconds * 1_000:
                    raise _failure("node.deadline_exceeded")
                stream.end()
                result = self._commit(given["parameters"], opened, generations, stream.digest, stop)
                times = {
                    "decryptedAtMs": decrypted_at_ms,
                    "finishedAtMs": decrypted_at_ms + elapsed_ms,
                }
                return {**self._prove(attempt, result), **times}
        finally:
            timer.cancel()
            # After an end this does nothing; after a failure it lets go of the connection.
            stream.drop()

    def _open(self, given: dict) -> _Opened:
        key = self._decryption_key
        try:
            ticket = open_ticket(given["ticket"], key)
            payload = open_request(
                given["envelope"], given["parameters"], given["requesterKey"], key
            )
            if ticket.node_id != self._keys.node_id:
                raise ValueError("the ticket is for another node")
            return _Opened(ticket, parse_payload(payload), len(payload))
        except (ValueError, KeyError, TypeError):
            # All that is not for this node, or not what it should be.
            raise _failure("dispatch.envelope_rejected") from None

    def _attempt(self, given: dict, ticket: Ticket) -> Attempt:
        return Attempt(
            unit_id=ticket.unit_id,
            dispatch=ticket.dispatch,
            node_id=self._keys.node_id,
            requester_key=given["requesterKey"],
            return_key=self._membership.return_key,
        )

    def _generate(
        self, parameters: dict, opened: _Opened, stream: "_Stream", stop: Stop
    ) -> list[Generation]:
        seed = opened.ticket.seed
        try:
            return generate_choices(
                self._backend, opened.payload, parameters, seed, stream.send, stop
            )
        except ContextExceeded:
            raise _failure("execute.context_exceeded") from None
        except InvalidRequest:
            raise _failure("execute.invalid_request") from None
        except BackendFailed as error:
            # For the operator; the coordinator only learns that it failed.
            log.error("node // the backend failed a request: %s", error)
            raise _failure("execute.backend_failed") from None

    def _commit(
        self, parameters: dict, opened: _Opened, made: list[Generation], digest: str, stop: Stop
    ) -> bytes:
        """The result's bytes, once they are what Validate takes: here it is not too late."""
        result = result_bytes(
            model_digest=self._model_digest,
            engine=self._backend.engine,
            seed=opened.ticket.seed,
            choices=made,
            stream_digest=digest,
        )
        max_tokens = parameters["maxTokens"]
        per_token = 256 + (21 * 128 if "logprobs" in parameters.get("features", []) else 0)
        room = min(16 * 1024 + 2 * len(made) * max_tokens * per_token, RESULT_BYTES_MAX * 4 / 3)
        fits = (
            len(result) * 4 / 3 <= room
            and len(result) <= RESULT_BYTES_MAX
            and all(
                each.completion_tokens <= max_tokens
                and each.prompt_tokens <= opened.payload_bytes + TEMPLATE_TOKENS_MAX
                and (each.finish_reason != "cancelled" or stop.reason is not None)
                for each in made
            )
        )
        if fits:
            return result
        log.error("node // the backend counts in a way that nobody would take")
        raise _failure("execute.backend_failed")

    def _prove(self, attempt: Attempt, result: bytes) -> dict:
        started = time.monotonic()
        poe = proof_of_execution(attempt.unit_id, result, attempt.node_id)
        signature = sign(self._keys.signing, signed_message(result, poe))
        return {
            "scheme": SCHEME,
            "poe": poe,
            "signature": signature,
            "proveElapsedMs": (time.monotonic() - started) * 1_000,
            "sealedResult": seal_return(attempt, result),
        }


class _Stream:
    """The stream of one attempt; it goes nowhere if nobody asked for one."""

    def __init__(self, channel: Channel, attempt: Attempt, ticket: Ticket):
        self.digest = EMPTY_STREAM_DIGEST
        self._sealer: StreamSealer | None = None
        self._frames: FrameStream | None = None
        if ticket.stream:
            self._sealer = StreamSealer(attempt)
            self._frames = channel.open_stream(ticket)
            self._frames.send(self._sealer.key_frame)

    def send(self, text: str) -> None:
        if self._sealer is None or self._frames is None:
            return
        for start in range(0, len(text), DELTA_CHARACTERS_MAX):
            delta = text[start : start + DELTA_CHARACTERS_MAX]
            self.digest = extend_stream_digest(self.digest, delta)
            self._frames.send(self._sealer.delta(delta))

    def end(self) -> None:
        """Says that the text is complete, and waits until it was taken."""
        if self._sealer is not None and self._frames is not None:
            self._frames.send(self._sealer.end())
            self._frames.close()

    def drop(self) -> None:
        if self._frames is not None:
            self._frames.end()


def _failure(code: str) -> ApplicationError:
    """No message but the code: another might quote what the payload says."""
    return ApplicationError(code, type=code, non_retryable=True)
