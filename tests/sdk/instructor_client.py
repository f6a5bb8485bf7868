"""Instructor over OpenAI's SDK against providers of every dialect: objects by tools and by schema."""

import logging

import instructor
from instructor.core import InstructorRetryException
from openai import OpenAI
from pydantic import BaseModel

import scenarios as s


# it logs every failure that is wanted here
logging.disable(logging.ERROR)


class Person(BaseModel):
    name: str
    age: int


def client(key=s.KEY, mode=instructor.Mode.TOOLS):
    return instructor.from_openai(OpenAI(base_url=f"{s.BASE_URL}/v1", api_key=key, max_retries=0), mode=mode)


MESSAGES = [{"role": "user", "content": "scenario:structured please"}]


def ask(client, model, scenario="structured", **options):
    messages = [{"role": "user", "content": f"scenario:{scenario} please"}]
    asked = {"model": model, "messages": messages, "max_tokens": 100, "max_retries": 0, "response_model": Person}
    return client.chat.completions.create(**{**asked, **options})


def structured(model):
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
        s.same(ask(client(mode=mode), model).model_dump(), s.PERSON)


def chat(model):
    person, answer = client().chat.completions.create_with_completion(
        model=model, messages=MESSAGES, max_tokens=100, response_model=Person
    )
    s.same(person.model_dump(), s.PERSON)
    usage = answer.usage
    s.counts(model, usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens)


def stream(model):
    partial = client().chat.completions.create_partial(
        model=model, messages=MESSAGES, max_tokens=100, response_model=Person
    )
    s.same(list(partial)[-1].model_dump(), s.PERSON)


def errors(model):
    def is_(name):
        def check(raised):
            names = []
            while raised is not None:
                names.append(type(raised).__name__)
                raised = raised.__cause__ or raised.__context__
            assert name in names, names

        return check

    s.raises(Exception, lambda: ask(client(s.NO_KEY), model), is_("AuthenticationError"))
    s.raises(Exception, lambda: ask(client(), "chat-nobody"), is_("NotFoundError"))
    s.raises(Exception, lambda: ask(client(), model, "refuse"), is_("BadRequestError"))
    s.raises(Exception, lambda: ask(client(), model, "limit"), is_("RateLimitError"))
    s.raises(Exception, lambda: ask(client(), model, "fail"), is_("InternalServerError"))
    # an answer that is no such object is its own error
    s.raises(InstructorRetryException, lambda: ask(client(), model, "chat"))


OURS = "what it adds is objects; the rest is OpenAI's SDK, which has a driver of its own"
s.run(
    "instructor",
    {
        "models": OURS,
        "chat": chat,
        "stream": stream,
        "tools": OURS,
        "tools_stream": OURS,
        "results": OURS,
        "image": OURS,
        "structured": structured,
        "reasoning": OURS,
        "errors": errors,
        "cancel": OURS,
    },
)
s.finish()
