"""One model of a server that speaks OpenAI's Chat Completions (docs/operator-backends.md)."""

import http.client
import json
import re
import socket
import time
from dataclasses import dataclass
from typing import Any, Callable, Iterator
from urllib.parse import urlsplit

from .attempts import Stop

ANSWER_SECONDS = 5.0
#: Long enough for a CPU to read a long prompt, which happens without a byte.
STALL_SECONDS = 120.0
BODY_BYTES_MAX = 1024 * 1024
BYTES_PER_TOKEN_MAX = 4096
ENGINE_NAME_MAX = 120
#: What it says of hardware that nobody vouches for: such nodes are checked by their proofs only.
UNDECLARED_HARDWARE = "undeclared-hardware"

#: What engines would do unasked: each has defaults of its own that cut the distribution.
_SAMPLING_OFF = {
    "llama.cpp": {"top_k": 0, "min_p": 0, "repeat_penalty": 1, "cache_prompt": False},
    "vllm": {"top_k": -1, "min_p": 0, "repetition_penalty": 1},
}
_OVERFLOW = re.compile(
    r"context_length_exceeded|exceed_context_size|context (length|window|size)"
    r"|longer than the (maximum )?model|prompt.{0,20} too long",
    re.IGNORECASE,
)


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


@dataclass(frozen=True)
class _Served:
    model: str
    engine: str
    context_tokens: int
    sampling_off: dict


