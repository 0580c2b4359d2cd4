"""What came of one generation, from the events of a stream of Chat Completions."""

import http.client
import json
from dataclasses import dataclass
from typing import Any, Callable, Iterator

from .logprobs import read_logprobs

BODY_BYTES_MAX = 1024 * 1024


class BackendFailed(Exception):
    """The server can't serve. The message quotes no prompt and no answer."""


class InvalidRequest(Exception):
    """No server could run the request."""


class ContextExceeded(Exception):
    """Prompt and answer together exceed the model's context."""


@dataclass(frozen=True)
class Generation:
    #: Exactly the deltas, joined.
    text: str
    prompt_tokens: int
    #: Pieces of text, in a cancelled generation: the server counts at the end.
    completion_tokens: int
    #: `stop`, `length` or `cancelled`.
    finish_reason: str
    #: Of the tokens in the text, if they were asked for.
    logprobs: list[dict] | None = None


class Answer:
    """Puts one answer together; takes only what can be charged and checked.

    `logprobs` is the number of alternatives whose log probabilities are asked for, or None;
    `is_text` tells a completion from a chat.
    """

    def __init__(
        self,
        max_tokens: int,
        on_text: Callable[[str], None],
        logprobs: int | None = None,
        is_text: bool = False,
    ):
        self._top = logprobs
        self._is_text = is_text
        self._told: list[dict] = []
        self._max_tokens = max_tokens
        self._on_text = on_text
        self._parts: list[str] = []
        self._half = ""
        self._finish: str | None = None
        self._usage: dict | None = None

    def push(self, event: dict) -> None:
        if event.get("error"):
            raise BackendFailed("the server broke off with an error")
        self._usage = event.get("usage") or self._usage
        choices = event.get("choices")
        choice = json_object(choices[0]) if isinstance(choices, list) and choices else {}
        where = choice if self._is_text else json_object(choice.get("delta"))
        text = where.get("text" if self._is_text else "content") or ""
        if not isinstance(text, str) or (text and self._finish is not None):
            raise BackendFailed("the server sent text where none can be")
        if text:
            self._take(text)
        if self._top is not None:
            self._told.extend(read_logprobs(choice.get("logprobs"), self._top))
        self._finish = choice.get("finish_reason") or self._finish

    def end(self, context_tokens: int) -> Generation:
        usage = json_object(self._usage)
        prompt, made = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if self._finish not in ("stop", "length"):
            raise BackendFailed("the answer has no finish_reason of stop or length")
        if not isinstance(prompt, int) or not isinstance(made, int) or min(prompt, made) < 0:
            raise BackendFailed("the server sent no usage, without which nobody can be charged")
        if prompt + self._max_tokens > context_tokens:
            raise ContextExceeded
        if made > self._max_tokens or (self._finish == "length" and made < self._max_tokens):
            raise BackendFailed(f"the server made {made} of {self._max_tokens} tokens")
        if self._top is not None and self._parts and not self._told:
            raise BackendFailed("the server told no log probabilities, which were asked for")
        return self._generation(prompt, made, self._finish)

    def cancelled(self) -> Generation:
        return self._generation(0, len(self._parts), "cancelled")

    def _generation(self, prompt: int, made: int, finish: str) -> Generation:
        # Some also tell of the tokens of a stop string, or of those that end the answer.
        told = None if self._top is None else self._told[:made]
        return Generation("".join(self._parts), prompt, made, finish, told)

    def _take(self, text: str) -> None:
        """JSON's escapes may cut a character in two; half of one has no UTF-8 form."""
        joined = self._half + text
        self._half = joined[-1] if "\ud800" <= joined[-1] <= "\udbff" else ""
        whole = joined[: len(joined) - len(self._half)]
        shown = whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        if shown:
            self._parts.append(shown)
            self._on_text(shown)


def read_events(response: http.client.HTTPResponse, bytes_max: int) -> Iterator[dict]:
    """The data of each server-sent event; engines send each in one line."""
    taken = 0
    while line := response.readline(BODY_BYTES_MAX):
        taken += len(line)
        if taken > bytes_max:
            raise BackendFailed("the server sent far more than was asked for")
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        try:
            yield json_object(json.loads(data))
        except ValueError:
            raise BackendFailed("the server sent an event that is not whole JSON") from None


def json_object(value: Any) -> dict:
    """An empty one for whatever is none: a server may send anything."""
    return value if isinstance(value, dict) else {}
