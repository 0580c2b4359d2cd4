"""What a caller is told."""

import threading
import time
import uuid

import openai
from network import KEYS, Case, chat, look, until, until_runs, words


class Errors(Case):
    def test_refuses_an_unknown_field_by_its_name(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.chat.completions.create(**chat("hello"), extra_body={"temprature": 1})
        error = caught.exception
        self.assertEqual(error.status_code, 400)
        self.assertEqual(error.param, "temprature")
        self.assertEqual(error.code, "receive.malformed_request")
        self.assertEqual(error.type, "invalid_request_error")
        # It was never accepted, so it has no id.
        self.assertIsNone(error.request_id)

    def test_refuses_an_unknown_key(self):
        with self.assertRaises(openai.AuthenticationError) as caught:
            self.open(api_key="plx-unknown").chat.completions.create(**chat("hello"))
        self.assertEqual(caught.exception.code, "receive.unauthorized")

    def test_refuses_a_key_without_the_scope_and_the_credit_of_others(self):
        with self.assertRaises(openai.PermissionDeniedError) as caught:
            self.open(api_key=KEYS["reader"]).chat.completions.create(**chat("hello"))
        self.assertEqual(caught.exception.code, "gateway.scope_missing")
        other = {"credit_account": "acct_poor"}
        with self.assertRaises(openai.PermissionDeniedError) as caught:
            self.client.chat.completions.create(**chat("hello"), extra_body=other)
        self.assertEqual(caught.exception.code, "receive.credit_account_forbidden")

    def test_does_not_find_a_model_or_a_request_that_is_not_there(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.chat.completions.create(**{**chat("hello"), "model": "nothing-like-it"})
        self.assertEqual(caught.exception.code, "receive.unknown_model")
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.models.retrieve("nothing-like-it")
        self.assertEqual(caught.exception.code, "receive.unknown_model")
        with self.assertRaises(openai.NotFoundError) as caught:
            self.view_of(f"req_{'0' * 64}")
        self.assertEqual(caught.exception.code, "gateway.request_not_found")

    def test_asks_for_money_with_402(self):
        with self.assertRaises(openai.APIStatusError) as caught:
            self.open(api_key=KEYS["poor"]).chat.completions.create(**chat("hello"))
        error = caught.exception
        self.assertEqual(error.status_code, 402)
        self.assertEqual(error.code, "receive.insufficient_credit")
        self.assertEqual(error.type, "insufficient_quota")

    def test_has_nothing_to_cancel_of_a_request_that_ended_and_says_so_once(self):
        made = self.client.chat.completions.create(**chat("soon over"))
        until(lambda: self.status_of(made.id) == "completed", "it has ended")
        again, statuses = self.counted(max_retries=2)
        with self.assertRaises(openai.ConflictError) as caught:
            again.delete(f"/requests/{made.id}", cast_to=dict)
        self.assertEqual(caught.exception.code, "gateway.request_ended")
        self.assertEqual(statuses, [409])

    def test_refuses_another_body_with_the_same_idempotency_key_and_is_not_asked_again(self):
        same = {"extra_headers": {"Idempotency-Key": str(uuid.uuid4())}}
        self.client.chat.completions.create(**chat("one body"), **same)
        again, statuses = self.counted(max_retries=2)
        with self.assertRaises(openai.UnprocessableEntityError) as caught:
            again.chat.completions.create(**chat("another body"), **same)
        self.assertEqual(caught.exception.code, "receive.idempotency_mismatch")
        self.assertEqual(caught.exception.response.headers["x-should-retry"], "false")
        self.assertEqual(statuses, [422])

    def test_says_when_to_come_back_which_the_sdk_does(self):
        text = words("slow", 40)
        single = self.open(api_key=KEYS["single"])
        running = threading.Thread(target=single.chat.completions.create, kwargs=chat(text))
        running.start()
        self.addCleanup(running.join)
        until_runs(text)
        with self.assertRaises(openai.RateLimitError) as caught:
            self.open(api_key=KEYS["single"]).chat.completions.create(**chat("too many"))
        self.assertEqual(caught.exception.code, "receive.rate_limited")
        seconds = int(caught.exception.response.headers["retry-after"])
        self.assertTrue(1 <= seconds <= 60, seconds)
        patient, statuses = self.counted(api_key=KEYS["single"], max_retries=5)
        began = time.monotonic()
        patient.chat.completions.create(**chat("not too many any more"))
        self.assertEqual((statuses[0], statuses[-1]), (429, 200))
        self.assertGreaterEqual(time.monotonic() - began, seconds * (len(statuses) - 1))

    def test_says_what_was_missing_when_no_node_came_up_until_the_deadline(self):
        own = {"hardware_tier": 5, "deadline_seconds": 1}
        with self.assertRaises(openai.InternalServerError) as caught:
            self.client.chat.completions.create(**chat("for a large node"), extra_body=own)
        error = caught.exception
        self.assertEqual((error.status_code, error.code), (503, "capacity_unavailable"))
        metadata = error.body["metadata"]
        self.assertEqual(metadata["event"], "schedule.deadline_elapsed")
        self.assertIsInstance(metadata["predicate"], str)
        self.assertIsInstance(metadata["queue_position"], int)
        self.assertIsInstance(metadata["queue_length"], int)
        self.assertEqual(error.request_id, error.body["request_id"])
        self.assertLessEqual(int(error.response.headers["retry-after"]), 60)

    def test_ends_a_stream_that_was_cancelled_with_an_error(self):
        text = words("slow", 100)
        stream = self.client.chat.completions.create(**chat(text), stream=True)
        first = next(chunk for chunk in stream if chunk.choices[0].delta.content)
        self.client.delete(f"/requests/{first.id}", cast_to=dict)
        with self.assertRaises(openai.APIError) as caught:
            list(stream)
        self.assertEqual(caught.exception.code, "execute.cancelled")
        self.assert_stopped(text)

    def test_never_mixes_the_texts_of_two_attempts(self):
        said = ""
        with self.assertRaises(openai.APIError) as caught:
            for chunk in self.client.chat.completions.create(**chat("differing texts"), stream=True):
                said += chunk.choices[0].delta.content or ""
        self.assertEqual(caught.exception.code, "gateway.stream_superseded")
        self.assertEqual(said, "the first words ")

    def test_reached_no_node_by_what_was_refused(self):
        for text in ("hello", "another body", "too many", "for a large node"):
            self.assertEqual(look(text)["generations"], [])
