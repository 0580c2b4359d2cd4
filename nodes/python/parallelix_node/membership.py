"""Registers the node and keeps it registered: heartbeats that answer challenges, and commands."""

import http.client
import logging
import random
import threading
import time
from typing import Callable

from .attempts import Attempts
from .channel import Channel
from .edge_http import EdgeError
from .edge_trouble import Reasons, is_outage, is_unreachable, trouble_of

log = logging.getLogger("node")

HEARTBEAT_SECONDS = 2.0
RETRY_SECONDS = 1.0
#: While it is refused.
RETRY_SECONDS_MAX = 30.0
#: While nobody answers: less than a heartbeat costs, and the node is soon back with the edge.
OUTAGE_RETRY_SECONDS_MAX = 5.0
RECONNECT_SECONDS = (0.25, 5.0)
#: Answered for one heartbeat.
CHALLENGES_MAX = 3

AWAY = (OSError, http.client.HTTPException, EdgeError)


class ForeignAnswers(Exception):
    """Somebody else answers the node's challenges."""


class Membership:
    """A coordinator that is away is waited for, for ever: the machine comes back by itself."""

    def __init__(
        self,
        channel: Channel,
        attempts: Attempts,
        claims: Callable[[], dict],
        is_ready: Callable[[], bool],
    ):
        self._channel = channel
        self._attempts = attempts
        self._claims = claims
        self._is_ready = is_ready
        self._left = threading.Event()
        self._draining = False
        self._claimed: dict = {}
        self._challenge: dict = {}
        #: Why it gets no work, by the code; None while it is in the pool.
        self.removed_for: str | None = None
        #: The coordinator's, a public X25519 JWK: results are sealed to it too.
        self.return_key: dict = {}
        self._beating = threading.Thread(target=self._beat, daemon=True)

    def join(self) -> None:
        """Returns once it is registered."""
        self._register()
        self._beating.start()
        threading.Thread(target=self._listen, daemon=True).start()

    def drain(self) -> None:
        """Says that it takes nothing new, and waits for what is on its way. Heartbeats go on."""
        self._draining = True
        try:
            self._attempts.wait_until_begun(self._channel.drain())
            log.info("node // draining")
        except AWAY as error:
            log.warning("node // draining, and the coordinator was not told: %s", error)

    def leave(self) -> None:
        """Stops the heartbeats and says goodbye: the node is offline at once."""
        self._left.set()
        self._beating.join()
        try:
            self._channel.leave()
            log.info("node // left")
        except AWAY as error:
            log.warning("node // left, and the coordinator was not told: %s", error)

    def _register(self) -> None:
        reasons = Reasons()
        retry = RETRY_SECONDS
        while not self._left.is_set():
            try:
                claimed = self._claims()
                answer = self._channel.register(claimed)
                self.return_key, self._challenge = answer["returnKey"], answer["challenge"]
                self._claimed = claimed
                # A registration ends the draining; so it is said again.
                if self._draining:
                    self._channel.drain()
                log.info("node // registered")
                return
            except AWAY as error:
                if reasons.is_new(error):
                    trouble = trouble_of(error, self._channel.node_id)
                    log.warning("node // not registered, will try again: %s", trouble)
                most = OUTAGE_RETRY_SECONDS_MAX if is_outage(error) else RETRY_SECONDS_MAX
                retry = min(retry, most)
                self._left.wait(retry)
                retry *= 2

    def _beat(self) -> None:
        # Who is away, said once per reason, not every two seconds.
        away, reasons = "", Reasons()
        while not self._left.is_set():
            try:
                # What is claimed has to stay true: the backend may be another version now.
                if not self._draining and self._claims() != self._claimed:
                    self._register()
                self._take(self._answer_challenge())
                if away:
                    log.info("node // the %s is back", away)
                away, reasons = "", Reasons()
            except (*AWAY, ForeignAnswers) as error:
                if reasons.is_new(error):
                    away = "edge" if is_unreachable(error) else "coordinator"
                    what = "can not be reached" if is_unreachable(error) else "is away"
                    log.warning("node // the %s %s: %s", away, what, error)
            self._left.wait(HEARTBEAT_SECONDS)

    def _answer_challenge(self) -> dict | None:
        """None if the node isn't known there any more."""
        for _ in range(CHALLENGES_MAX):
            try:
                running = self._attempts.snapshot()
                answer = self._channel.heartbeat(self._is_ready(), running, self._challenge)
                self._challenge = answer["challenge"]
                return answer
            except EdgeError as error:
                if error.code == "node.unknown":
                    return None
                if error.code != "node.heartbeat_replayed":
                    raise
                # An answer was lost on its way: the fresh challenge is answered at once.
                self._challenge = error.body["challenge"]
        raise ForeignAnswers(
            "somebody else answers its challenges: is there a node with the same keys?"
        )

    def _take(self, answer: dict | None) -> None:
        if answer is None or answer.get("returnKey", self.return_key["x"]) != self.return_key["x"]:
            self._register()
        removed = (answer or {}).get("removed")
        code = removed["code"] if removed else None
        if code != self.removed_for:
            # Said once: the operator has to hear it, and can do something.
            if removed:
                log.warning("node // was removed from the pool: %s %s", code, removed["message"])
            else:
                log.info("node // was let into the pool again")
            self.removed_for = code

    def _listen(self) -> None:
        """Without a command stream, a cancellation comes by Temporal's heartbeats, only later."""
        least, most = RECONNECT_SECONDS
        wait = least
        while not self._left.is_set():
            started = time.monotonic()
            try:
                self._channel.commands(self._obey)
            except AWAY as error:
                log.debug("node // command stream lost: %s", error)
            if time.monotonic() - started > most:
                wait = least
            # Not all nodes at the same moment, when the coordinator is back.
            self._left.wait(wait * (0.5 + random.random() / 2))
            wait = min(2 * wait, most)

    def _obey(self, command: dict) -> None:
        unit_id, dispatch = command.get("unitId"), command.get("dispatch")
        if command.get("type") == "cancel" and isinstance(unit_id, str):
            if isinstance(dispatch, int):
                self._attempts.cancel(unit_id, dispatch)