class OpenAiBackend:
    """Threads may share it: each call has a connection of its own."""

    def __init__(
        self,
        url: str,
        api_key: str | None,
        model: str,
        equivalence: str | None,
        context_tokens: int | None,
    ):
        self._url = urlsplit(url)
        self._headers = {"content-type": "application/json", "connection": "close"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._model = model
        self._hardware = equivalence or UNDECLARED_HARDWARE
        self._context_tokens = context_tokens
        self._served: _Served | None = None

    @property
    def engine(self) -> str:
        """Nodes with the same engine and weights are expected to sample the same tokens."""
        return f"{self._known().engine} {self._hardware}"

    def look(self) -> None:
        """Learns what the server serves. Raises BackendFailed while it can't."""
        model = self._listed_model()
        root = re.sub(r"/v1$", "", self._url.path)
        props, ollama, version = (
            self._probe(f"{root}{path}") for path in ("/props", "/api/version", "/version")
        )
        meta = _object(model.get("meta"))
        defaults = _object(props.get("default_generation_settings"))
        context = (
            model.get("max_model_len")
            or meta.get("n_ctx")
            or defaults.get("n_ctx")
            or meta.get("n_ctx_train")
        )
        build = props.get("build_info")
        owner = model.get("owned_by")
        kind = "llama.cpp" if build or owner == "llamacpp" else owner or "openai-compatible"
        if ollama.get("version"):
            name = _engine_name("ollama", ollama["version"])
        else:
            name = _engine_name(kind, build or version.get("version"))
        off = _SAMPLING_OFF.get(kind, {})
        self._served = _Served(model["id"], name, self._context(context), off)

    def generate(self, request: dict, on_text: Callable[[str], None], stop: Stop) -> Generation:
        """Runs `{messages, maxTokens, temperature, topP, stop, seed}`.

        Once `stop` is set it gives what there is, as `cancelled`. Raises InvalidRequest,
        ContextExceeded, BackendFailed, and whatever `on_text` raises.
        """
        _check(request)
        served = self._known()
        if len(request["messages"]) + request["maxTokens"] > served.context_tokens:
            raise ContextExceeded
        answer = _Answer(request["maxTokens"], on_text)
        connection = self._connect(STALL_SECONDS)
        try:
            self._open(connection)
            # Reading ends at once when the socket does.
            sock = connection.sock
            stop.on_set(lambda: _shut(sock))
            body = json.dumps(self._body(served, request))
            connection.request("POST", f"{self._url.path}/chat/completions", body, self._headers)
            response = connection.getresponse()
            if response.status != 200:
                raise _refusal(response)
            bytes_max = BODY_BYTES_MAX + request["maxTokens"] * BYTES_PER_TOKEN_MAX
            for event in _events(response, bytes_max):
                answer.push(event)
            if stop.reason is None:
                return answer.end(served.context_tokens)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if stop.reason is None:
                raise BackendFailed(f"the server was lost ({type(error).__name__})") from None
        except BackendFailed:
            # A stream that was cut because it was stopped isn't whole.
            if stop.reason is None:
                raise
        finally:
            connection.close()
        return answer.cancelled()

    def _known(self) -> _Served:
        if self._served is None:
            raise BackendFailed("the server was not looked at yet")
        return self._served

    def _body(self, served: _Served, request: dict) -> dict:
        body = {
            **served.sampling_off,
            "model": served.model,
            "messages": request["messages"],
            "max_tokens": request["maxTokens"],
            "temperature": request["temperature"],
            "top_p": request["topP"],
            "seed": request["seed"],
            "n": 1,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return {**body, "stop": request["stop"]} if request["stop"] else body

    def _listed_model(self) -> dict:
        listed = self._get(f"{self._url.path}/models")
        models = listed.get("data")
        for model in models if isinstance(models, list) else []:
            names = [model.get("id"), *(model.get("aliases") or [])]
            # Ollama lists `name:latest` for what everybody calls `name`.
            if self._model in names or f"{self._model}:latest" in names:
                return model
        raise BackendFailed(f"the server at PLX_OPENAI_URL doesn't serve {self._model}")

    def _context(self, said: Any) -> int:
        if not isinstance(said, int) and self._context_tokens is None:
            raise BackendFailed("the server doesn't say its context: set PLX_CONTEXT_TOKENS")
        if isinstance(said, int) and (self._context_tokens or 0) > said:
            raise BackendFailed(f"PLX_CONTEXT_TOKENS is more than the server's {said}")
        return self._context_tokens or said

    def _probe(self, path: str) -> dict:
        try:
            return self._get(path)
        except BackendFailed:
            # Nothing depends on these routes: the list of models has shown that it is there.
            return {}

    def _get(self, path: str) -> dict:
        connection = self._connect(ANSWER_SECONDS)
        try:
            self._open(connection)
            connection.request("GET", path, headers=self._headers)
            response = connection.getresponse()
            if response.status != 200:
                raise BackendFailed(f"{path} was answered with {response.status}")
            return _object(json.loads(response.read(BODY_BYTES_MAX)))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise BackendFailed(f"{path} can't be had ({type(error).__name__})") from None
        finally:
            connection.close()

    def _connect(self, seconds: float) -> http.client.HTTPConnection:
        """Redirects aren't followed: prompts are only sent where the operator says."""
        secure = self._url.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        return kind(self._url.hostname or "", self._url.port, timeout=seconds)

    @staticmethod
    def _open(connection: http.client.HTTPConnection) -> None:
        seconds, connection.timeout = connection.timeout, ANSWER_SECONDS
        connection.connect()
        connection.sock.settimeout(seconds)


class _Answer:
    """Puts one answer together; takes only what can be charged and checked."""

    def __init__(self, max_tokens: int, on_text: Callable[[str], None]):
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
        choice = _object(choices[0]) if choices else {}
        text = _object(choice.get("delta")).get("content") or ""
        if text:
            self._take(text)
        self._finish = choice.get("finish_reason") or self._finish

    def end(self, context_tokens: int) -> Generation:
        usage = _object(self._usage)
        prompt, made = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if self._finish not in ("stop", "length"):
            raise BackendFailed("the answer has no finish_reason of stop or length")
        if not isinstance(prompt, int) or not isinstance(made, int):
            raise BackendFailed("the server sent no usage, without which nobody can be charged")
        if prompt + self._max_tokens > context_tokens:
            raise ContextExceeded
        if made > self._max_tokens or (self._finish == "length" and made < self._max_tokens):
            raise BackendFailed(f"the server made {made} of {self._max_tokens} tokens")
        return Generation("".join(self._parts), prompt, made, self._finish)

    def cancelled(self) -> Generation:
        return Generation("".join(self._parts), 0, len(self._parts), "cancelled")

    def _take(self, text: str) -> None:
        """JSON's escapes may cut a character in two; half of one has no UTF-8 form."""
        joined = self._half + text
        self._half = joined[-1] if "\ud800" <= joined[-1] <= "\udbff" else ""
        whole = joined[: len(joined) - len(self._half)]
        shown = whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        if shown:
            self._parts.append(shown)
            self._on_text(shown)


def measure_throughput(backend: OpenAiBackend) -> float:
    """Tokens per second of one short generation: a claim, and a trial of the server."""
    request = {
        "messages": [{"role": "user", "content": "Count from one to one hundred in words."}],
        "maxTokens": 24,
        "temperature": 0,
        "topP": 1,
        "stop": [],
        "seed": 0,
    }
    started = time.monotonic()
    made = backend.generate(request, lambda _: None, Stop()).completion_tokens
    if made == 0:
        raise BackendFailed("the server answered a trial request with no token at all")
    return made / max(time.monotonic() - started, 0.001)


def _check(request: dict) -> None:
    """The payload was sealed: nobody has looked at it before this node."""
    stops = request["stop"]
    fits = (
        0 <= request["temperature"] <= 2
        and 0 < request["topP"] <= 1
        and len(stops) <= 16
        and all(0 < len(stop) <= 512 for stop in stops)
    )
    if not fits:
        raise InvalidRequest


def _events(response: http.client.HTTPResponse, bytes_max: int) -> Iterator[dict]:
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
            yield _object(json.loads(data))
        except ValueError:
            raise BackendFailed("the server sent an event that is not whole JSON") from None


def _refusal(response: http.client.HTTPResponse) -> Exception:
    status, said = response.status, response.read(BODY_BYTES_MAX).decode("utf-8", "replace")
    if status in (400, 413, 422) and _OVERFLOW.search(said):
        return ContextExceeded()
    # A trial with the same fields was answered before the node took work: so it is this request.
    return InvalidRequest() if status in (400, 422) else BackendFailed(f"it answered {status}")


def _engine_name(name: str, version: Any) -> str:
    full = name if version is None else f"{name}/{version}"
    return re.sub(r"[^\x21-\x7e]+", "_", full)[:ENGINE_NAME_MAX] or "openai-compatible"


def _object(value: Any) -> dict:
    return value if isinstance(value, dict) else {}


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It was closed already.
        pass
