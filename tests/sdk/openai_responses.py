"""The official OpenAI SDK and responses that their provider keeps: made, read again, continued, cancelled, deleted."""

import json
import os

import openai
from openai import OpenAI
from pydantic import BaseModel

MODEL = "openai/gpt-5-mini"
client = OpenAI(base_url=f"{os.environ['BASE_URL']}/v1", api_key=os.environ["API_KEY"], max_retries=0)
responses = client.responses


class Person(BaseModel):
    name: str
    age: int


def same(actual, expected):
    assert actual == expected, f"{actual!r} is not {expected!r}"


def ask(scenario="chat", **options):
    return {"model": MODEL, "input": f"scenario:{scenario} please", "max_output_tokens": 100, **options}


def made():
    answer = responses.create(**ask())
    assert answer.id.startswith("resp_tg"), answer.id
    assert answer.usage.model_extra["cost"] > 0, answer.usage
    return answer


def created_whole_and_streamed():
    text = made().output_text
    events = list(responses.create(**ask(stream=True)))
    same("".join(event.delta for event in events if event.type == "response.output_text.delta"), text)
    same({events[0].response.id, events[-1].response.id}, {events[-1].response.id})
    same(responses.retrieve(events[-1].response.id).output_text, text)
    assert events[-1].response.usage.model_extra["cost"] > 0


def tools_and_structure():
    tool = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}, "strict": False}
    answer = responses.create(**ask("tools", tools=[tool]))
    same([item.name for item in answer.output if item.type == "function_call"], ["get_weather", "get_weather"])
    same(responses.parse(**ask("structured"), text_format=Person).output_parsed, Person(name="Ada", age=36))


def read_again():
    answer = made()
    again = responses.retrieve(answer.id)
    same((again.id, again.output_text), (answer.id, answer.output_text))
    events = list(responses.retrieve(answer.id, stream=True, starting_after=0))
    same((events[-1].type, events[-1].response.id), ("response.completed", answer.id))
    assert all(event.type != "response.created" for event in events), events
    items = list(responses.input_items.list(answer.id, limit=5))
    same([item.content[0].text for item in items], ["scenario:chat please"])


def continued():
    first = made()
    second = responses.create(**ask(previous_response_id=first.id))
    same(second.previous_response_id, first.id)
    try:
        responses.create(**ask(previous_response_id="resp_0001"))
    except openai.NotFoundError as raised:
        same(raised.param, "previous_response_id")
        return
    raise AssertionError("a response of nobody was continued")


def cancelled():
    open_one = responses.create(**ask(background=True))
    same(open_one.status, "queued")
    same(responses.retrieve(open_one.id).status, "in_progress")
    same(responses.cancel(open_one.id).status, "cancelled")
    done = responses.create(**ask(background=True))
    same([responses.retrieve(done.id).status for _ in range(2)], ["in_progress", "completed"])


def deleted():
    answer = made()
    responses.delete(answer.id)
    try:
        responses.retrieve(answer.id)
    except openai.NotFoundError:
        return
    raise AssertionError("it is still there")


def counted_and_compacted():
    first = made()
    counted = responses.input_tokens.count(model=MODEL, input="hi", previous_response_id=first.id)
    same((counted.object, counted.input_tokens), ("response.input_tokens", 21))
    short = responses.compact(model=MODEL, input="hi", previous_response_id=first.id)
    same((short.object, short.output[-1].type), ("response.compaction", "compaction"))
    assert short.id.startswith("resp_tg") and short.usage.model_extra["cost"] > 0, short


checks = [created_whole_and_streamed, tools_and_structure, read_again, continued, cancelled, deleted, counted_and_compacted]
for check in checks:
    check()
print(json.dumps({"passed": [check.__name__ for check in checks]}))
