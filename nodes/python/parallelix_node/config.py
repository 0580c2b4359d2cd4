"""What an operator sets: the variables of docs/operator-backends.md, read once."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping

_LABEL = r"[\w.:/+-]{1,120}"


class ConfigError(Exception):
    """Names each wrong or missing variable, never its value."""


@dataclass(frozen=True)
class Config:
    edge_address: str
    #: Of the network's CA, in PEM; None once enrolled, or for the system's roots.
    edge_ca: Path | None
    keys: Path
    passphrase: str | None
    binding: Path
    join_token: str | None
    name: str
    tier: int
    slots: int
    machine: str | None
    model_id: str
    #: `sha256:` and 64 hex digits; None if it is to be taken of `model_path`.
    model_digest: str | None
    model_path: Path | None
    openai_url: str
    openai_key: str | None
    openai_model: str
    equivalence: str | None
    context_tokens: int | None
    log_level: str


def read_config(env: Mapping[str, str] = os.environ) -> Config:
    """Raises ConfigError."""
    problems: list[str] = []

    def optional(name: str, pattern: str = r".+", hint: str = "is not valid") -> str | None:
        value = env.get(name) or None
        if value is not None and not re.fullmatch(pattern, value, re.ASCII):
            problems.append(f"  {name}: {hint}")
        return value

    def required(name: str, pattern: str = r".+", hint: str = "is not valid") -> str:
        if not env.get(name):
            problems.append(f"  {name}: is not set")
        return optional(name, pattern, hint) or ""

    def number(text: str | None, name: str, most: int) -> int:
        value = int(text) if text and re.fullmatch(r"[1-9]\d{0,8}", text, re.ASCII) else 0
        if text and not 1 <= value <= most:
            problems.append(f"  {name}: must be a whole number from 1 to {most}")
        return value

    def path(text: str | None) -> Path | None:
        return Path(text) if text else None

    if env.get("PLX_BACKEND", "openai") != "openai":
        problems.append("  PLX_BACKEND: this node knows openai only")
    label = (_LABEL, "must be 1 to 120 letters, digits or any of _.:/+-")
    digest = (r"sha256:[0-9a-f]{64}", "must be sha256: and 64 lower-case hex digits")
    passphrase = (r"(?s:.{12,200})", "must have 12 to 200 characters")
    model_id = required("PLX_MODEL_ID", *label)
    config = Config(
        edge_address=required("PLX_EDGE_ADDRESS", r"[^:\s]+:\d{1,5}", "must be HOST:PORT"),
        edge_ca=path(optional("PLX_EDGE_CA")),
        keys=Path(required("PLX_NODE_KEYS")),
        passphrase=optional("PLX_NODE_KEYS_PASSPHRASE", *passphrase),
        binding=Path(required("PLX_OPERATOR_BINDING")),
        join_token=optional("PLX_JOIN_TOKEN"),
        name=required("PLX_NODE_NAME", *label),
        tier=number(required("PLX_NODE_TIER"), "PLX_NODE_TIER", 5),
        slots=number(env.get("PLX_NODE_SLOTS") or "1", "PLX_NODE_SLOTS", 256),
        machine=optional("PLX_MACHINE", *label),
        model_id=model_id,
        model_digest=optional("PLX_MODEL_DIGEST", *digest),
        model_path=path(optional("MODEL_PATH")),
        openai_url=required("PLX_OPENAI_URL", r"https?://[^@?#\s]+", "must be a plain URL").rstrip(
            "/"
        ),
        openai_key=optional("PLX_OPENAI_API_KEY", r"[\x21-\x7e]+", "must be visible ASCII"),
        openai_model=optional("PLX_OPENAI_MODEL", r"[\x21-\x7e]{1,200}", "must be visible ASCII")
        or model_id,
        equivalence=optional("PLX_EQUIVALENCE", r"[\w.:/+-]{1,79}", "must be a short label"),
        context_tokens=number(env.get("PLX_CONTEXT_TOKENS"), "PLX_CONTEXT_TOKENS", 999_999_999)
        or None,
        log_level=env.get("PLX_LOG_LEVEL", "info").upper(),
    )
    if not config.model_digest and not config.model_path:
        problems.append("  PLX_MODEL_DIGEST: set it, or MODEL_PATH to the weights file")
    if config.log_level not in ("DEBUG", "INFO", "WARN", "ERROR", "SILENT"):
        problems.append("  PLX_LOG_LEVEL: must be debug, info, warn, error or silent")
    if problems:
        raise ConfigError("The node can't start with this environment:\n" + "\n".join(problems))
    return config
