"""HTTPS to the edge: JSON calls on one connection that is kept, and how TLS is set up for it."""

import http.client
import json
import os
import secrets
import ssl
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from .keys import pem

CALL_SECONDS = 5.0


class EdgeError(Exception):
    """The edge refused; `code` is of docs/errors.md, or empty if something else answered."""

    def __init__(self, path: str, status: int, body: Any):
        error = body.get("error") if isinstance(body, dict) else None
        error = error if isinstance(error, dict) else {}
        self.code = str(error.get("code", ""))
        self.body = body
        super().__init__(f"{path} was answered with {status} {self.code}".rstrip())


def tls_context(ca: str | None) -> ssl.SSLContext:
    """TLS 1.3 to a server that `ca` (PEM) vouches for, or one of the system's roots."""
    context = ssl.create_default_context(cadata=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


def present(context: ssl.SSLContext, certificate: Path, key: RSAPrivateKey) -> None:
    """Makes `context` present the certificate.

    Python's ssl takes keys from files alone: the one it is given is gone at once, and its
    passphrase is never written down.
    """
    once = secrets.token_urlsafe(32)
    descriptor, name = tempfile.mkstemp(dir=certificate.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem(key, once))
        context.load_cert_chain(certificate, name, once)
    finally:
        os.unlink(name)


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    @staticmethod
    def parse(text: str) -> "Address":
        host, port = text.rsplit(":", 1)
        return Address(host, int(port))


def connect(
    address: Address, context: ssl.SSLContext, seconds: float
) -> http.client.HTTPSConnection:
    """Not connected yet. `seconds` bounds each wait for the other side."""
    return http.client.HTTPSConnection(
        address.host, address.port, timeout=seconds, context=context
    )


def answer_of(path: str, response: http.client.HTTPResponse) -> Any:
    """The JSON of an answer, None for an empty one. Raises EdgeError unless it is a 2xx."""
    text = response.read()
    try:
        body = json.loads(text) if text else None
    except ValueError:
        # Something between here and the edge: its status says enough.
        body = None
    if not 200 <= response.status < 300:
        raise EdgeError(path, response.status, body)
    return body


class EdgeCalls:
    """POSTs of JSON, one after the other, on a connection that is kept as long as it lasts."""

    def __init__(self, address: Address, context: Callable[[], ssl.SSLContext]):
        self._address = address
        self._context = context
        self._lock = threading.Lock()
        self._used: ssl.SSLContext | None = None
        self._connection: http.client.HTTPSConnection | None = None

    def __enter__(self) -> "EdgeCalls":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def post(self, path: str, body: Any) -> Any:
        """Raises EdgeError when it is refused, OSError or HTTPException when nobody answers."""
        with self._lock:
            try:
                return self._post(path, body)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # One that was kept may be closed over there just when it is used again.
                self.close()
                return self._post(path, body)

    def _post(self, path: str, body: Any) -> Any:
        context = self._context()
        if context is not self._used:
            # The certificate was renewed.
            self.close()
        if self._connection is None:
            self._connection = connect(self._address, context, CALL_SECONDS)
            self._used = context
        try:
            headers = {"content-type": "application/json"}
            self._connection.request("POST", path, json.dumps(body), headers)
            return answer_of(path, self._connection.getresponse())
        except EdgeError:
            raise
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def close(self) -> None:
        """A later call opens another connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
