"""The official OpenAI SDK, Chat Completions and Responses, against providers of every dialect."""

import json

import openai
from openai import OpenAI
from pydantic import BaseModel

import scenarios as s


class Person(BaseModel):
    name: str
    age: int


def client(key=s.KEY):
    return OpenAI(base_url=f"{s.BASE_URL}/v1", api_key=key, max_retries=0)


main = client()
TURNS = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hi."}]
FUNCTION = {"name": s.TOOL, "description": "The weather of a city.", "parameters": s.TOOL_SCHEMA}
PNG_URL = f"data:image/png;base64,{s.PNG}"


def models(model):
    assert model in [listed.id for listed in main.models.list()]
    s.same(main.models.retrieve(model).id, model)


def errors(ask):
    """`ask(client, model, scenario)` on either surface."""

    def run(model):
        def said(text):
            def check(raised):
                assert text in raised.message, raised

            return check

        s.raises(openai.AuthenticationError, lambda: ask(client(s.NO_KEY), model, "chat"))
        s.raises(openai.NotFoundError, lambda: ask(main, "chat-nobody", "chat"))
        s.raises(openai.BadRequestError, lambda: ask(main, model, "refuse"), said("no such thing"))
        s.raises(openai.RateLimitError, lambda: ask(main, model, "limit"), said("slow down"))
        s.raises(openai.InternalServerError, lambda: ask(main, model, "fail"))

        def broke(raised):
            s.same((raised.status_code, raised.code), (402, "budget_exceeded"))

        s.raises(openai.APIStatusError, lambda: ask(client(s.TIGHT_KEY), model, "chat"), broke)

    return run


# === Chat Completions ===


def ask(scenario, **options):
    return {"messages": [{"role": "user", "content": f"scenario:{scenario} please"}], "max_tokens": 100, **options}


create = main.chat.completions.create


def conversation(model):
    messages = [{"role": "system", "content": s.SYSTEM}, *TURNS, *ask("chat")["messages"]]
    return {**ask("chat"), "model": model, "messages": messages}


def chat_usage(model, usage):
    s.counts(model, usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens)
    assert usage.model_extra["cost"] > 0, usage


def chat(model):
    answer = create(**conversation(model))
    s.same(answer.choices[0].message.content, s.CHAT_TEXT)
    s.same(answer.choices[0].finish_reason, "stop")
    chat_usage(model, answer.usage)


def stream(model):
    deltas, usage, finish = [], None, None
    for event in create(**conversation(model), stream=True, stream_options={"include_usage": True}):
        usage = event.usage or usage
        for choice in event.choices:
            finish = choice.finish_reason or finish
            if choice.delta.content:
                deltas.append(choice.delta.content)
    s.same(("".join(deltas), finish), (s.CHAT_TEXT, "stop"))
    assert len(deltas) > 2, deltas
    chat_usage(model, usage)


TOOLS = {"tools": [{"type": "function", "function": FUNCTION}]}


def tools(model):
    choice = create(model=model, **ask("tools", **TOOLS)).choices[0]
    s.same((choice.message.content, choice.finish_reason), (s.TOOLS_TEXT, "tool_calls"))
    calls = choice.message.tool_calls
    s.same([(call.function.name, json.loads(call.function.arguments)) for call in calls], [(s.TOOL, c) for c in s.CALLS])
    assert len({call.id for call in calls}) == 2, calls


def tools_stream(model):
    with main.chat.completions.stream(model=model, **ask("tools", **TOOLS)) as events:
        n_deltas = sum(event.type == "tool_calls.function.arguments.delta" for event in events)
        calls = events.get_final_completion().choices[0].message.tool_calls
    s.same([json.loads(call.function.arguments) for call in calls], s.CALLS)
    assert n_deltas >= (2 if model in s.GEMINIS else 5), n_deltas


def results(model):
    calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": s.TOOL, "arguments": json.dumps(arguments)}}
        for n, arguments in enumerate(s.CALLS)
    ]
    told = [{"role": "tool", "tool_call_id": f"c{n}", "content": result} for n, result in enumerate(s.RESULTS)]
    asked = ask("results", **TOOLS)
    asked["messages"] += [{"role": "assistant", "content": None, "tool_calls": calls}, *told]
    s.same(create(model=model, **asked).choices[0].message.content, s.RESULTS_TEXT)


def image(model):
    parts = [{"type": "text", "text": "scenario:image"}, {"type": "image_url", "image_url": {"url": PNG_URL}}]
    answer = create(model=model, max_tokens=50, messages=[{"role": "user", "content": parts}])
    s.same(answer.choices[0].message.content, s.IMAGE_TEXT)


def structured(model):
    answer = main.chat.completions.parse(model=model, **ask("structured"), response_format=Person)
    s.same(answer.choices[0].message.parsed, Person(**s.PERSON))


