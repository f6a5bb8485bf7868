"""LangChain's OpenAI and Anthropic packages against providers of every dialect."""

import anthropic
import openai
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

import scenarios as s


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def openai_chat(model, key=s.KEY, **options):
    options = {"max_tokens": 100, **options}
    return ChatOpenAI(model=model, base_url=f"{s.BASE_URL}/v1", api_key=key, max_retries=0, **options)


def openai_responses(model, key=s.KEY, **options):
    return openai_chat(model, key, use_responses_api=True, output_version="responses/v1", **options)


def anthropic_chat(model, key=s.KEY, **options):
    options = {"max_tokens": 100, **options}
    return ChatAnthropic(model=model, base_url=s.BASE_URL, api_key=key, max_retries=0, **options)


CONVERSATION = [
    SystemMessage(s.SYSTEM),
    HumanMessage("Hello."),
    AIMessage("Hi."),
    HumanMessage("scenario:chat please"),
]
TOOL = {"name": s.TOOL, "description": "The weather of a city.", "parameters": s.TOOL_SCHEMA}
TOOLS = [{"type": "function", "function": TOOL}]


def text_of(message):
    if isinstance(message.content, str):
        return message.content
    return "".join(block.get("text", "") for block in message.content if block["type"] == "text")


def usage(model, usage):
    cached = usage.get("input_token_details", {}).get("cache_read", 0)
    s.counts(model, usage["input_tokens"], usage["output_tokens"], cached or 0)


def scenarios(make, module, reasoning_options, thought_of):
    def chat(model):
        answer = make(model).invoke(CONVERSATION)
        s.same(text_of(answer), s.CHAT_TEXT)
        usage(model, answer.usage_metadata)

    def gathered(runnable, messages):
        whole, n_chunks = None, 0
        for chunk in runnable.stream(messages):
            n_chunks += bool(text_of(chunk))
            whole = chunk if whole is None else whole + chunk
        return whole, n_chunks

    def stream(model):
        answer, n_chunks = gathered(make(model, stream_usage=True), CONVERSATION)
        s.same(text_of(answer), s.CHAT_TEXT)
        assert n_chunks > 2, n_chunks
        usage(model, answer.usage_metadata)

    def tools(model):
        answer = make(model).bind_tools(TOOLS).invoke("scenario:tools please")
        s.same((text_of(answer), [call["args"] for call in answer.tool_calls]), (s.TOOLS_TEXT, s.CALLS))

    def tools_stream(model):
        answer, _ = gathered(make(model).bind_tools(TOOLS), "scenario:tools please")
        s.same([call["args"] for call in answer.tool_calls], s.CALLS)

    def results(model):
        calls = [{"name": s.TOOL, "args": call, "id": f"c{n}"} for n, call in enumerate(s.CALLS)]
        messages = [HumanMessage("scenario:results please"), AIMessage("", tool_calls=calls)]
        messages += [ToolMessage(text, tool_call_id=f"c{n}") for n, text in enumerate(s.RESULTS)]
        s.same(text_of(make(model).bind_tools(TOOLS).invoke(messages)), s.RESULTS_TEXT)

    def image(model):
        picture = {"type": "image", "base64": s.PNG, "mime_type": "image/png"}
        message = HumanMessage(content=[{"type": "text", "text": "scenario:image"}, picture])
        s.same(text_of(make(model).invoke([message])), s.IMAGE_TEXT)

    def structured(model):
        for method in ("json_schema", "function_calling"):
            answer = make(model).with_structured_output(Person, method=method).invoke("scenario:structured please")
            s.same((method, answer), (method, Person(**s.PERSON)))

    def reasoning(model):
        asked = make(model, **{"max_tokens": 4000, **reasoning_options})
        answer = asked.invoke("scenario:reason please")
        s.same((text_of(answer), thought_of(answer)), (s.REASON_TEXT, s.THINKING))
        answer, _ = gathered(asked, "scenario:reason please")
        s.same((text_of(answer), thought_of(answer)), (s.REASON_TEXT, s.THINKING))

    def errors(model):
        def ask(model, name, key=s.KEY):
            return lambda: make(model, key).invoke(f"scenario:{name} please")

        s.raises(module.AuthenticationError, ask(model, "chat", s.NO_KEY))
        s.raises(module.NotFoundError, ask("chat-nobody", "chat"))
        s.raises(module.BadRequestError, ask(model, "refuse"))
        s.raises(module.RateLimitError, ask(model, "limit"))
        s.raises(module.InternalServerError, ask(model, "fail"))
        s.raises(module.APIStatusError, ask(model, "chat", s.TIGHT_KEY), lambda raised: s.same(raised.status_code, 402))

    def cancel(model):
        chunks = make(model).stream("scenario:hang please")
        for chunk in chunks:
            if text_of(chunk):
                chunks.close()
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
        "reasoning": reasoning if thought_of else "its Chat Completions have no place for reasoning",
        "errors": errors,
        "cancel": cancel,
    }


def summary_of(answer):
    blocks = [block for block in answer.content if block["type"] == "reasoning"]
    return "".join(piece["text"] for block in blocks for piece in block["summary"])


def thinking_of(answer):
    return "".join(block.get("thinking", "") for block in answer.content if block["type"] == "thinking")


s.run("langchain, openai chat", scenarios(openai_chat, openai, {}, None))
summary = {"reasoning": {"effort": "low", "summary": "auto"}}
s.run("langchain, openai responses", scenarios(openai_responses, openai, summary, summary_of))
thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
s.run("langchain, anthropic", scenarios(anthropic_chat, anthropic, thinking, thinking_of))
s.finish()
