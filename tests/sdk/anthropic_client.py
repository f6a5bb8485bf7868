"""The official Anthropic SDK against providers of every dialect."""

import anthropic
from anthropic import Anthropic
from pydantic import BaseModel

import scenarios as s


class Person(BaseModel):
    name: str
    age: int


def client(key=s.KEY):
    return Anthropic(base_url=s.BASE_URL, api_key=key, max_retries=0)


main = client()
TOOLS = {"tools": [{"name": s.TOOL, "description": "The weather of a city.", "input_schema": s.TOOL_SCHEMA}]}


def ask(scenario, **options):
    return {"messages": [{"role": "user", "content": f"scenario:{scenario} please"}], "max_tokens": 100, **options}


def conversation(model):
    turns = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hi."}]
    return {**ask("chat"), "model": model, "system": s.SYSTEM, "messages": [*turns, *ask("chat")["messages"]]}


def text_of(answer):
    return "".join(block.text for block in answer.content if block.type == "text")


def usage(model, usage):
    cached = usage.cache_read_input_tokens or 0
    s.counts(model, usage.input_tokens + cached, usage.output_tokens, cached)


def models(model):
    assert model in [listed.id for listed in main.models.list()]
    counted = main.messages.count_tokens(model=model, messages=ask("chat")["messages"])
    assert counted.input_tokens > 2, counted


def chat(model):
    answer = main.messages.create(**conversation(model))
    s.same((text_of(answer), answer.stop_reason), (s.CHAT_TEXT, "end_turn"))
    usage(model, answer.usage)


def stream(model):
    with main.messages.stream(**conversation(model)) as events:
        deltas = list(events.text_stream)
        answer = events.get_final_message()
    s.same(("".join(deltas), text_of(answer), answer.stop_reason), (s.CHAT_TEXT, s.CHAT_TEXT, "end_turn"))
    assert len(deltas) > 2, deltas
    usage(model, answer.usage)


def calls_of(answer):
    return [(block.name, block.input) for block in answer.content if block.type == "tool_use"]


def tools(model):
    answer = main.messages.create(model=model, **ask("tools", **TOOLS))
    s.same((text_of(answer), answer.stop_reason), (s.TOOLS_TEXT, "tool_use"))
    s.same(calls_of(answer), [(s.TOOL, arguments) for arguments in s.CALLS])


def tools_stream(model):
    with main.messages.stream(model=model, **ask("tools", **TOOLS)) as events:
        n_deltas = sum(event.type == "input_json" for event in events)
        answer = events.get_final_message()
    s.same(calls_of(answer), [(s.TOOL, arguments) for arguments in s.CALLS])
    assert n_deltas >= (2 if model in s.GEMINIS else 5), n_deltas


def results(model):
    calls = [{"type": "tool_use", "id": f"c{n}", "name": s.TOOL, "input": call} for n, call in enumerate(s.CALLS)]
    told = [{"type": "tool_result", "tool_use_id": f"c{n}", "content": text} for n, text in enumerate(s.RESULTS)]
    asked = ask("results", **TOOLS)
    asked["messages"] += [{"role": "assistant", "content": calls}, {"role": "user", "content": told}]
    s.same(text_of(main.messages.create(model=model, **asked)), s.RESULTS_TEXT)


def image(model):
    source = {"type": "base64", "media_type": "image/png", "data": s.PNG}
    blocks = [{"type": "text", "text": "scenario:image"}, {"type": "image", "source": source}]
    answer = main.messages.create(model=model, max_tokens=50, messages=[{"role": "user", "content": blocks}])
    s.same(text_of(answer), s.IMAGE_TEXT)


def structured(model):
    answer = main.messages.parse(model=model, **ask("structured"), output_format=Person)
    s.same(answer.parsed_output, Person(**s.PERSON))


def reasoning(model):
    asked = {**ask("reason", thinking={"type": "enabled", "budget_tokens": 1024}), "max_tokens": 4000, "model": model}
    answer = main.messages.create(**asked)
    thoughts = [block for block in answer.content if block.type == "thinking"]
    s.same((text_of(answer), [block.thinking for block in thoughts]), (s.REASON_TEXT, [s.THINKING]))
    if model in s.ANTHROPICS:
        s.same(thoughts[0].signature, s.SIGNATURE)
    thought = ""
    with main.messages.stream(**asked) as events:
        for event in events:
            if event.type == "thinking":
                thought += event.thinking
    s.same(thought, s.THINKING)


def errors(model):
    def create(client, model, name):
        return lambda: client.messages.create(model=model, **ask(name))

    def said(text):
        def check(raised):
            assert text in raised.body["error"]["message"], raised.body

        return check

    s.raises(anthropic.AuthenticationError, create(client(s.NO_KEY), model, "chat"))
    s.raises(anthropic.NotFoundError, create(main, "chat-nobody", "chat"))
    s.raises(anthropic.BadRequestError, create(main, model, "refuse"), said("no such thing"))
    s.raises(anthropic.RateLimitError, create(main, model, "limit"), said("slow down"))
    s.raises(anthropic.InternalServerError, create(main, model, "fail"))

    def broke(raised):
        s.same((raised.status_code, raised.body["error"]["type"]), (402, "billing_error"))

    s.raises(anthropic.APIStatusError, create(client(s.TIGHT_KEY), model, "chat"), broke)


def cancel(model):
    with main.messages.stream(model=model, **ask("hang")) as events:
        for _ in events.text_stream:
            return
    raise AssertionError("the stream ended")


s.run(
    "anthropic python",
    {
        "models": models,
        "chat": chat,
        "stream": stream,
        "tools": tools,
        "tools_stream": tools_stream,
        "results": results,
        "image": image,
        "structured": structured,
        "reasoning": reasoning,
        "errors": errors,
        "cancel": cancel,
    },
)
s.finish()
