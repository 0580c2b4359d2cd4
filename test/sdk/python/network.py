"""The network that the cases call, and what it says of what happened."""

import json
import os
import time
import unittest
import urllib.parse
import urllib.request
from collections.abc import Callable

import openai

#: `baseUrl`, `pingingUrl`, `windowUrl`, `model`, and `keys` by what is special about each.
SCENE = json.loads(os.environ["PLX_SCENE"])
MODEL = SCENE["model"]
KEYS = SCENE["keys"]
WITHIN_SECONDS = 45


def options(**changed) -> dict:
    """Of a client: the demo key, and no retries unless a case is about them."""
    return {
        "base_url": SCENE["baseUrl"],
        "api_key": KEYS["demo"],
        "max_retries": 0,
        **changed,
    }


def chat(content: str, **more) -> dict:
    """The arguments of a chat with one message."""
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **more}


def words(first: str, count: int) -> str:
    """A text of one word and some more."""
    return " ".join([first, *(f"word{index}" for index in range(count))])


def look(text: str = "", request: str = "") -> dict:
    """`generations` of that text, `busySlots`, and how often something was charged."""
    query = urllib.parse.urlencode({"text": text, "request": request})
    with urllib.request.urlopen(f"{SCENE['windowUrl']}?{query}") as response:
        return json.load(response)


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WITHIN_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {WITHIN_SECONDS} s: {what}")
        time.sleep(0.02)


def until_runs(text: str) -> None:
    until(lambda: len(look(text)["generations"]) > 0, "it is running")


def was_stopped(text: str) -> bool:
    seen = look(text)
    return seen["busySlots"] == 0 and all(each["isAborted"] for each in seen["generations"])


class Case(unittest.TestCase):
    """With a client of its own."""

    def setUp(self) -> None:
        self.client = self.open()

    def open(self, **changed) -> openai.OpenAI:
        client = openai.OpenAI(**options(**changed))
        self.addCleanup(client.close)
        return client

    def counted(self, **changed) -> tuple[openai.OpenAI, list[int]]:
        """A client, and the status of each answer that it got."""
        statuses: list[int] = []
        hooks = {"response": [lambda response: statuses.append(response.status_code)]}
        http_client = openai.DefaultHttpxClient(event_hooks=hooks)
        return self.open(http_client=http_client, **changed), statuses

    def view_of(self, request: str) -> dict:
        return self.client.get(f"/requests/{request}", cast_to=dict)

    def status_of(self, request: str) -> str:
        return self.view_of(request)["status"]

    def assert_stopped(self, text: str) -> None:
        until(lambda: was_stopped(text), "the node was told to stop, and its slot is free")
        self.assertEqual(len(look(text)["generations"]), 1)
