"""What an operator hears of a node that isn't let in, and how often it asks."""

import ssl
import unittest
from unittest.mock import patch

from parallelix_node import membership
from parallelix_node.attempts import Attempts
from parallelix_node.edge_http import EdgeError
from parallelix_node.edge_trouble import connection_advice
from parallelix_node.membership import Membership

TAKEN = {"returnKey": {"x": "key"}, "challenge": {"sequence": 1, "nonce": "nonce"}}


def refused(code: str) -> EdgeError:
    return EdgeError("register", 403, {"error": {"code": code, "message": "Said\nby an edge."}})


class FakeChannel:
    """Answers each call with the next of these, or raises it."""

    node_id = "nd_a"

    def __init__(self, *answers):
        self._answers = list(answers)

    def register(self, _claims):
        return self._next()

    def heartbeat(self, *_):
        return self._next()

    def _next(self):
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Refusals(unittest.TestCase):
    def joined(self, *answers):
        """Returns what it logged, and for how long it waited between its calls."""
        waits: list[float] = []
        node = Membership(FakeChannel(*answers), Attempts(), dict, lambda: True)
        with self.assertLogs("node") as logged, patch.object(node._left, "wait", waits.append):
            node._register()
        return logged.output, waits

    def test_each_reason_is_said_once_with_advice(self):
        unknown, binding = refused("node.operator_unknown"), refused("node.binding_invalid")
        said, waits = self.joined(unknown, unknown, refused("edge.too_many"), binding, TAKEN)
        self.assertEqual(waits, [1, 2, 4, 8])
        self.assertEqual(len(said), 3)
        self.assertRegex(said[0], "403 node.operator_unknown. Said.by an edge. .*open an account")
        self.assertRegex(said[1], "operator bind nd_a .*--chain-id")
        self.assertIn("registered", said[2])

    def test_waits_are_bounded_and_shorter_in_an_outage(self):
        _, waits = self.joined(*[refused("node.operator_mismatch")] * 7, TAKEN)
        self.assertEqual(waits, [1, 2, 4, 8, 16, 30, 30])
        for outage in (refused("edge.unavailable"), ConnectionRefusedError(111, "refused")):
            _, waits = self.joined(*[outage] * 5, TAKEN)
            self.assertEqual(waits, [1, 2, 4, 5, 5])

    def test_tells_the_edge_from_the_coordinator(self):
        known = {"challenge": TAKEN["challenge"], "returnKey": "key"}
        gone, away = ConnectionRefusedError(111, "refused"), refused("edge.unavailable")
        node = Membership(FakeChannel(away, away, gone, known), Attempts(), dict, lambda: True)
        node.return_key, node._challenge = TAKEN["returnKey"], TAKEN["challenge"]
        beats: list[float] = []

        def wait(seconds):
            beats.append(seconds)
            if len(beats) == 4:
                node._left.set()

        with self.assertLogs("node") as logged, patch.object(node._left, "wait", wait):
            node._beat()
        self.assertEqual(beats, [membership.HEARTBEAT_SECONDS] * 4)
        self.assertRegex(logged.output[0], "the coordinator is away: .*edge.unavailable")
        self.assertRegex(logged.output[1], "the edge can not be reached: .*refused")
        self.assertRegex(logged.output[2], "the edge is back")
        self.assertEqual(len(logged.output), 3)

    def test_names_the_setting_of_a_connection_that_fails(self):
        untrusted = ssl.SSLCertVerificationError("failed")
        untrusted.verify_message = "self-signed certificate in certificate chain"
        self.assertIn("PLX_EDGE_CA", connection_advice(untrusted))
        untrusted.verify_message = "IP address mismatch, certificate is not valid for '::1'"
        self.assertIn("PLX_EDGE_ADDRESS", connection_advice(untrusted))
        self.assertIn("PLX_EDGE_ADDRESS", connection_advice(ConnectionRefusedError()))
        self.assertEqual(connection_advice(ValueError()), "")


if __name__ == "__main__":
    unittest.main()