def reasoning(model):
    asked = {**ask("reason", reasoning_effort="low"), "max_tokens": 4000, "model": model}
    message = create(**asked).choices[0].message
    s.same((message.content, message.model_extra["reasoning_content"]), (s.REASON_TEXT, s.THINKING))
    thought = ""
    for event in create(**asked, stream=True):
        thought += (event.choices[0].delta.model_extra or {}).get("reasoning_content") or ""
    s.same(thought, s.THINKING)


def cancel(model):
    with create(model=model, **ask("hang"), stream=True) as events:
        for event in events:
            if event.choices[0].delta.content:
                return
    raise AssertionError("the stream ended")


s.run(
    "openai python, chat",
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
        "errors": errors(lambda client, model, name: client.chat.completions.create(model=model, **ask(name))),
        "cancel": cancel,
    },
)

# === Responses ===


def respond(scenario, **options):
    return {"input": f"scenario:{scenario} please", "max_output_tokens": 100, **options}


def responses_conversation(model):
    items = [*TURNS, {"role": "user", "content": "scenario:chat please"}]
    return {"model": model, "instructions": s.SYSTEM, "input": items, "max_output_tokens": 100}


def responses_usage(model, usage):
    s.counts(model, usage.input_tokens, usage.output_tokens, usage.input_tokens_details.cached_tokens)


def responses_chat(model):
    answer = main.responses.create(**responses_conversation(model))
    s.same((answer.output_text, answer.status), (s.CHAT_TEXT, "completed"))
    responses_usage(model, answer.usage)


def responses_stream(model):
    deltas, last = [], None
    for event in main.responses.create(**responses_conversation(model), stream=True):
        if event.type == "response.output_text.delta":
            deltas.append(event.delta)
        last = event
    s.same(("".join(deltas), last.type), (s.CHAT_TEXT, "response.completed"))
    assert len(deltas) > 2, deltas
    s.same(last.response.output_text, s.CHAT_TEXT)
    responses_usage(model, last.response.usage)


RESPONSES_TOOLS = {"tools": [{"type": "function", **FUNCTION}]}


def calls_of(answer):
    return [json.loads(item.arguments) for item in answer.output if item.type == "function_call"]


def responses_tools(model):
    answer = main.responses.create(model=model, **respond("tools", **RESPONSES_TOOLS))
    s.same((answer.output_text, calls_of(answer)), (s.TOOLS_TEXT, s.CALLS))


def responses_tools_stream(model):
    n_deltas = 0
    with main.responses.stream(model=model, **respond("tools", **RESPONSES_TOOLS)) as events:
        for event in events:
            n_deltas += event.type == "response.function_call_arguments.delta"
        answer = events.get_final_response()
    s.same(calls_of(answer), s.CALLS)
    assert n_deltas >= (2 if model in s.GEMINIS else 5), n_deltas


def responses_results(model):
    items = [{"role": "user", "content": "scenario:results please"}]
    for n, arguments in enumerate(s.CALLS):
        call = {"type": "function_call", "call_id": f"c{n}", "name": s.TOOL, "arguments": json.dumps(arguments)}
        items.append(call)
    for n, result in enumerate(s.RESULTS):
        items.append({"type": "function_call_output", "call_id": f"c{n}", "output": result})
    answer = main.responses.create(model=model, input=items, max_output_tokens=50, **RESPONSES_TOOLS)
    s.same(answer.output_text, s.RESULTS_TEXT)


def responses_image(model):
    parts = [{"type": "input_text", "text": "scenario:image"}, {"type": "input_image", "image_url": PNG_URL}]
    answer = main.responses.create(model=model, max_output_tokens=50, input=[{"role": "user", "content": parts}])
    s.same(answer.output_text, s.IMAGE_TEXT)


def responses_structured(model):
    answer = main.responses.parse(model=model, **respond("structured"), text_format=Person)
    s.same(answer.output_parsed, Person(**s.PERSON))


def responses_reasoning(model):
    asked = {**respond("reason", reasoning={"effort": "low", "summary": "auto"}), "max_output_tokens": 4000}
    answer = main.responses.create(model=model, **asked)
    thoughts = [item.summary[0].text for item in answer.output if item.type == "reasoning"]
    s.same((answer.output_text, thoughts), (s.REASON_TEXT, [s.THINKING]))
    thought = ""
    for event in main.responses.create(model=model, **asked, stream=True):
        if event.type == "response.reasoning_summary_text.delta":
            thought += event.delta
    s.same(thought, s.THINKING)


def responses_cancel(model):
    with main.responses.create(model=model, **respond("hang"), stream=True) as events:
        for event in events:
            if event.type == "response.output_text.delta":
                return
    raise AssertionError("the stream ended")


s.run(
    "openai python, responses",
    {
        "models": models,
        "chat": responses_chat,
        "stream": responses_stream,
        "tools": responses_tools,
        "tools_stream": responses_tools_stream,
        "results": responses_results,
        "image": responses_image,
        "structured": responses_structured,
        "reasoning": responses_reasoning,
        "errors": errors(lambda client, model, name: client.responses.create(model=model, **respond(name))),
        "cancel": responses_cancel,
    },
)
s.finish()
