"""The node's certificate: enrolled once, kept, and renewed at two thirds of its life."""

import logging
import ssl
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from .edge_http import Address, EdgeCalls, EdgeError, present, tls_context
from .keys import NodeKeys, pem, write_private

log = logging.getLogger("node")

#: What the same request would meet again, and what the operator can do about each.
_FINAL = {
    "node.join_refused": "Ask the network for a join token, and set PLX_JOIN_TOKEN to it.",
    "edge.node_removed": "Ask the network for a review: docs/verification.md.",
    "node.certificate_refused": "Node and network are of different versions.",
}


class Refused(Exception):
    """The network doesn't take this node; the message says what to do."""


class Identity:
    """Who the node is for the edge. Its TLS key is its signing key, so its id needs no look-up."""

    def __init__(
        self,
        keys: NodeKeys,
        directory: Path,
        address: Address,
        ca_file: Path | None,
        join_token: str | None,
    ):
        self._keys = keys
        self._address = address
        self._join_token = join_token
        self._certificate_file = directory / "certificate.pem"
        self._ca_file = directory / "ca.pem"
        self._first_ca_file = ca_file
        self._context: ssl.SSLContext | None = None

    def ensure(self) -> None:
        """Enrols unless there is a certificate that is good.

        Raises as EdgeCalls.post does, and Refused where another try would meet the same.
        """
        if self._certificate() is None:
            try:
                self._enrol()
            except EdgeError as error:
                if error.code in _FINAL:
                    raise Refused(f"{error}. {_FINAL[error.code]}") from None
                raise

    def renew(self) -> None:
        """Raises as EdgeCalls.post does; the certificate that there is goes on to serve."""
        if self._certificate() is None:
            return self._enrol()
        try:
            with EdgeCalls(self._address, self.context) as calls:
                self._keep(calls.post("/v1/node/certificate", {"csr": self.signing_request()}))
            log.info("node // certificate renewed")
        except (EdgeError, OSError):
            # An edge may know nothing of this certificate any more: then the key has to do.
            self._enrol()

    def _enrol(self) -> None:
        context = tls_context(self._ca())
        body = {"csr": self.signing_request()}
        if self._join_token:
            body["joinToken"] = self._join_token
        with EdgeCalls(self._address, lambda: context) as calls:
            self._keep(calls.post("/v1/enroll", body))
        log.info("node // enrolled")

    def renew_in_seconds(self) -> float:
        """0 if it is due, or if there is none."""
        certificate = self._certificate()
        if certificate is None:
            return 0
        # When it came, not when it says that it began: issuers allow for clocks that are behind.
        came_at = self._certificate_file.stat().st_mtime
        return max(0.0, came_at + (_ends_at(certificate) - came_at) * 2 / 3 - time.time())

    def context(self) -> ssl.SSLContext:
        """For the side channel; another one after each renewal."""
        if self._context is None:
            context = tls_context(self._ca())
            present(context, self._certificate_file, self._keys.signing)
            self._context = context
        return self._context

    def client_certificate(self) -> bytes:
        return self._certificate_file.read_bytes()

    def client_private_key(self) -> bytes:
        """For Temporal's client, which takes it from memory."""
        return pem(self._keys.signing, None)

    def server_ca(self) -> bytes | None:
        ca = self._ca()
        return ca.encode("ascii") if ca else None

    def signing_request(self) -> str:
        """PKCS #10 in PEM, signed with the key that it is for."""
        node_id = self._keys.node_id
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node_id[:40])])
        builder = x509.CertificateSigningRequestBuilder().subject_name(name)
        request = builder.sign(self._keys.signing, hashes.SHA256())
        return request.public_bytes(Encoding.PEM).decode("ascii")

    def _keep(self, answer: dict) -> None:
        # The CA first: without the certificate, the node only enrols again.
        write_private(self._ca_file, answer["ca"])
        write_private(self._certificate_file, answer["certificate"])
        self._context = None

    def _ca(self) -> str | None:
        """What the network said, and what the operator named, which may be newer."""
        files = (self._ca_file, self._first_ca_file)
        known = [file.read_text(encoding="ascii") for file in files if file and file.exists()]
        return "\n".join(known) or None

    def _certificate(self) -> x509.Certificate | None:
        """The one that is kept, if it is for this key and hasn't ended."""
        if not self._certificate_file.exists():
            return None
        try:
            found = x509.load_pem_x509_certificate(self._certificate_file.read_bytes())
        except ValueError:
            return None
        public = found.public_key()
        is_mine = public == self._keys.signing.public_key()
        return found if is_mine and _ends_at(found) > time.time() else None


def _ends_at(certificate: x509.Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()
