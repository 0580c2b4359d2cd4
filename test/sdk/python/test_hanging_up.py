"""Callers who go, and come back."""

import uuid

import openai
from network import Case, chat, look, until, words


class HangingUp(Case):
    def first_text(self, stream):
        return next(chunk for chunk in stream if chunk.choices[0].delta.content)

    def test_gives_up_at_its_timeout_the_request_is_cancelled_and_its_slot_free(self):
        text = words("slow", 400)
        with self.assertRaises(openai.APITimeoutError):
            self.open(timeout=1).chat.completions.create(**chat(text))
        self.assert_stopped(text)

    def test_closes_a_stream(self):
        text = f"{words('slow', 400)} closed"
        stream = self.client.chat.completions.create(**chat(text), stream=True)
        first = self.first_text(stream)
        stream.close()
        self.assert_stopped(text)
        until(lambda: self.status_of(first.id) == "cancelled", "it is cancelled")

    def test_goes_on_without_its_caller_if_it_was_told_to(self):
        text = f"{words('slow', 20)} on"
        own = {"on_disconnect": "continue"}
        stream = self.client.chat.completions.create(**chat(text), stream=True, extra_body=own)
        first = self.first_text(stream)
        stream.close()
        until(lambda: self.status_of(first.id) == "completed", "it has completed")
        self.assertTrue(look(text)["generations"][0]["isOver"])

    def test_retries_with_an_idempotency_key_joins_what_runs_and_pays_once(self):
        text = f"{words('slow', 40)} once"
        same = {"extra_headers": {"Idempotency-Key": str(uuid.uuid4())}}
        sent: list = []
        hooks = {"request": [sent.append]}
        http_client = openai.DefaultHttpxClient(event_hooks=hooks)
        impatient = self.open(http_client=http_client, timeout=0.7, max_retries=20)
        made = impatient.chat.completions.create(**chat(text), **same)
        self.assertEqual(made.choices[0].message.content, text)
        self.assertGreater(len(sent), 1)
        self.assertEqual(len(look(text)["generations"]), 1)
        until(lambda: self.status_of(made.id) == "completed", "it has completed")
        # And again, long after: the same answer, nothing to pay.
        again = self.client.chat.completions.create(**chat(text), **same)
        self.assertEqual((again.id, again.choices), (made.id, made.choices))
        seen = look(text, made.id)
        self.assertEqual((len(seen["generations"]), seen["charges"]), (1, 1))

    def test_replays_a_stream_with_the_same_idempotency_key(self):
        same = {"extra_headers": {"Idempotency-Key": str(uuid.uuid4())}}

        def read():
            chunks = list(
                self.client.chat.completions.create(**chat("once and for all"), stream=True, **same)
            )
            said = "".join(each.delta.content or "" for chunk in chunks for each in chunk.choices)
            return chunks[0].id, said

        first = read()
        self.assertEqual(first[1], "once and for all")
        self.assertEqual(read(), first)
        self.assertEqual(len(look("once and for all")["generations"]), 1)
