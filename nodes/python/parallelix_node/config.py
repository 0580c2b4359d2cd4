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

    def take(name: str, pattern: str, hint: str, default: str | None = "") -> str | None:
        value = env.get(name) or default
        if value == "":
            problems.append(f"  {name}: is not set")
        elif value is not None and not re.fullmatch(pattern, value, re.ASCII):
            problems.append(f"  {name}: {hint}")
        return value or None

    def number(name: str, least: int, most: int, default: str | None = "") -> int | None:
        text = take(name, r"\d{1,9}", "must be a whole number", default)
        if text is None or not text.isdecimal():
            return None
        if not least <= int(text) <= most:
            problems.append(f"  {name}: must be {least} to {most}")
        return int(text)

    def path(name: str, default: str | None = None) -> Path | None:
        text = take(name, r".+", "must be a path", default)
        return Path(text) if text else None

    label = f"must be 1 to 120 letters, digits or any of _.:/+-"
    if env.get("PLX_BACKEND", "openai") != "openai":
        problems.append("  PLX_BACKEND: this node knows openai only")
    model_id = take("PLX_MODEL_ID", _LABEL, label)
    config = Config(
        edge_address=take("PLX_EDGE_ADDRESS", r"[^:\s]+:\d{1,5}", "must be HOST:PORT"),
        edge_ca=path("PLX_EDGE_CA"),
        keys=path("PLX_NODE_KEYS", ""),
        passphrase=env.get("PLX_NODE_KEYS_PASSPHRASE") or None,
        binding=path("PLX_OPERATOR_BINDING", ""),
        join_token=env.get("PLX_JOIN_TOKEN") or None,
        name=take("PLX_NODE_NAME", _LABEL, label),
        tier=number("PLX_NODE_TIER", 1, 5),
        slots=number("PLX_NODE_SLOTS", 1, 256, "1"),
        machine=take("PLX_MACHINE", _LABEL, label, None),
        model_id=model_id,
        model_digest=take(
            "PLX_MODEL_DIGEST",
            r"sha256:[0-9a-f]{64}",
            "must be sha256: and 64 lower-case hex digits",
            None,
        ),
        model_path=path("MODEL_PATH"),
        openai_url=(
            take("PLX_OPENAI_URL", r"https?://[^@?#\s]+", "must be a plain http(s) URL") or ""
        ).rstrip("/"),
        openai_key=take("PLX_OPENAI_API_KEY", r"[\x21-\x7e]+", "must be visible ASCII", None),
        openai_model=take("PLX_OPENAI_MODEL", r"[\x21-\x7e]{1,200}", "must be ASCII", model_id),
        equivalence=take("PLX_EQUIVALENCE", r"[\w.:/+-]{1,79}", "must be a short label", None),
        context_tokens=number("PLX_CONTEXT_TOKENS", 1, 999_999_999, None),
        log_level=env.get("PLX_LOG_LEVEL", "info").upper(),
    )
    if not config.model_digest and not config.model_path:
        problems.append("  PLX_MODEL_DIGEST: set it, or MODEL_PATH to the weights file")
    if config.log_level not in ("DEBUG", "INFO", "WARN", "ERROR", "SILENT"):
        problems.append("  PLX_LOG_LEVEL: must be debug, info, warn, error or silent")
    if problems:
        raise ConfigError("The node can't start with this environment:\n" + "\n".join(problems))
    return config
