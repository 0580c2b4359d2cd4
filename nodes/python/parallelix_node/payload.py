"""The sealed payload of class `ai.inference`, and all choices that it asks for (nodes/payload.ts)."""

from typing import Any, Callable, Protocol

from .answer import BackendFailed, Generation, InvalidRequest
from .attempts import Stop
from .canonical import parse_canonical

SEED_END = 2**32
TOP_LOGPROBS_MAX = 20
#: Choices × tokens × (1 + alternatives): so many fit into a result.
LOGPROBS_MAX = 16_384

_ROLES = {"system", "user", "assistant"}
_SAMPLING = {"temperature", "topP", "stop"}


class Backend(Protocol):
    features: list[str]

    def generate(self, request: dict, on_text: Callable[[str], None], stop: Stop) -> Generation: ...


def choice_seed(seed: int, index: int) -> int:
    """That of the unit for the first choice, and the next ones for the others."""
    return (seed + index) % SEED_END


def parse_payload(data: bytes) -> dict:
    """A conversation or a prompt. Raises ValueError, which quotes none of it."""
    payload = parse_canonical(data)
    top = payload.get("logprobs", 0)
    fits = (
        set(payload) - {"logprobs"} in ({"messages", *_SAMPLING}, {"prompt", *_SAMPLING})
        and _is_asked(payload)
        and _is_number(payload["temperature"])
        and _is_number(payload["topP"])
        and isinstance(payload["stop"], list)
        and all(isinstance(each, str) for each in payload["stop"])
        and type(top) is int
        and 0 <= top <= TOP_LOGPROBS_MAX
    )
    if not fits:
        raise ValueError("the payload has not the shape of its workload class")
    return payload


def generate_choices(
    backend: Backend,
    payload: dict,
    parameters: dict,
    seed: int,
    on_text: Callable[[str], None],
    stop: Stop,
) -> list[Generation]:
    """One after the other, since a unit has one slot; several choices aren't streamed.

    Raises InvalidRequest for what the backend can't do, and whatever it raises.
    """
    _check_servable(backend, payload, parameters)
    choices = parameters.get("choices", 1)
    hear = on_text if choices == 1 else lambda _: None
    made = []
    for index in range(choices):
        request = {
            **payload,
            "maxTokens": parameters["maxTokens"],
            "seed": choice_seed(seed, index),
        }
        # What was stopped goes on with nothing: each choice has to be there all the same.
        if stop.reason is not None:
            told = [] if "logprobs" in payload else None
            made.append(Generation("", 0, 0, "cancelled", told))
            continue
        made.append(backend.generate(request, hear, stop))
        if "logprobs" in payload and made[-1].logprobs is None:
            raise BackendFailed("the server told no log probabilities, which were asked for")
    return made


def _check_servable(backend: Backend, payload: dict, parameters: dict) -> None:
    """What the payload asks for was said beside the seal, where the scheduler reads it."""
    asked = {
        "choices": parameters.get("choices", 1) > 1,
        "completion": "prompt" in payload,
        "logprobs": "logprobs" in payload,
    }
    said = parameters.get("features", [])
    able = {"choices", *backend.features}
    if any(is_asked != (name in said) for name, is_asked in asked.items()):
        raise InvalidRequest
    if any(is_asked and name not in able for name, is_asked in asked.items()):
        raise InvalidRequest
    tokens = parameters.get("choices", 1) * parameters["maxTokens"]
    if asked["logprobs"] and tokens * (1 + payload["logprobs"]) > LOGPROBS_MAX:
        raise InvalidRequest


def _is_asked(payload: dict) -> bool:
    if "prompt" in payload:
        return isinstance(payload["prompt"], str) and payload["prompt"] != ""
    messages = payload["messages"]
    return isinstance(messages, list) and len(messages) > 0 and all(map(_is_message, messages))


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"role", "content"}
        and value["role"] in _ROLES
        and isinstance(value["content"], str)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
