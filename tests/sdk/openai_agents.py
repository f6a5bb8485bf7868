"""Fifty agents at once on one budget, each reserving a twenty-fifth of it, with the official SDK's own retries."""

import asyncio
import json
import os

import openai
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

BASE_URL = os.environ["BASE_URL"]
N_AGENTS = 50
# what the SDK waits before it tries again where the answer does not say
SDK_MAX_PAUSE = 8.0
n_sent = 0
longest_pause = 0.0


async def count(_request):
    global n_sent
    n_sent += 1


async def note_pause(response):
    """What the SDK is told to wait before it tries again."""
    global longest_pause
    if response.status_code >= 400:
        milliseconds, seconds = response.headers.get("retry-after-ms"), response.headers.get("retry-after")
        pause = float(milliseconds) / 1000 if milliseconds else float(seconds) if seconds else SDK_MAX_PAUSE
        longest_pause = max(longest_pause, pause)


def client(key):
    # the SDK as it comes: its own number of retries
    http = DefaultAsyncHttpxClient(event_hooks={"request": [count], "response": [note_pause]}, timeout=60)
    return AsyncOpenAI(base_url=BASE_URL, api_key=key, http_client=http)


async def ask(agent):
    try:
        await agent.chat.completions.create(
            model="chat-default", messages=[{"role": "user", "content": "step"}], max_tokens=256
        )
        return "ok"
    except openai.APIStatusError as error:
        return error.code


async def main():
    global n_sent
    agents = client(os.environ["AGENT_KEY"])
    answers = await asyncio.gather(*(ask(agents) for _ in range(N_AGENTS)))
    n_tries, n_sent, pause = n_sent, 0, longest_pause
    refused = await ask(client(os.environ["SPENT_KEY"]))
    report = {
        "answered": answers.count("ok"),
        "others": sorted(set(answers) - {"ok"}),
        "max_retries": agents.max_retries,
        "longest_pause_seconds": pause,
        "tries": n_tries,
        "spent_code": refused,
        "spent_tries": n_sent,
    }
    print(json.dumps(report))


asyncio.run(main())
