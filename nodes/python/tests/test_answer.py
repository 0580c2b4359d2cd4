"""What is taken of a server, and how a generation is stopped."""

import io
import unittest

from parallelix_node.answer import Answer, BackendFailed, ContextExceeded, read_events
from parallelix_node.attempts import Attempts, Stop
from parallelix_node.channel import _parse

USAGE = {"prompt_tokens": 3, "completion_tokens": 2}


def chunk(text=None, finish=None, **more) -> dict:
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish}], **more}


class Taken(unittest.TestCase):
    def made(self, *events, max_tokens=4):
        deltas: list = []
        answer = Answer(max_tokens, deltas.append)
        for event in events:
            answer.push(event)
        generation = answer.end(100)
        self.assertEqual("".join(deltas), generation.text)
        return generation

    def test_joins_what_comes(self):
        made = self.made(chunk("Hel"), chunk("lo"), chunk(finish="stop"), {"usage": USAGE})
        self.assertEqual((made.text, made.finish_reason), ("Hello", "stop"))
        self.assertEqual((made.prompt_tokens, made.completion_tokens), (3, 2))

    def test_puts_halves_of_a_character_together(self):
        made = self.made(chunk("a\ud83d"), chunk("\ude42b"), chunk("\udc00", "stop", usage=USAGE))
        self.assertEqual(made.text, "a🙂b\ufffd")

    def test_refuses_what_nobody_would_pay_for(self):
        end = chunk(finish="stop")
        cut = chunk(finish="length", usage=USAGE)
        for events in (
            [chunk("a"), {"usage": USAGE}],
            [chunk("a"), end],
            [chunk("a"), end, {"usage": {"prompt_tokens": 1, "completion_tokens": 5}}],
            [chunk("a"), end, {"usage": {"prompt_tokens": -1, "completion_tokens": 1}}],
            [chunk("a"), end, {"usage": {"prompt_tokens": "1", "completion_tokens": 1}}],
            [chunk("a"), cut],
            [chunk("a", "content_filter", usage=USAGE)],
            [end, chunk("a"), {"usage": USAGE}],
            [{"error": {"message": "boom"}}],
            [chunk(7)],
        ):
            with self.subTest(events), self.assertRaises(BackendFailed):
                self.made(*events)
        with self.assertRaises(ContextExceeded):
            self.made(end, {"usage": {"prompt_tokens": 97, "completion_tokens": 1}})

    def test_survives_any_shape(self):
        for event in ({}, {"choices": None}, {"choices": [None]}, {"choices": {}}, {"usage": []}):
            with self.subTest(event), self.assertRaises(BackendFailed):
                self.made(event)

    def test_reads_events(self):
        body = b': hi\n\ndata: {"a": 1}\r\n\r\ndata:{"a": 2}\n\ndata: [DONE]\n\ndata: {"a": 3}\n\n'
        self.assertEqual(list(read_events(io.BytesIO(body), 1000)), [{"a": 1}, {"a": 2}])
        for wrong, most in ((b"data: {\n\n", 1000), (body, 10)):
            with self.assertRaises(BackendFailed):
                list(read_events(io.BytesIO(wrong), most))


class Stopped(unittest.TestCase):
    def test_the_first_reason_counts(self):
        stop, acts = Stop(), []
        stop.on_set(lambda: acts.append(1))
        stop.set("deadline")
        stop.set("cancelled")
        self.assertEqual((stop.reason, acts), ("deadline", [1]))
        stop.on_set(lambda: acts.append(2))
        self.assertEqual(acts, [1, 2])

    def test_a_command_stops_what_runs(self):
        attempts, stop = Attempts(), Stop()
        with attempts.running("req_1", 7, stop):
            self.assertEqual(attempts.snapshot(), [{"unitId": "req_1", "dispatch": 7}])
            attempts.cancel("req_1", 8)
            self.assertIsNone(stop.reason)
            attempts.cancel("req_1", 7)
            self.assertEqual(stop.reason, "cancelled")
        self.assertEqual(attempts.snapshot(), [])

    def test_a_command_may_overtake_its_work(self):
        attempts, stop = Attempts(), Stop()
        attempts.cancel("req_1", 7)
        with attempts.running("req_1", 7, stop):
            self.assertEqual(stop.reason, "cancelled")

    def test_what_is_no_command_is_passed_over(self):
        for line in (b"", b"[]\n", b"nonsense\n", b"\xff\n"):
            self.assertIsNone(_parse(line))
        self.assertEqual(_parse(b'{"type": "ping"}\n'), {"type": "ping"})


if __name__ == "__main__":
    unittest.main()
