"""The official OpenAI SDK and a stream that the money ends: it ends well, and says why; prints a JSON report."""

import json
import os
import time

import openai
from openai import OpenAI

client = OpenAI(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"], max_retries=0)


def ask():
    return client.chat.completions.create(
        model="chat-long",
        messages=[{"role": "user", "content": "tell"}],
        max_tokens=4000,
        stream=True,
        stream_options={"include_usage": True},
    )


# a new key takes a moment to be known
for _ in range(100):
    try:
        stream = ask()
        break
    except openai.AuthenticationError:
        time.sleep(0.1)

text, finish, notice, usage = "", None, None, None
for event in stream:
    assert event.id and event.model and event.object == "chat.completion.chunk", event
    usage = event.usage or usage
    for choice in event.choices:
        text += choice.delta.content or ""
        finish = choice.finish_reason or finish
    notice = (event.model_extra or {}).get("tollgate", notice)

assert text.startswith("token ") and finish == "length", (len(text), finish)
assert usage.completion_tokens > 0 and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage
assert notice["message"] and notice["metadata"]["retryable"] is False, notice
print(json.dumps({"code": notice["code"], "cost_nano_usd": round(usage.model_extra["cost"] * 1_000_000_000)}))
