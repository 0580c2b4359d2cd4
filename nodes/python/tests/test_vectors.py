"""The protocol's vectors, which the first implementation passes as well."""

import json
import struct
import unittest
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwcrypto.jwe import JWE
from jwcrypto.jwk import JWK

from parallelix_node import canonical, envelope, keys, payload, proof
from parallelix_node.answer import Generation

VECTORS = Path(__file__).parents[3] / "protocol" / "vectors"


def vector(name: str) -> dict:
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


def private_key(pem: str):
    return load_pem_private_key(pem.encode(), None)


class Canonical(unittest.TestCase):
    given = vector("canonical")

    def test_numbers(self):
        for case in self.given["numbers"]:
            [number] = struct.unpack(">d", bytes.fromhex(case["ieee754Hex"]))
            self.assertEqual(canonical.number_text(number), case["canonical"])

    def test_values(self):
        for case in self.given["values"]:
            found = canonical.canonical_bytes(json.loads(case["json"]))
            self.assertEqual(found.decode(), case["canonical"])
            self.assertEqual(canonical.canonical_bytes(canonical.parse_canonical(found)), found)

    def test_rejected(self):
        for case in self.given["rejected"]:
            with self.subTest(case["why"]), self.assertRaises(canonical.CanonicalError):
                canonical.parse_canonical(bytes.fromhex(case["bytesHex"]))

    def test_what_json_cannot_hold(self):
        numbers = (float("nan"), float("inf"), 10**400)
        for value in (*numbers, {1: 2}, (1,), b"", "\ud800", {"\udc00": 1}):
            with self.subTest(repr(value)[:20]), self.assertRaises(canonical.CanonicalError):
                canonical.canonical_bytes([value])


class Proof(unittest.TestCase):
    given = vector("poe.v1")

    def test_node_id(self):
        key = private_key(self.given["signingPrivateKeyPem"])
        self.assertEqual(keys.spki(key).hex(), self.given["signingPublicKeySpkiDerHex"])
        self.assertEqual(keys.node_id_of(keys.spki(key)), self.given["nodeId"])

    def test_commitment_and_signature(self):
        key = private_key(self.given["signingPrivateKeyPem"])
        for case in self.given["cases"]:
            result = bytes.fromhex(case["resultHex"])
            poe = proof.proof_of_execution(case["unitId"], result, self.given["nodeId"])
            self.assertEqual(poe, case["poe"])
            message = proof.signed_message(result, poe)
            self.assertEqual(message.hex(), case["signedMessageHex"])
            self.assertEqual(proof.sign(key, message), case["signature"])

    def test_stream_digest(self):
        for case in vector("stream-digest")["cases"]:
            digest = proof.EMPTY_STREAM_DIGEST
            for delta in case["deltas"]:
                digest = proof.extend_stream_digest(digest, delta)
            self.assertEqual(digest, case["streamDigest"])


class Results(unittest.TestCase):
    given = vector("results")

    def test_seeds_of_choices(self):
        for case in self.given["choiceSeeds"]:
            found = payload.choice_seed(case["seed"], case["index"])
            self.assertEqual(found, case["choiceSeed"])

    def test_bytes(self):
        for case in self.given["results"]:
            result = case["result"]
            prompt, made = result["usage"]["promptTokens"], result["usage"]["completionTokens"]
            # The sums count: here the first choice made all tokens.
            counts = [(prompt, made), *[(0, 0)] * len(result["choices"])]
            choices = [
                Generation(
                    each["text"], *counts[index], each["finishReason"], each.get("logprobs")
                )
                for index, each in enumerate(result["choices"])
            ]
            with self.subTest(case["about"]):
                found = proof.result_bytes(
                    model_digest=result["modelDigest"],
                    engine=result["engine"],
                    seed=result["seed"],
                    choices=choices,
                    stream_digest=result["streamDigest"],
                )
                self.assertEqual(found.decode(), case["canonicalUtf8"])


