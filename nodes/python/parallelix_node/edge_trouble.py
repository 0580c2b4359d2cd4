"""What an operator is told when the edge refuses, or can't be reached."""

import http.client
import ssl

from .edge_http import EdgeError

#: Refusals that the same registration meets again; what the operator can do about each.
_REGISTRATION = {
    "node.binding_invalid": "Sign with the account's key, for this very node and the network's own "
    "chain id: prlx operator bind {node_id} --key-file FILE --chain-id ID. Put what it prints into "
    "the file at PLX_OPERATOR_BINDING, and start the node again.",
    "node.operator_unknown": "Ask whoever runs the network to open an account for the operator's "
    "address.",
    "node.operator_mismatch": "{node_id} stays with the operator that first signed for it. Give "
    "this node keys of its own: set PLX_NODE_KEYS to another directory, and have the new id signed "
    "for.",
    "node.registration_refused": "Set the machine's clock. If it is right, the keys are damaged: "
    "docs/certificates.md.",
    "node.registration_invalid": "Mend what the refusal names. If it names nothing, node and "
    "network are of different versions.",
}
_SAID_CHARACTERS_MAX = 200


def trouble_of(error: Exception, node_id: str) -> str:
    """The error, what the edge said of it, and what to do about it, in one line."""
    parts = [f"{error}."]
    if isinstance(error, EdgeError):
        parts += [_said(error), _REGISTRATION.get(error.code, "").format(node_id=node_id)]
    else:
        parts.append(connection_advice(error))
    return " ".join(part for part in parts if part)


def connection_advice(error: Exception) -> str:
    """Which setting to look at, if the edge can't be reached; empty if that isn't known."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if "mismatch" in error.verify_message or "not valid for" in error.verify_message:
            return "Its certificate is for another name: check PLX_EDGE_ADDRESS."
        return (
            "Its certificate is not trusted: set PLX_EDGE_CA to the file of the network's CA."
        )
    if is_unreachable(error):
        return "No edge answers there: check PLX_EDGE_ADDRESS."
    return ""


def is_unreachable(error: Exception) -> bool:
    """Whether nobody answered, or not in time: then it isn't known how the network is."""
    return isinstance(error, (OSError, http.client.HTTPException))


def is_outage(error: Exception) -> bool:
    """Whether it is over once the network is back, and nobody has to do anything."""
    return is_unreachable(error) or getattr(error, "code", "") == "edge.unavailable"


class Reasons:
    """Tells a reason that is new: each is said once, and again when it has changed."""

    def __init__(self) -> None:
        self._last: str | None = None

    def is_new(self, error: Exception) -> bool:
        """`edge.too_many` follows from asking again, and doesn't take the place of the cause."""
        reason = getattr(error, "code", "") or str(error)
        if reason == self._last or (reason == "edge.too_many" and self._last is not None):
            return False
        self._last = reason
        return True


def _said(error: EdgeError) -> str:
    """Printable ASCII: it may be anything."""
    refusal = error.body.get("error") if isinstance(error.body, dict) else None
    said = refusal.get("message") if isinstance(refusal, dict) else None
    if not isinstance(said, str):
        return ""
    return "".join(c if " " <= c <= "~" else "?" for c in said)[:_SAID_CHARACTERS_MAX]
