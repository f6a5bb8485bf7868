"""LiteLLM as a client, speaking OpenAI's, Anthropic's and Google's dialect, against providers of every dialect."""

import gc
import json
import logging
import os

# its price map is fetched from the network otherwise
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

# first: it tells where a driver hangs, and this one's import is long
import scenarios as s  # noqa: E402
import litellm  # noqa: E402
from pydantic import BaseModel  # noqa: E402

# It leaves the iterators of its streams to the collector, which closes them wherever it happens to run: also within
# httpcore's pool, whose lock they then wait for that their own thread holds.
gc.disable()

logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
litellm.suppress_debug_info = True
litellm.telemetry = False


class Person(BaseModel):
    name: str
    age: int


TOOL = {"name": s.TOOL, "description": "The weather of a city.", "parameters": s.TOOL_SCHEMA}
TOOLS = {"tools": [{"type": "function", "function": TOOL}]}
TURNS = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hi."}]


def scenarios(dialect, base_url, think):
    def ask(model, scenario, key=s.KEY, **options):
        messages = [{"role": "user", "content": f"scenario:{scenario} please"}]
        asked = {"messages": messages, "max_tokens": 100, "api_base": base_url, "api_key": key, "num_retries": 0}
        return litellm.completion(model=f"{dialect}/{model}", **{**asked, **options})

    conversation = [{"role": "system", "content": s.SYSTEM}, *TURNS, {"role": "user", "content": "scenario:chat please"}]

    def usage(model, usage):
        details = usage.prompt_tokens_details
        cached = (details and details.cached_tokens) or 0
        s.counts(model, usage.prompt_tokens, usage.completion_tokens, cached)

    def chat(model):
        answer = ask(model, "chat", messages=conversation)
        s.same((answer.choices[0].message.content, answer.choices[0].finish_reason), (s.CHAT_TEXT, "stop"))
        usage(model, answer.usage)

    def stream(model):
        deltas, told = [], None
        asked = ask(model, "chat", messages=conversation, stream=True, stream_options={"include_usage": True})
        for chunk in asked:
            told = getattr(chunk, "usage", None) or told
            if chunk.choices and chunk.choices[0].delta.content:
                deltas.append(chunk.choices[0].delta.content)
        s.same("".join(deltas), s.CHAT_TEXT)
        assert len(deltas) > 2, deltas
        usage(model, told)

    def tools(model):
        message = ask(model, "tools", **TOOLS).choices[0].message
        calls = [json.loads(call.function.arguments) for call in message.tool_calls]
        s.same((message.content, calls), (s.TOOLS_TEXT, s.CALLS))

    def tools_stream(model):
        chunks = list(ask(model, "tools", stream=True, **TOOLS))
        calls = litellm.stream_chunk_builder(chunks).choices[0].message.tool_calls
        s.same([json.loads(call.function.arguments) for call in calls], s.CALLS)

    def results(model):
        calls = [
            {"id": f"c{n}", "type": "function", "function": {"name": s.TOOL, "arguments": json.dumps(arguments)}}
            for n, arguments in enumerate(s.CALLS)
        ]
        told = [{"role": "tool", "tool_call_id": f"c{n}", "content": text} for n, text in enumerate(s.RESULTS)]
        messages = [{"role": "user", "content": "scenario:results please"}]
        messages += [{"role": "assistant", "content": None, "tool_calls": calls}, *told]
        answer = ask(model, "results", messages=messages, **TOOLS)
        text = answer.choices[0].message.content
        s.same(text.replace('{"content":"', "").replace('"}', ""), s.RESULTS_TEXT)

    def image(model):
        url = {"url": f"data:image/png;base64,{s.PNG}"}
        parts = [{"type": "text", "text": "scenario:image"}, {"type": "image_url", "image_url": url}]
        answer = ask(model, "image", messages=[{"role": "user", "content": parts}])
        s.same(answer.choices[0].message.content, s.IMAGE_TEXT)

    def structured(model):
        answer = ask(model, "structured", response_format=Person)
        s.same(json.loads(answer.choices[0].message.content), s.PERSON)

    def reasoning(model):
        options = {"max_tokens": 4000, **think}
        message = ask(model, "reason", **options).choices[0].message
        s.same((message.content, message.reasoning_content), (s.REASON_TEXT, s.THINKING))
        thought = ""
        for chunk in ask(model, "reason", stream=True, **options):
            thought += getattr(chunk.choices[0].delta, "reasoning_content", None) or ""
        s.same(thought, s.THINKING)

    def errors(model):
        s.raises(litellm.AuthenticationError, lambda: ask(model, "chat", s.NO_KEY))
        s.raises(litellm.NotFoundError, lambda: ask("chat-nobody", "chat"))
        s.raises(litellm.BadRequestError, lambda: ask(model, "refuse"))
        s.raises(litellm.RateLimitError, lambda: ask(model, "limit"))
        s.raises((litellm.InternalServerError, litellm.BadGatewayError, litellm.APIError), lambda: ask(model, "fail"))
        s.raises(Exception, lambda: ask(model, "chat", s.TIGHT_KEY), lambda raised: s.same(raised.status_code, 402))

    def cancel(model):
        answer = ask(model, "hang", stream=True)
        for chunk in answer:
            if chunk.choices[0].delta.content:
                leave(answer.completion_stream)
                return
        raise AssertionError("the stream ended")

    return {
        "models": "the SDK has no call for it",
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
    }


def leave(stream):
    """Closes what LiteLLM wraps: OpenAI's stream, or an iterator over the body's lines."""
    inner = getattr(stream, "streaming_response", stream)
    getattr(inner, "close", lambda: None)()


effort = {"reasoning_effort": "low", "allowed_openai_params": ["reasoning_effort"]}
s.run("litellm, openai", scenarios("openai", f"{s.BASE_URL}/v1", effort))
budget = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "allowed_openai_params": ["thinking"]}
s.run("litellm, anthropic", scenarios("anthropic", s.BASE_URL, budget))
s.finish()