class Request(unittest.TestCase):
    given = vector("request-envelope")
    key = JWK.from_pyca(private_key(given["nodeEncryptionPrivateKeyPem"]))

    def opened(self, jwe, **changed):
        parameters = {**self.given["parameters"], **changed}
        return envelope.open_request(jwe, parameters, self.given["requesterPublicJwk"], self.key)

    def test_opens(self):
        payload = self.opened(self.given["dispatched"])
        self.assertEqual(payload.decode(), self.given["plaintextUtf8"])

    def test_binds_the_parameters(self):
        with self.assertRaises(envelope.EnvelopeError):
            self.opened(self.given["dispatched"], maxTokens=65)

    def test_refuses_what_was_altered(self):
        for member in ("aad", "iv", "ciphertext", "tag"):
            text = self.given["dispatched"][member]
            flipped = ("A" if text[0] != "A" else "B") + text[1:]
            altered = {**self.given["dispatched"], member: flipped}
            with self.subTest(member), self.assertRaises(envelope.EnvelopeError):
                self.opened(altered)
        for jwe in (None, [], {}, "x", {**self.given["dispatched"], "unprotected": {"zip": "DEF"}}):
            with self.subTest(str(jwe)[:20]), self.assertRaises(envelope.EnvelopeError):
                self.opened(jwe)

    def test_ticket(self):
        ticket = envelope.open_ticket(self.given["sealedTicket"], self.key)
        expected = self.given["ticket"]
        self.assertEqual(ticket.unit_id, expected["unitId"])
        self.assertEqual(ticket.node_id, expected["nodeId"])
        self.assertEqual(ticket.deadline_seconds, expected["deadlineSeconds"])
        self.assertEqual((ticket.dispatch, ticket.seed), (expected["dispatch"], expected["seed"]))
        self.assertEqual((ticket.stream, ticket.channel_token), (True, expected["channelToken"]))
        for sealed in (None, "", "a.b.c.d.e", self.given["sealedTicket"][:-8] + "AAAAAAAA"):
            with self.assertRaises(envelope.EnvelopeError):
                envelope.open_ticket(sealed, self.key)


class Return(unittest.TestCase):
    """What a node seals is random: so its own is opened as the vector's is, and looks like it."""

    given = vector("return-envelope")
    attempt = envelope.Attempt(
        unit_id=given["unitId"],
        dispatch=given["dispatch"],
        node_id=given["nodeId"],
        requester_key=given["requesterPrivateJwk"],
        return_key=given["returnPrivateJwk"],
    )

    def open(self, jwe: dict) -> list:
        """As both recipients; whatever is added to a JWE that the schema has not shows here."""
        self.assertEqual(list(sorted(jwe)), sorted(self.given["sealed"]))
        texts = []
        for index, who in enumerate(("requester", "return")):
            header = jwe["recipients"][index]["header"]
            self.assertEqual(set(header), {"alg", "kid", "epk"})
            self.assertEqual(set(header["epk"]), {"kty", "crv", "x"})
            self.assertEqual(header["alg"], "ECDH-ES+A256KW")
            self.assertEqual(header["kid"], self.given[f"{who}Kid"])
            opened = JWE(algs=["ECDH-ES+A256KW", "A256GCM"])
            opened.deserialize(json.dumps(jwe), JWK(**self.given[f"{who}PrivateJwk"]))
            texts.append(opened.payload)
        self.assertEqual(texts[0], texts[1])
        return texts

    def header(self, encoded: str) -> dict:
        return json.loads(envelope.from_base64url(encoded))

    def test_return(self):
        mine = envelope.seal_return(self.attempt, self.given["resultUtf8"].encode())
        for jwe in (self.given["sealed"], mine):
            self.assertEqual(self.open(jwe)[0].decode(), self.given["resultUtf8"])
        self.assertEqual(
            self.header(mine["protected"]), self.header(self.given["sealed"]["protected"])
        )

    def test_stream(self):
        sealer = envelope.StreamSealer(self.attempt)
        mine = [sealer.key_frame, *map(sealer.delta, self.given["deltas"]), sealer.end()]
        self.assertEqual(self.bodies(mine), self.bodies(self.given["frames"]))

    def bodies(self, frames: list) -> list:
        first = json.loads(frames[0])
        key = JWK(kty="oct", k=envelope.base64url(self.open(first)[0]))
        bodies = [self.header(first["protected"])]
        for frame in frames[1:]:
            opened = JWE(algs=["dir", "A256GCM"])
            opened.deserialize(frame, key)
            bodies.append((json.loads(opened.objects["protected"]), json.loads(opened.payload)))
        return bodies

    def test_the_longest_delta_fits_a_frame(self):
        sealer = envelope.StreamSealer(self.attempt)
        for character in ("\u0000", "🙂", '"'):
            frame = sealer.delta(character * envelope.DELTA_CHARACTERS_MAX)
            self.assertLessEqual(len(frame), envelope.FRAME_CHARACTERS_MAX)


if __name__ == "__main__":
    unittest.main()
