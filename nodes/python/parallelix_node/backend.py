"""One model of a server that speaks OpenAI's Chat Completions (docs/operator-backends.md)."""

import http.client
import json
import re
import socket
import time
from dataclasses import dataclass
from typing import Any, Callable
from urllib.parse import urlsplit

from .answer import (
    BODY_BYTES_MAX,
    Answer,
    BackendFailed,
    ContextExceeded,
    Generation,
    InvalidRequest,
    json_object,
    read_events,
)
from .attempts import Stop

ANSWER_SECONDS = 5.0
#: Long enough for a CPU to read a long prompt, which happens without a byte.
STALL_SECONDS = 120.0
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


_TRIAL = {"maxTokens": 2, "temperature": 0, "topP": 1, "stop": [], "seed": 0}


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
        #: What the server can do besides chat; none before `probe`.
        self.features: list[str] = []

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
        meta = json_object(model.get("meta"))
        defaults = json_object(props.get("default_generation_settings"))
        context = (
            model.get("max_model_len")
            or meta.get("n_ctx")
            or defaults.get("n_ctx")
            or meta.get("n_ctx_train")
        )
        build = props.get("build_info")
        owner = model.get("owned_by")
        kind = "llama.cpp" if build or owner == "llamacpp" else str(owner or "openai-compatible")
        if ollama.get("version"):
            name = _engine_name("ollama", ollama["version"])
        else:
            name = _engine_name(kind, build or version.get("version"))
        off = _SAMPLING_OFF.get(kind, {})
        self._served = _Served(model["id"], name, self._context(context), off)

    def generate(self, request: dict, on_text: Callable[[str], None], stop: Stop) -> Generation:
        """Runs `{messages or prompt, maxTokens, temperature, topP, stop, seed, logprobs?}`.

        Once `stop` is set it gives what there is, as `cancelled`. Raises InvalidRequest,
        ContextExceeded, BackendFailed, and whatever `on_text` raises.
        """
        _check(request)
        served = self._known()
        if len(request.get("messages", "1")) + request["maxTokens"] > served.context_tokens:
            raise ContextExceeded
        is_text = "prompt" in request
        path = "/completions" if is_text else "/chat/completions"
        answer = Answer(request["maxTokens"], on_text, request.get("logprobs"), is_text)
        connection = self._connect(STALL_SECONDS)
        try:
            self._open(connection)
            # Reading ends at once when the socket does.
            sock = connection.sock
            stop.on_set(lambda: _shut(sock))
            body = json.dumps(self._body(served, request))
            connection.request("POST", f"{self._url.path}{path}", body, self._headers)
            response = connection.getresponse()
            if response.status != 200:
                raise _refusal(response)
            bytes_max = BODY_BYTES_MAX + request["maxTokens"] * BYTES_PER_TOKEN_MAX
            for event in read_events(response, bytes_max):
                answer.push(event)
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

    def probe(self) -> None:
        """Finds out what the server can do besides chat, by trying it."""

        def answers(**asked) -> bool:
            try:
                made = self.generate({**_TRIAL, **asked}, lambda _: None, Stop())
            except (BackendFailed, InvalidRequest, ContextExceeded):
                # Whatever is wrong with it: then it isn't offered.
                return False
            return made.completion_tokens > 0 and (made.logprobs is None or len(made.logprobs) > 0)

        chat = {"messages": [{"role": "user", "content": "Count from one to ten."}]}
        text = {"prompt": "One, two, three,"}
        has_text = answers(**text)
        tells = answers(**chat, logprobs=1) and (not has_text or answers(**text, logprobs=1))
        found = {"completion": has_text, "logprobs": tells}
        self.features = [name for name, can in found.items() if can]

    def _known(self) -> _Served:
        if self._served is None:
            raise BackendFailed("the server was not looked at yet")
        return self._served

    def _body(self, served: _Served, request: dict) -> dict:
        body = {
            **served.sampling_off,
            "model": served.model,
            **{name: request[name] for name in ("messages", "prompt") if name in request},
            **_logprobs_fields(request),
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
        for model in map(json_object, models if isinstance(models, list) else []):
            aliases = model.get("aliases")
            names = [model.get("id"), *(aliases if isinstance(aliases, list) else [])]
            # Ollama lists `name:latest` for what everybody calls `name`.
            if self._model in names or f"{self._model}:latest" in names:
                return {**model, "id": str(names[0])}
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
            return json_object(json.loads(response.read(BODY_BYTES_MAX)))
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


def _logprobs_fields(request: dict) -> dict:
    """llama.cpp tells nothing when it is asked for no alternative, so one is asked for."""
    if "logprobs" not in request:
        return {}
    top = max(1, request["logprobs"])
    return {"logprobs": top} if "prompt" in request else {"logprobs": True, "top_logprobs": top}


def _refusal(response: http.client.HTTPResponse) -> Exception:
    status, said = response.status, response.read(BODY_BYTES_MAX).decode("utf-8", "replace")
    if status in (400, 413, 422) and _OVERFLOW.search(said):
        return ContextExceeded()
    # A trial with the same fields was answered before the node took work: so it is this request.
    return InvalidRequest() if status in (400, 422) else BackendFailed(f"it answered {status}")


def _engine_name(name: str, version: Any) -> str:
    full = name if version is None else f"{name}/{version}"
    return re.sub(r"[^\x21-\x7e]+", "_", full)[:ENGINE_NAME_MAX] or "openai-compatible"


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It was closed already.
        pass
