"""RFC 8785 canonical JSON: the bytes that are hashed, signed and sealed."""

import json
import math
from decimal import Decimal
from typing import Any

DEPTH_MAX = 64


class CanonicalError(ValueError):
    """A value, or bytes, that canonical JSON can't represent. It quotes none of it."""


def canonical_bytes(value: Any) -> bytes:
    """The canonical UTF-8 of a JSON value: None, bool, int, float, str, list, dict with str keys.

    Raises CanonicalError for anything else, for NaN, infinities, lone surrogates, and deep nesting.
    """
    try:
        return _text(value, 0).encode("utf-8")
    except UnicodeEncodeError:
        raise CanonicalError("a text holds a lone surrogate") from None


def parse_canonical(data: bytes) -> Any:
    """The value of bytes that are canonical already; raises CanonicalError for any others."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        # The parser's message may quote the text.
        raise CanonicalError("the bytes are not JSON in UTF-8") from None
    if canonical_bytes(value) != data:
        raise CanonicalError("the bytes are JSON, but not canonical")
    return value


def number_text(number: float) -> str:
    """A double as ECMAScript writes it (RFC 8785, 3.2.2.3): the shortest digits that name it."""
    if not math.isfinite(number):
        raise CanonicalError("a number is not finite")
    if number == 0:
        return "0"
    # repr() has the same shortest digits; only their layout differs.
    _, digits, exponent = Decimal(repr(abs(number))).as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    point = len(digits) + int(exponent)
    sign = "-" if number < 0 else ""
    if 0 < point <= 21:
        whole, fraction = text[:point].ljust(point, "0"), text[point:]
        return sign + whole + ("." + fraction if fraction else "")
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + text
    mantissa = text[0] + ("." + text[1:] if len(text) > 1 else "")
    return f"{sign}{mantissa}e{point - 1:+d}"


def _text(value: Any, depth: int) -> str:
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (int, float)):
        return _number(value)
    if depth >= DEPTH_MAX:
        raise CanonicalError(f"it is nested deeper than {DEPTH_MAX} levels")
    if isinstance(value, list):
        return "[" + ",".join(_text(item, depth + 1) for item in value) + "]"
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        members = (f"{_text(key, 0)}:{_text(value[key], depth + 1)}" for key in _sorted(value))
        return "{" + ",".join(members) + "}"
    raise CanonicalError(f"a {type(value).__name__} is no JSON value")


def _number(value: float) -> str:
    try:
        # JSON's numbers are doubles: a longer integer is another number than it looks.
        return number_text(float(value))
    except OverflowError:
        raise CanonicalError("a number is not finite") from None


def _sorted(value: dict) -> list:
    """By UTF-16 code units, as the standard has it; Python compares code points."""
    return sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
