"""The official OpenAI SDK against a Tollgate whose only provider is a mock; prints a JSON report."""

import json
import os
import uuid

import openai
from openai import OpenAI

BASE_URL = os.environ["BASE_URL"]


def client(key, **options):
    return OpenAI(base_url=BASE_URL, api_key=key, max_retries=0, **options)


def nano(cost):
    return round(cost * 1_000_000_000)


def ask(text, **options):
    return {"model": "chat-default", "messages": [{"role": "user", "content": text}], "max_tokens": 50, **options}


def expect(error, status, code, call):
    try:
        call()
    except error as raised:
        assert raised.status_code == status, (raised.status_code, raised)
        assert raised.code == code, (raised.code, raised)
        assert raised.request_id, raised
        return raised
    raise AssertionError(f"no {error.__name__}")


main = client(os.environ["API_KEY"])
request_ids = []

# plain
raw = main.chat.completions.with_raw_response.create(**ask("hello"))
chat = raw.parse()
assert chat.choices[0].message.content == "one two three", chat
assert (chat.usage.prompt_tokens, chat.usage.completion_tokens) == (21, 9), chat.usage
chat_cost = nano(chat.usage.model_extra["cost"])
assert chat_cost == nano(float(raw.headers["x-tollgate-cost-usd"]))
request_ids.append(raw.headers["x-tollgate-request-id"])

# streamed, with and without the usage chunk
raw = main.chat.completions.with_raw_response.create(
    **ask("hello"), stream=True, stream_options={"include_usage": True}
)
text, usage = "", None
for event in raw.parse():
    usage = event.usage or usage
    if event.choices:
        text += event.choices[0].delta.content or ""
assert text == "one two three", text
assert (usage.prompt_tokens, usage.completion_tokens) == (21, 9), usage
stream_cost = nano(usage.model_extra["cost"])
request_ids.append(raw.headers["x-tollgate-request-id"])
for event in main.chat.completions.create(**ask("hello"), stream=True):
    assert event.usage is None and event.choices, event

# tools pass through, whole and streamed
tool = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"big": {"const": 2**63}}}},
}
called = main.chat.completions.create(**ask("tools"), tools=[tool])
call = called.choices[0].message.tool_calls[0]
assert call.function.name == "get_weather", call
assert json.loads(call.function.arguments) == tool["function"]["parameters"], call
arguments = ""
for event in main.chat.completions.create(**ask("tools"), tools=[tool], stream=True):
    for part in event.choices[0].delta.tool_calls or []:
        arguments += part.function.arguments or ""
assert json.loads(arguments) == tool["function"]["parameters"], arguments

# asked twice under one key: one answer, one receipt
key = {"Idempotency-Key": f"sdk-{uuid.uuid4()}"}
create_raw = main.chat.completions.with_raw_response.create
once, again = (create_raw(**ask("hello"), extra_headers=key) for _ in range(2))
assert once.content == again.content, (once.content, again.content)
assert once.headers.get("x-tollgate-idempotent-replay") is None
assert again.headers["x-tollgate-idempotent-replay"] == "true"
assert once.headers["x-tollgate-request-id"] == again.headers["x-tollgate-request-id"]

# the other surfaces
vectors = main.embeddings.create(model="mock/m", input=["a", "b"])
assert len(vectors.data) == 2 and vectors.usage.prompt_tokens > 0
completion = main.completions.create(model="mock/m", prompt="once", max_tokens=5)
assert completion.choices[0].text
names = [model.id for model in main.models.list()]
assert "chat-default" in names and "mock/m" in names, names
assert main.models.retrieve("chat-default").id == "chat-default"

# each class of error
create = main.chat.completions.create
expect(openai.AuthenticationError, 401, "invalid_api_key", lambda: client("sk-nobody-0123456789").models.list())
expect(openai.NotFoundError, 404, "model_not_found", lambda: create(**{**ask("x"), "model": "chat-defaul"}))
expect(openai.BadRequestError, 400, "invalid_request", lambda: create(**ask("x", extra_body={"max_tokens": "many"})))
expect(openai.UnprocessableEntityError, 422, "model_not_priced", lambda: create(**{**ask("x"), "model": "mock/none"}))
other = ask("something else", extra_headers=key)
expect(openai.UnprocessableEntityError, 422, "invalid_request", lambda: create(**other))
try:
    create(**ask("refuse"))
    raise AssertionError("a refused request passed")
except openai.BadRequestError as raised:
    assert "no such thing" in raised.message, raised
expect(openai.RateLimitError, 429, "upstream_rate_limited", lambda: create(**ask("limit")))
expect(openai.InternalServerError, 502, "upstream_error", lambda: create(**ask("fail")))
broke = expect(
    openai.APIStatusError,
    402,
    "budget_exceeded",
    lambda: client(os.environ["TIGHT_KEY"]).chat.completions.create(**ask("x")),
)
assert broke.body["metadata"]["retryable"] is False, broke.body
assert broke.response.headers["x-should-retry"] == "false"
narrow = client(os.environ["NARROW_KEY"])
expect(
    openai.PermissionDeniedError,
    403,
    "model_not_allowed",
    lambda: narrow.chat.completions.create(**{**ask("x"), "model": "mock/m"}),
)
limited = False
for _ in range(2):
    try:
        narrow.chat.completions.create(**ask("x"))
    except openai.RateLimitError as raised:
        assert raised.code == "rate_limit_exceeded" and int(raised.response.headers["retry-after"]) > 0, raised
        limited = True
assert limited
try:
    for _ in create(**ask("break"), stream=True):
        pass
    raise AssertionError("a broken stream looked whole")
except openai.APIError as raised:
    assert raised.code == "upstream_error", raised

print(json.dumps({"chat_cost_nano_usd": chat_cost, "stream_cost_nano_usd": stream_cost, "request_ids": request_ids}))
