"""What is opened and sealed: JWE (RFC 7516), by jwcrypto (docs/decisions/0003-envelopes.md)."""

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

from jwcrypto.common import JWException
from jwcrypto.jwe import JWE
from jwcrypto.jwk import JWK

from .canonical import canonical_bytes
from .encoding import base64url, from_base64url
from .proof import id_bytes

TICKET_CHARACTERS_MAX = 4096
FRAME_CHARACTERS_MAX = 64 * 1024
#: Of a frame's text: by JSON, UTF-8 and base64 a character may become eight.
DELTA_CHARACTERS_MAX = 7_000

_OPEN_ALGS = ["RSA-OAEP-256", "A256GCM"]
_SEAL_ALGS = ["ECDH-ES+A256KW", "A256GCM"]
_FRAME_ALGS = ["dir", "A256GCM"]
_REQUEST_HEADER = base64url(b'{"enc":"A256GCM"}')
_REQUEST_MEMBERS = {"protected", "recipients", "aad", "iv", "ciphertext", "tag"}


class EnvelopeError(ValueError):
    """What was sent can't be opened, or isn't for this node. It quotes none of it."""


@dataclass(frozen=True)
class Ticket:
    """What a node is told beside the request."""

    unit_id: str
    #: The opaque number of the attempt: it says nothing of what came before.
    dispatch: int
    node_id: str
    #: From decrypt.
    deadline_seconds: int
    seed: int
    #: Whether frames are wanted while it generates.
    stream: bool
    #: Authorises the frames of this attempt.
    channel_token: str


def open_ticket(sealed: Any, key: JWK) -> Ticket:
    """A compact JWE, RSA-OAEP-256 and A256GCM, to the node. Raises EnvelopeError."""
    if not isinstance(sealed, str) or len(sealed) > TICKET_CHARACTERS_MAX or sealed.count(".") != 4:
        raise EnvelopeError("the ticket is not a short compact JWE")
    try:
        value = json.loads(_decrypt(sealed, key, _OPEN_ALGS))
        ticket = Ticket(
            unit_id=value["unitId"],
            dispatch=_integer(value["dispatch"], 1),
            node_id=value["nodeId"],
            deadline_seconds=_integer(value["deadlineSeconds"], 1),
            seed=_integer(value["seed"], 0),
            stream=value["stream"] is True,
            channel_token=value["channelToken"],
        )
        id_bytes(ticket.unit_id), id_bytes(ticket.node_id), from_base64url(ticket.channel_token)
        return ticket
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EnvelopeError("the ticket can't be read") from None


def request_digest(parameters: Any, requester_key: Any) -> bytes:
    """A request's AAD: it binds the payload to what stands in the clear beside it."""
    bound = {"parameters": parameters, "requesterKey": requester_key}
    return hashlib.sha256(canonical_bytes(bound)).digest()


def open_request(envelope: Any, parameters: Any, requester_key: Any, key: JWK) -> bytes:
    """The payload of a request that was dispatched to this node. Raises EnvelopeError."""
    try:
        [recipient] = envelope["recipients"]
        fits = (
            set(envelope) == _REQUEST_MEMBERS
            and envelope["protected"] == _REQUEST_HEADER
            and set(recipient) == {"header", "encrypted_key"}
            and set(recipient["header"]) == {"alg", "kid"}
            and envelope["aad"] == base64url(request_digest(parameters, requester_key))
        )
    except (ValueError, KeyError, TypeError):
        raise EnvelopeError("the request is malformed") from None
    if not fits:
        raise EnvelopeError("the request is malformed, or sealed with other parameters")
    return _decrypt(json.dumps(envelope), key, _OPEN_ALGS)


@dataclass(frozen=True)
class Attempt:
    """Whose work a return or a stream is, and whom it is sealed to: both public X25519 JWKs."""

    unit_id: str
    dispatch: int
    node_id: str
    requester_key: dict
    return_key: dict

    @property
    def header(self) -> dict:
        return {
            "enc": "A256GCM",
            "unit": self.unit_id,
            "dispatch": self.dispatch,
            "node": self.node_id,
        }


def seal_return(attempt: Attempt, result: bytes) -> dict:
    """JWE General JSON to the requester and the coordinator, in this order."""
    return _seal_to_both(attempt, attempt.header, result)


class StreamSealer:
    """The frames of one attempt, in the order of the calls (crypto/stream.ts)."""

    def __init__(self, attempt: Attempt):
        key = os.urandom(32)
        self._key = JWK(kty="oct", k=base64url(key))
        self._seq = 0
        sealed = _seal_to_both(attempt, {**attempt.header, "seq": 0}, key)
        #: The first frame: seals the stream's own key to both.
        self.key_frame = json.dumps(sealed, separators=(",", ":"))

    def delta(self, text: str) -> str:
        """A text frame; `text` has at most DELTA_CHARACTERS_MAX characters."""
        return self._seal({"delta": text})

    def end(self) -> str:
        """The last frame; it has the number of text frames, so that a cut stream is noticed."""
        return self._seal({"end": True, "frames": self._seq})

    def _seal(self, body: dict) -> str:
        self._seq += 1
        header = {"alg": "dir", "enc": "A256GCM", "seq": self._seq}
        plaintext = json.dumps(body, ensure_ascii=False).encode("utf-8")
        jwe = JWE(plaintext, header, algs=_FRAME_ALGS, recipient=self._key)
        frame = jwe.serialize(compact=True)
        if len(frame) > FRAME_CHARACTERS_MAX:
            raise EnvelopeError("the frame is too long")
        return frame


def _seal_to_both(attempt: Attempt, header: dict, plaintext: bytes) -> dict:
    jwe = JWE(plaintext, header, algs=_SEAL_ALGS)
    for public in (attempt.requester_key, attempt.return_key):
        key = JWK(kty="OKP", crv="X25519", x=public["x"])
        jwe.add_recipient(key, {"alg": "ECDH-ES+A256KW", "kid": key.thumbprint()})
    return json.loads(jwe.serialize())


def _decrypt(serialized: str, key: JWK, algs: list) -> bytes:
    jwe = JWE(algs=algs)
    try:
        jwe.deserialize(serialized, key)
        # Compression isn't part of the protocol; a bomb would come this way.
        header = jwe.jose_header
        if any("zip" in each for each in (header if isinstance(header, list) else [header])):
            raise ValueError
        return jwe.payload
    except (JWException, ValueError, TypeError, AttributeError):
        raise EnvelopeError("it doesn't decrypt: altered, or sealed to another key") from None


def _integer(value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError("not such a number")
    return value
