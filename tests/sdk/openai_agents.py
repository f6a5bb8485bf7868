"""Fifty agents at once on one budget, each reserving a twenty-fifth of it, with the official SDK's own retries."""

import asyncio
import json
import os
import time

import openai
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

BASE_URL = os.environ["BASE_URL"]
N_AGENTS = 50
n_sent = 0


async def count(_request):
    global n_sent
    n_sent += 1


def client(key):
    # the SDK as it comes: its own number of retries
    http = DefaultAsyncHttpxClient(event_hooks={"request": [count]}, timeout=60)
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
    started = time.monotonic()
    answers = await asyncio.gather(*(ask(agents) for _ in range(N_AGENTS)))
    seconds = time.monotonic() - started
    n_tries, n_sent = n_sent, 0
    refused = await ask(client(os.environ["SPENT_KEY"]))
    report = {
        "answered": answers.count("ok"),
        "others": sorted(set(answers) - {"ok"}),
        "seconds": seconds,
        "tries": n_tries,
        "spent_code": refused,
        "spent_tries": n_sent,
    }
    print(json.dumps(report))


asyncio.run(main())
