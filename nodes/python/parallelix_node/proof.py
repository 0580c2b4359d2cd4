"""Step 6: what a node commits to and signs (protocol/prove.ts, protocol/result.ts)."""

import hashlib
import re
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from .answer import Generation
from .canonical import canonical_bytes
from .encoding import base64url

SCHEME = "poe.v1"
RESULT_BYTES_MAX = 1024 * 1024
EMPTY_STREAM_DIGEST = "0" * 64

_ID = re.compile(r"(?:req|sub|nd)_([0-9a-f]{64})")


def id_bytes(identifier: str) -> bytes:
    """The 32 raw bytes behind a unit or node id. Raises ValueError for any other text."""
    match = _ID.fullmatch(identifier)
    if not match:
        raise ValueError("not an identifier")
    return bytes.fromhex(match[1])


def proof_of_execution(unit_id: str, result: bytes, node_id: str) -> str:
    """SHA-256(unit_id ‖ result ‖ node_id) in hex: who returned what, not that it is right."""
    return hashlib.sha256(id_bytes(unit_id) + result + id_bytes(node_id)).hexdigest()


def signed_message(result: bytes, poe: str) -> bytes:
    """What is signed: result ‖ poe, the commitment as its 32 raw bytes."""
    return result + bytes.fromhex(poe)


def sign(key: RSAPrivateKey, message: bytes) -> str:
    """RSASSA-PKCS1-v1_5 with SHA-256, base64url without padding."""
    return base64url(key.sign(message, padding.PKCS1v15(), hashes.SHA256()))


def extend_stream_digest(digest: str, delta: str) -> str:
    """The next link of the chain over the plaintext frames: SHA-256(digest ‖ SHA-256(delta))."""
    link = bytes.fromhex(digest) + hashlib.sha256(delta.encode("utf-8")).digest()
    return hashlib.sha256(link).hexdigest()


def result_bytes(
    *,
    model_digest: str,
    engine: str,
    seed: int,
    choices: list[Generation],
    stream_digest: str,
) -> bytes:
    """The canonical bytes of a result of class `ai.inference`, version 1.

    The prompt counts once, the tokens of all choices together. Without token ids: OpenAI's API
    doesn't tell them.
    """
    result: dict[str, Any] = {
        "v": 1,
        "modelDigest": model_digest,
        "engine": engine,
        "seed": seed,
        "choices": [_choice(made) for made in choices],
        "usage": {
            # Of a choice that was cancelled the server doesn't say it.
            "promptTokens": max(made.prompt_tokens for made in choices),
            "completionTokens": sum(made.completion_tokens for made in choices),
        },
        "streamDigest": stream_digest,
    }
    return canonical_bytes(result)


def _choice(made: Generation) -> dict[str, Any]:
    choice: dict[str, Any] = {"text": made.text, "finishReason": made.finish_reason}
    return choice if made.logprobs is None else {**choice, "logprobs": made.logprobs}
