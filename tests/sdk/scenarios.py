"""What every client SDK is asked to do (scenarios.json), what must come of it, and the runner that reports it.

A driver maps each scenario to a function of a model's name, or to the reason why its SDK has no such thing. The
provider behind every model answers as crates/tollgate-testkit/src/vendors.rs says.
"""

import faulthandler
import json
import os
import pathlib
import time
import traceback

# before the test gives up on a driver that hangs: it ends saying where
HANGS_AFTER_SECONDS = 100
faulthandler.dump_traceback_later(HANGS_AFTER_SECONDS, exit=True)

BASE_URL = os.environ["BASE_URL"]
KEY = os.environ["API_KEY"]
TIGHT_KEY = os.environ["TIGHT_KEY"]
NO_KEY = "sk-nobody-0123456789"
MODELS = os.environ["MODELS"].split(",")
NAMES = json.loads((pathlib.Path(__file__).parent / "scenarios.json").read_text())

SYSTEM = "Be brief."
CHAT_TEXT = "3 turns after `Be brief.`"
TOOL = "get_weather"
TOOL_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}},
    "required": ["city"],
}
CALLS = [{"city": "Zürich"}, {"city": "Oslo", "days": [1, 2]}]
TOOLS_TEXT = "I look."
RESULTS = ["sunny", "rain"]
RESULTS_TEXT = "results: sunny, rain"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABh6FO1AAAAABJRU5ErkJggg=="
IMAGE_TEXT = f"images: image/png, {len(PNG)} base64 characters"
PERSON = {"name": "Ada", "age": 36}
THINKING = "Six times seven."
REASON_TEXT = "It is 42."
SIGNATURE = "c2lnbmF0dXJl"

_report = {"passed": {}, "absent": {}, "failed": {}, "seconds": {}}


# the models whose provider sends Gemini's dialect, and Anthropic's: pieces of arguments come at once, thinking is signed
GEMINIS = ("chat-gemini", "chat-vertex-gemini")
ANTHROPICS = ("chat-anthropic", "chat-vertex-claude")


def cached_tokens(model):
    """Cohere tells no cached tokens."""
    return 0 if model == "chat-cohere" else 5


def same(actual, expected):
    assert actual == expected, f"{actual!r} is not {expected!r}"


def counts(model, prompt, completion, cached):
    """`prompt` with what was read from the cache, `cached` among it."""
    same((prompt, completion, cached), (21, 9, cached_tokens(model)))


def raises(error, call, check=lambda raised: None):
    try:
        call()
    except error as raised:
        check(raised)
        return
    raise AssertionError(f"no {error}")


def run(client, scenarios):
    """Runs every scenario against every model."""
    began = time.monotonic()
    same(sorted(scenarios), sorted(NAMES))
    for name, scenario in scenarios.items():
        if isinstance(scenario, str):
            _report["absent"].setdefault(client, {})[name] = scenario
            continue
        for model in MODELS:
            try:
                scenario(model)
                _report["passed"].setdefault(client, {}).setdefault(model, []).append(name)
            except Exception:
                _report["failed"][f"{client}, {name}, {model}"] = traceback.format_exc(limit=-4)
    _report["seconds"][client] = round(time.monotonic() - began, 2)


def finish():
    print(json.dumps(_report))
