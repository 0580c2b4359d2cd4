"""The asynchronous client: streams, many at once, and tasks that are cancelled."""

import asyncio
import unittest

import openai
from network import chat, look, options, until, until_runs, was_stopped, words


class Async(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.client = openai.AsyncOpenAI(**options())
        self.addAsyncCleanup(self.client.close)

    async def read(self, text: str) -> str:
        said = ""
        async for chunk in await self.client.chat.completions.create(**chat(text), stream=True):
            said += chunk.choices[0].delta.content or ""
        return said

    async def assert_stopped(self, text: str) -> None:
        await asyncio.to_thread(until, lambda: was_stopped(text), "the node was told to stop")
        self.assertEqual(len(look(text)["generations"]), 1)

    async def test_streams_many_answers_at_once_each_to_its_own_caller(self):
        texts = [f"answer {index} of many" for index in range(12)]
        self.assertEqual(await asyncio.gather(*map(self.read, texts)), texts)

    async def test_gives_whole_answers_and_usage_in_a_stream(self):
        made = await self.client.chat.completions.create(**chat("one two"))
        self.assertEqual(made.choices[0].message.content, "one two")
        asked = {"stream": True, "stream_options": {"include_usage": True}}
        stream = await self.client.chat.completions.create(**chat("one two"), **asked)
        usages = [chunk.usage async for chunk in stream if chunk.usage]
        self.assertEqual([usage.completion_tokens for usage in usages], [2])

    async def test_aborts_a_stream_that_is_closed(self):
        text = f"{words('slow', 400)} async"
        stream = await self.client.chat.completions.create(**chat(text), stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await stream.close()
        await self.assert_stopped(text)

    async def test_aborts_a_whole_answer_whose_task_is_cancelled(self):
        text = f"{words('slow', 400)} task"
        task = asyncio.create_task(self.client.chat.completions.create(**chat(text)))
        await asyncio.to_thread(until_runs, text)
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        await self.assert_stopped(text)

    async def test_raises_what_the_other_client_raises(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            await self.client.chat.completions.create(**chat("hello"), extra_body={"nope": 1})
        self.assertEqual(caught.exception.param, "nope")
