"""Log probabilities, from the two forms that servers have for them."""

import math
from typing import Any

TOKEN_LENGTH_MAX = 512
#: Stands for all that is as unlikely: JSON has no infinity.
LOGPROB_MIN = -9_999


def read_logprobs(said: Any, top: int) -> list[dict]:
    """What one chunk says of its tokens, in the form of results; none for other forms."""
    if not isinstance(said, dict):
        return []
    if isinstance(said.get("content"), list):
        return [_entry(each, top) for each in said["content"] if isinstance(each, dict)]
    tokens, logprobs, others = (
        said.get(name) or [] for name in ("tokens", "token_logprobs", "top_logprobs")
    )
    if not all(isinstance(each, list) for each in (tokens, logprobs, others)):
        return []
    found = []
    for index, token in enumerate(tokens):
        alternatives = others[index] if index < len(others) else None
        listed = [
            {"token": name, "logprob": logprob}
            for name, logprob in (
                alternatives.items() if isinstance(alternatives, dict) else ()
            )
        ]
        logprob = logprobs[index] if index < len(logprobs) else None
        found.append(_entry({"token": token, "logprob": logprob, "top_logprobs": listed}, top))
    return found


def _entry(said: dict, top: int) -> dict:
    others = said.get("top_logprobs")
    named = [_named(each) for each in others or [] if isinstance(each, dict)]
    named.sort(key=lambda each: -each["logprob"])
    entry = {**_named(said), "top": named[:top]}
    octets = said.get("bytes")
    if _is_octets(octets) and bytes(octets) != str(said.get("token")).encode("utf-8", "replace"):
        entry["bytes"] = octets
    return entry


def _named(said: dict) -> dict:
    token, logprob = str(said.get("token")), said.get("logprob")
    known = isinstance(logprob, (int, float)) and not math.isnan(logprob)
    return {
        # Half of a character has no UTF-8 form; lengths are those of UTF-16.
        "token": token.encode("utf-16-le", "replace")[: 2 * TOKEN_LENGTH_MAX].decode(
            "utf-16-le", "replace"
        ),
        "logprob": min(0, max(LOGPROB_MIN, logprob)) if known else LOGPROB_MIN,
    }


def _is_octets(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= TOKEN_LENGTH_MAX
        and all(type(each) is int and 0 <= each <= 255 for each in value)
    )
