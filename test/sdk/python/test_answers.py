"""What a caller gets."""

from network import MODEL, SCENE, Case, chat, look, words

USAGE = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}


class Answers(Case):
    def test_gives_a_whole_answer_with_its_usage_and_its_id(self):
        answer = self.client.chat.completions.create(**chat("one two three"))
        (choice,) = answer.choices
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(choice.message.content, "one two three")
        self.assertEqual((choice.message.role, choice.finish_reason), ("assistant", "stop"))
        self.assertEqual(answer.usage.to_dict(), USAGE)
        self.assertEqual(answer._request_id, answer.id)
        self.assertRegex(answer.id, "^req_[0-9a-f]{64}$")

    def test_streams_to_the_loop_that_everybody_has(self):
        pieces, reasons = [], []
        for chunk in self.client.chat.completions.create(**chat("a b c"), stream=True):
            # As in OpenAI's own examples, without a look at whether there is a choice.
            if chunk.choices[0].delta.content:
                pieces.append(chunk.choices[0].delta.content)
            if chunk.choices[0].finish_reason:
                reasons.append(chunk.choices[0].finish_reason)
        self.assertEqual((pieces, reasons), (["a ", "b ", "c"], ["stop"]))

    def test_streams_before_the_answer_is_whole(self):
        text = words("slow", 20)
        with self.client.chat.completions.create(**chat(text), stream=True) as stream:
            next(chunk for chunk in stream if chunk.choices[0].delta.content)
            self.assertFalse(look(text)["generations"][0]["isOver"])

    def test_hears_no_pings(self):
        pinging = self.open(base_url=SCENE["pingingUrl"])
        chunks = pinging.chat.completions.create(**chat("slow one two"), stream=True)
        pieces = [chunk.choices[0].delta.content for chunk in chunks]
        self.assertEqual([each for each in pieces if each], ["slow ", "one ", "two"])

    def test_tells_usage_in_a_stream_to_whom_asks_for_it(self):
        asked = {"stream": True, "stream_options": {"include_usage": True}}
        chunks = list(self.client.chat.completions.create(**chat("a b c"), **asked))
        told = [(chunk.usage.to_dict(), chunk.choices) for chunk in chunks if chunk.usage]
        self.assertEqual(told, [(USAGE, [])])

    def test_puts_a_stream_together_by_the_sdks_own_helper(self):
        asked = {"stream_options": {"include_usage": True}}
        with self.client.chat.completions.stream(**chat("a b c"), **asked) as stream:
            final = stream.get_final_completion()
        self.assertEqual(final.choices[0].message.content, "a b c")
        self.assertEqual(final.usage.total_tokens, 4)

    def test_takes_its_own_answers_back(self):
        whole = self.client.chat.completions.create(**chat("one")).choices[0].message
        with self.client.chat.completions.stream(**chat("two")) as stream:
            streamed = stream.get_final_completion().choices[0].message
        said = [whole, whole.model_dump(), streamed, streamed.model_dump()]
        question = {"role": "user", "content": "three"}
        messages = [question, *said, question]
        answer = self.client.chat.completions.create(model=MODEL, messages=messages)
        self.assertEqual(answer.choices[0].message.content, "three")

    def test_says_in_the_last_chunk_how_a_request_was_checked_and_what_it_cost(self):
        asked = {"stream": True, "stream_options": {"include_verification": True}}
        chunks = list(self.client.chat.completions.create(**chat("a b c"), **asked))
        end = chunks[-1].parallelix
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(end["request_id"], chunks[0].id)
        self.assertGreater(int(end["charged_wei"]), 0)
        self.assertTrue(end["proof_of_execution"])

    def test_gives_n_choices_each_by_a_seed_of_its_own(self):
        def texts():
            made = self.client.chat.completions.create(**chat("seeded many"), n=3, seed=7)
            self.assertEqual([choice.index for choice in made.choices], [0, 1, 2])
            self.assertEqual(made.usage.completion_tokens, 12)
            return [choice.message.content for choice in made.choices]

        first = texts()
        self.assertEqual(len(set(first)), 3)
        self.assertEqual(texts(), first)

    def test_streams_n_choices(self):
        texts = ["", ""]
        for chunk in self.client.chat.completions.create(**chat("a b c"), n=2, stream=True):
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
        self.assertEqual(texts, ["a b c", "a b c"])

    def test_stops_before_a_text_or_one_of_several(self):
        for stop in ("three", ["nothing", "three"]):
            made = self.client.chat.completions.create(**chat("one two three four"), stop=stop)
            self.assertEqual(made.choices[0].message.content, "one two ")
            self.assertEqual(made.choices[0].finish_reason, "stop")

    def test_cuts_at_max_tokens_by_either_name(self):
        for limit in ({"max_tokens": 2}, {"max_completion_tokens": 2}):
            made = self.client.chat.completions.create(**chat("one two three four"), **limit)
            self.assertEqual(made.choices[0].message.content, "one two ")
            self.assertEqual(made.choices[0].finish_reason, "length")

    def test_gives_equal_answers_to_equal_seeds_and_others_to_others(self):
        def text(seed):
            made = self.client.chat.completions.create(**chat("seeded"), seed=seed)
            return made.choices[0].message.content

        first = text(1)
        self.assertTrue(first)
        self.assertEqual(text(1), first)
        self.assertNotEqual(text(2), first)

    def test_tells_log_probabilities_with_alternatives(self):
        asked = {"logprobs": True, "top_logprobs": 2}
        made = self.client.chat.completions.create(**chat("one two"), **asked)
        content = made.choices[0].logprobs.content
        self.assertEqual([each.token for each in content], ["one ", "two"])
        self.assertEqual(bytes(content[1].bytes), b"two")
        for each in content:
            self.assertLessEqual(each.logprob, 0)
            self.assertEqual(len(each.top_logprobs), 2)

    def test_completes_a_prompt_as_it_is_whole_and_streamed(self):
        body = {"model": MODEL, "prompt": "one two three"}
        whole = self.client.completions.create(**body)
        self.assertEqual(whole.object, "text_completion")
        self.assertEqual(whole.choices[0].text, "one two three")
        self.assertEqual(whole.usage.completion_tokens, 3)
        chunks = self.client.completions.create(**body, stream=True)
        self.assertEqual("".join(chunk.choices[0].text for chunk in chunks), "one two three")

    def test_lists_models_and_tells_of_one(self):
        self.assertEqual([model.id for model in self.client.models.list()], [MODEL])
        model = self.client.models.retrieve(MODEL)
        self.assertEqual((model.id, model.object), (MODEL, "model"))

    def test_takes_fields_of_its_own_by_extra_body(self):
        own = {
            "workload_class": "ai.inference",
            "hardware_tier": 1,
            "priority": "urgent",
            "deadline_seconds": 33,
            "verification": "strict",
            "on_disconnect": "continue",
            "credit_account": "acct_demo",
        }
        made = self.client.chat.completions.create(**chat("own fields"), extra_body=own)
        view = self.view_of(made.id)
        told = (view["priority"], view["deadline_seconds"], view["delivery"])
        self.assertEqual(told, ("urgent", 33, "strict"))

    def test_has_headers_for_the_request_its_attempts_and_its_cost(self):
        raw = self.client.chat.completions.with_raw_response.create(**chat("headers"))
        self.assertEqual(raw.headers["x-request-id"], raw.parse().id)
        self.assertRegex(raw.headers["x-trace-id"], "^[0-9a-f-]{36}$")
        self.assertEqual(raw.headers["x-plx-attempts"], "1")
        self.assertRegex(raw.headers["x-plx-node"], "^nd_")
        self.assertRegex(raw.headers["x-plx-cost-wei"], r"^[1-9]\d*$")
        self.assertRegex(raw.headers["x-plx-overhead-ms"], r"^\d+(\.\d+)?$")
