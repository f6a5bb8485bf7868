"""The official Google GenAI SDK against providers of every dialect."""

import base64

from google import genai
from google.genai import errors as google_errors
from google.genai import types
from pydantic import BaseModel

import scenarios as s


class Person(BaseModel):
    name: str
    age: int


def client(key=s.KEY):
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=s.BASE_URL))


main = client()
FUNCTION = {"name": s.TOOL, "description": "The weather of a city.", "parameters_json_schema": s.TOOL_SCHEMA}
TOOLS = {
    "tools": [types.Tool(function_declarations=[types.FunctionDeclaration(**FUNCTION)])],
    "automatic_function_calling": types.AutomaticFunctionCallingConfig(disable=True),
}


def turn(role, *parts):
    return types.Content(role=role, parts=[types.Part(text=part) if isinstance(part, str) else part for part in parts])


def config(**options):
    return types.GenerateContentConfig(**{"max_output_tokens": 100, **options})


def ask(scenario, **options):
    return {"contents": f"scenario:{scenario} please", "config": config(**options)}


def conversation():
    contents = [turn("user", "Hello."), turn("model", "Hi."), turn("user", "scenario:chat please")]
    return {"contents": contents, "config": config(system_instruction=s.SYSTEM)}


def usage(model, usage):
    cached = usage.cached_content_token_count or 0
    s.counts(model, usage.prompt_token_count, usage.candidates_token_count, cached)
    s.same(usage.total_token_count, 30)


def models(model):
    assert f"models/{model}" in [listed.name for listed in main.models.list()]
    assert main.models.count_tokens(model=model, contents="How long is this?").total_tokens > 2


def chat(model):
    answer = main.models.generate_content(model=model, **conversation())
    s.same((answer.text, answer.candidates[0].finish_reason), (s.CHAT_TEXT, types.FinishReason.STOP))
    usage(model, answer.usage_metadata)


def stream(model):
    pieces, last = [], None
    for chunk in main.models.generate_content_stream(model=model, **conversation()):
        if chunk.text:
            pieces.append(chunk.text)
        last = chunk
    s.same(("".join(pieces), last.candidates[0].finish_reason), (s.CHAT_TEXT, types.FinishReason.STOP))
    assert len(pieces) > 2, pieces
    usage(model, last.usage_metadata)


def tools(model):
    answer = main.models.generate_content(model=model, **ask("tools", **TOOLS))
    s.same([(call.name, call.args) for call in answer.function_calls], [(s.TOOL, call) for call in s.CALLS])
    if model in s.GEMINIS:
        signatures = [part.thought_signature for part in answer.candidates[0].content.parts if part.function_call]
        s.same(signatures[0], base64.b64decode(s.SIGNATURE))


def tools_stream(model):
    calls = []
    for chunk in main.models.generate_content_stream(model=model, **ask("tools", **TOOLS)):
        calls += chunk.function_calls or []
    s.same([call.args for call in calls], s.CALLS)


def results(model):
    calls = [types.Part.from_function_call(name=s.TOOL, args=call) for call in s.CALLS]
    told = [types.Part.from_function_response(name=s.TOOL, response={"result": text}) for text in s.RESULTS]
    contents = [turn("user", "scenario:results please"), turn("model", *calls), turn("user", *told)]
    answer = main.models.generate_content(model=model, contents=contents, config=config(**TOOLS))
    if model in s.GEMINIS:
        s.same(answer.text, s.RESULTS_TEXT)
    else:
        # other vendors' tools answer in text: the object as JSON
        s.same(answer.text.replace('{"result":"', "").replace('"}', ""), s.RESULTS_TEXT)


def image(model):
    picture = types.Part.from_bytes(data=base64.b64decode(s.PNG), mime_type="image/png")
    contents = [turn("user", "scenario:image", picture)]
    answer = main.models.generate_content(model=model, contents=contents, config=config())
    s.same(answer.text, s.IMAGE_TEXT)


def structured(model):
    options = {"response_mime_type": "application/json", "response_schema": Person}
    s.same(main.models.generate_content(model=model, **ask("structured", **options)).parsed, Person(**s.PERSON))


def reasoning(model):
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)
    asked = ask("reason", thinking_config=thinking, max_output_tokens=4000)
    answer = main.models.generate_content(model=model, **asked)
    thoughts = [part.text for part in answer.candidates[0].content.parts if part.thought]
    s.same((answer.text, thoughts), (s.REASON_TEXT, [s.THINKING]))
    thought = ""
    for chunk in main.models.generate_content_stream(model=model, **asked):
        thought += "".join(part.text for part in chunk.candidates[0].content.parts or [] if part.thought)
    s.same(thought, s.THINKING)


def errors(model):
    def create(client, model, name):
        return lambda: client.models.generate_content(model=model, **ask(name))

    def is_(code, status, text=""):
        def check(raised):
            s.same((raised.code, raised.status), (code, status))
            assert text in raised.message, raised

        return check

    client_error, server_error = google_errors.ClientError, google_errors.ServerError
    s.raises(client_error, create(client(s.NO_KEY), model, "chat"), is_(401, "UNAUTHENTICATED"))
    s.raises(client_error, create(main, "chat-nobody", "chat"), is_(404, "NOT_FOUND"))
    s.raises(client_error, create(main, model, "refuse"), is_(400, "INVALID_ARGUMENT", "no such thing"))
    s.raises(client_error, create(main, model, "limit"), is_(429, "RESOURCE_EXHAUSTED", "slow down"))
    s.raises(server_error, create(main, model, "fail"))
    s.raises(client_error, create(client(s.TIGHT_KEY), model, "chat"), is_(402, "RESOURCE_EXHAUSTED"))


def cancel(model):
    events = main.models.generate_content_stream(model=model, **ask("hang"))
    for chunk in events:
        if chunk.text:
            events.close()
            return
    raise AssertionError("the stream ended")


s.run(
    "google-genai python",
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
