"""A node's two RSA-3072 pairs. They are made here and never leave this machine."""

import json
import os
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from jwcrypto.jwk import JWK

FILE = "node-keys.json"


class KeyFileError(Exception):
    """A key file that can't be used; the message says how to mend it and quotes no key."""


@dataclass(frozen=True)
class NodeKeys:
    """Two pairs, so that no signature can be had by asking for a decryption."""

    signing: rsa.RSAPrivateKey
    encryption: rsa.RSAPrivateKey

    @property
    def node_id(self) -> str:
        return node_id_of(spki(self.signing))

    @property
    def decryption_jwk(self) -> JWK:
        return JWK.from_pyca(self.encryption)


def node_id_of(signing_spki: bytes) -> str:
    """A node's id follows from its signing key: nobody hands it out."""
    return f"nd_{sha256(signing_spki).hexdigest()}"


def spki(key: rsa.RSAPrivateKey) -> bytes:
    """The public half as SubjectPublicKeyInfo DER: the form that is registered."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def load_or_create(directory: Path, passphrase: str | None = None) -> NodeKeys:
    """The keys in `<directory>/node-keys.json`, made on first use. Raises KeyFileError."""
    path = directory / FILE
    if not path.exists():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = NodeKeys(_generate(), _generate())
        pems = {"signing": made.signing, "encryption": made.encryption}
        text = {name: pem(key, passphrase).decode("ascii") for name, key in pems.items()}
        _create(path, json.dumps(text, indent=2) + "\n")
    return _load(path, passphrase)


def pem(key: rsa.RSAPrivateKey, passphrase: str | None) -> bytes:
    """PKCS #8 in PEM, encrypted if there is a passphrase."""
    secret = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret)


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    temporary = _temporary(path, text)
    os.replace(temporary, path)


def _create(path: Path, text: str) -> None:
    temporary = _temporary(path, text)
    try:
        # A link, unlike a rename, fails if another process was first: then its keys are the keys.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)


def _temporary(path: Path, text: str) -> str:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return name


def _load(path: Path, passphrase: str | None) -> NodeKeys:
    with path.open(encoding="utf-8") as file:
        # Of the open file, so that it can't be swapped between the check and the read.
        mode = os.fstat(file.fileno()).st_mode
        if os.name == "posix" and mode & 0o077:
            raise KeyFileError(
                f"key.file_exposed: Others can read or change the private keys in {path}. "
                f"Run: chmod 600 '{path}'; if others may have read it, move it away to get new "
                "keys."
            )
        text = file.read()
    try:
        pems = json.loads(text)
        both = [pems["signing"], pems["encryption"]]
        is_locked = any(_is_locked(text) for text in both)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(path) from None
    if is_locked and not passphrase:
        raise KeyFileError(
            f"key.passphrase_missing: The private keys in {path} are encrypted. Set "
            "PLX_NODE_KEYS_PASSPHRASE to their passphrase; nothing was changed."
        )
    try:
        signing, encryption = (_read(text, passphrase) for text in both)
    except (ValueError, TypeError):
        if not is_locked:
            raise _damaged(path) from None
        raise KeyFileError(
            f"key.passphrase_wrong: The passphrase doesn't open the private keys in {path}. Set "
            "PLX_NODE_KEYS_PASSPHRASE to the one by which they were encrypted; nothing was changed."
        ) from None
    if not isinstance(signing, rsa.RSAPrivateKey) or not isinstance(encryption, rsa.RSAPrivateKey):
        raise KeyFileError(f"The keys in {path} are not RSA. Move the file away to get new keys.")
    return NodeKeys(signing, encryption)


def _damaged(path: Path) -> KeyFileError:
    return KeyFileError(
        f"key.file_invalid: {path} doesn't hold two private keys. Restore the file, or move it "
        "away to get new keys."
    )


def _is_locked(text: str) -> bool:
    return "ENCRYPTED" in text.split("\n", 1)[0]


def _read(text: str, passphrase: str | None):
    # Keys that were made without a passphrase go on to open without one.
    secret = passphrase.encode() if passphrase and _is_locked(text) else None
    return load_pem_private_key(text.encode("ascii"), secret)


def _generate() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=3072)
