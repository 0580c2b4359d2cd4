"""What a payload may ask for, several choices, and what servers tell of their tokens."""

import json
import unittest

from parallelix_node.answer import Answer, BackendFailed, Generation, InvalidRequest
from parallelix_node.attempts import Stop
from parallelix_node.logprobs import read_logprobs
from parallelix_node.payload import generate_choices, parse_payload

SAMPLING = {"stop": [], "temperature": 1, "topP": 1}
CHAT = {"messages": [{"content": "Hi", "role": "user"}], **SAMPLING}
TEXT = {"prompt": "Once", **SAMPLING}


class Backend:
    def __init__(self, features=()):
        self.features = list(features)
        self.asked: list = []

    def generate(self, request, on_text, stop) -> Generation:
        self.asked.append(request)
        on_text("x")
        told = [] if "logprobs" in request else None
        return Generation(f"seed {request['seed']}", 3, 2, "stop", told)


def encoded(payload: dict) -> bytes:
    return json.dumps(payload, separators=(",", ":"), sort_keys=True).encode()


class Parsed(unittest.TestCase):
    def test_takes_a_conversation_or_a_prompt(self):
        for payload in (CHAT, TEXT, {**CHAT, "logprobs": 0}, {**TEXT, "logprobs": 20}):
            self.assertEqual(parse_payload(encoded(payload)), payload)

    def test_refuses_all_else(self):
        for payload in (
            {**CHAT, **TEXT},
            SAMPLING,
            {**TEXT, "prompt": ""},
            {**TEXT, "prompt": [1]},
            {**CHAT, "messages": []},
            {**CHAT, "logprobs": 21},
            {**CHAT, "logprobs": True},
            {**CHAT, "logprobs": None},
            {**CHAT, "tools": []},
        ):
            with self.subTest(payload), self.assertRaises(ValueError):
                parse_payload(encoded(payload))


class Choices(unittest.TestCase):
    def made(self, backend, payload, stop=None, **parameters):
        heard: list = []
        given = {"maxTokens": 4, **parameters}
        stop = stop or Stop()
        made = generate_choices(backend, payload, given, 2**32 - 1, heard.append, stop)
        return made, heard

    def test_a_plain_chat_streams(self):
        made, heard = self.made(Backend(), CHAT)
        self.assertEqual(([each.text for each in made], heard), ([f"seed {2**32 - 1}"], ["x"]))

    def test_each_choice_has_its_own_seed_and_none_streams(self):
        made, heard = self.made(Backend(), CHAT, choices=3, features=["choices"])
        self.assertEqual([each.text for each in made], [f"seed {2**32 - 1}", "seed 0", "seed 1"])
        self.assertEqual(heard, [])

    def test_a_stop_leaves_each_choice_in_its_place(self):
        stop = Stop()
        stop.set("cancelled")
        made, _ = self.made(Backend(), CHAT, stop, choices=2, features=["choices"])
        self.assertEqual([each.finish_reason for each in made], ["cancelled", "cancelled"])

    def test_what_was_not_said_or_cannot_be_done_is_refused(self):
        able = Backend(["completion", "logprobs"])
        told = {**CHAT, "logprobs": 1}
        for backend, payload, parameters in (
            (able, TEXT, {}),
            (able, CHAT, {"features": ["completion"]}),
            (able, told, {}),
            (able, CHAT, {"choices": 2}),
            (Backend(), TEXT, {"features": ["completion"]}),
            (Backend(), told, {"features": ["logprobs"]}),
            (able, told, {"features": ["logprobs"], "maxTokens": 8_193}),
        ):
            with self.subTest(parameters), self.assertRaises(InvalidRequest):
                self.made(backend, payload, **parameters)
        self.assertEqual(able.asked, [])
        self.made(able, {**TEXT, "logprobs": 1}, features=["completion", "logprobs"])


class Told(unittest.TestCase):
    def test_reads_both_forms(self):
        chat = {
            "content": [
                {
                    "token": "a",
                    "logprob": -1.5,
                    "bytes": [97],
                    "top_logprobs": [
                        {"token": "b", "logprob": None},
                        {"token": "a", "logprob": -1.5},
                    ],
                }
            ]
        }
        lists = {
            "tokens": ["a"],
            "token_logprobs": [-1.5],
            "top_logprobs": [{"b": -20_000, "a": -1.5}],
        }
        top = [{"token": "a", "logprob": -1.5}, {"token": "b", "logprob": -9_999}]
        for said in (chat, lists):
            self.assertEqual(read_logprobs(said, 2), [{"token": "a", "logprob": -1.5, "top": top}])
            self.assertEqual(read_logprobs(said, 1)[0]["top"], top[:1])

    def test_keeps_the_bytes_of_a_part_of_a_character(self):
        said = {"content": [{"token": "\ufffd", "logprob": -1, "bytes": [240, 159]}]}
        self.assertEqual(read_logprobs(said, 0)[0]["bytes"], [240, 159])

    def test_survives_any_shape(self):
        for said in (None, 7, [], {}, {"content": [7]}, {"tokens": "a"}, {"tokens": {"a": 1}}):
            self.assertEqual(read_logprobs(said, 2), [])
        odd = {"tokens": [None, "\ud800" * 600], "token_logprobs": ["x"], "top_logprobs": [7]}
        self.assertEqual([each["logprob"] for each in read_logprobs(odd, 2)], [-9_999, -9_999])

    def test_an_answer_has_them_or_fails(self):
        usage = {"prompt_tokens": 3, "completion_tokens": 1}
        end = {"choices": [{"text": "", "finish_reason": "stop"}], "usage": usage}
        told = {"tokens": ["a", "b"], "token_logprobs": [-1, -2]}
        answer = Answer(4, lambda _: None, 0, True)
        answer.push({"choices": [{"text": "a", "logprobs": told}]})
        answer.push(end)
        # No more than there are tokens.
        self.assertEqual(answer.end(100).logprobs, [{"token": "a", "logprob": -1, "top": []}])
        silent = Answer(4, lambda _: None, 0, True)
        silent.push({"choices": [{"text": "a"}]})
        silent.push(end)
        with self.assertRaises(BackendFailed):
            silent.end(100)


if __name__ == "__main__":
    unittest.main()
