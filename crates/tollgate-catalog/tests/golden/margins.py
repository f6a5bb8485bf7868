#!/usr/bin/env python3
"""Writes margins.json: provider's prices, a tenant's own ones, a margin and a usage -> what the customer pays and what
the provider bills, worked out with fractions and from the rules alone.

Nothing here is taken from the Rust code, so that the two can disagree. Run it by hand after adding a case:

    python3 margins.py > margins.json

The rules, in the words of the documentation:
- A price is USD per million tokens, or USD per single unit (request, image, second, page, search).
- A tenant's own price for a class stands in place of the provider's for that class.
- A class without any price costs what the plain class of its side costs: `input` or `output`.
- The margin is a percentage of what classes cost that have no price of the tenant's own.
- The customer's sum, with the margin, and the provider's sum, without it, are each rounded once, upwards, to a whole
  nano-USD.
"""

import json
from fractions import Fraction
from math import ceil

PROMPT = ["cached_input", "cache_write_5m", "cache_write_1h", "input_audio", "input_image"]
ANSWER = ["reasoning", "output_audio", "output_image"]
UNITS = ["request", "image", "second", "page", "search"]
NANO = 10**9
CASES = []


def stand_in(meter):
    return "input" if meter in PROMPT else "output" if meter in ANSWER else None


def per_unit(meter, price):
    return Fraction(price) if meter in UNITS else Fraction(price) / 10**6


def sum_of(provider, own, percent, usage):
    factor = 1 + Fraction(percent or "0") / 100
    total = Fraction(0)
    for meter, units in usage.items():
        for name in [meter, stand_in(meter)]:
            if name in own:
                total += per_unit(name, own[name]) * units
                break
            if name in provider:
                total += per_unit(name, provider[name]) * units * factor
                break
    return ceil(total * NANO)


def case(name, provider, percent, usage, own=None, own_free=False):
    cost = 0 if own_free else sum_of(provider, own or {}, percent, usage)
    CASES.append(dict(name=name, provider=provider, own=own or {}, own_free=own_free, percent=percent, usage=usage,
                      cost=cost, provider_cost=sum_of(provider, {}, None, usage)))


MINI = dict(input="0.25", cached_input="0.025", output="2.00")
SONNET = dict(input="3", cached_input="0.30", cache_write_5m="3.75", cache_write_1h="6", output="15")
ODD = dict(input="0.000001", output="0.000003")
FEE = dict(input="1", output="5", request="0.005", search="0.01")
TALK = dict(input=100, output=20)
LONG = dict(input=123_457, cached_input=76_543, output=4_321, reasoning=1_234)

for percent in [None, "0", "10", "-10", "12.5", "33.33", "0.01", "-0.01", "100", "-100", "-99.99", "10000", "9999.99"]:
    case(f"a short talk at {percent}", MINI, percent, TALK)
for percent in ["10", "7.77", "-33.33", "250"]:
    case(f"a long talk at {percent}", MINI, percent, LONG)
    case(f"written caches at {percent}", SONNET, percent,
         dict(input=7, cached_input=9_001, cache_write_5m=333, cache_write_1h=77, output=1_001))
    case(f"fees and searches at {percent}", FEE, percent, dict(input=13, output=7, request=1, search=3))
    case(f"a fraction of a nano-dollar at {percent}", ODD, percent, dict(input=1, output=1))
for tokens, percent in [(10, "10"), (11, "-9.09"), (1_000_000, "0.01"), (999_999, "-0.01"), (3, "33.33")]:
    case(f"{tokens} tokens round once at {percent}", ODD, percent, dict(input=tokens, output=tokens))
for percent in [None, "10", "-100", "99.99"]:
    case(f"its own input price beside {percent}", MINI, percent, LONG, own=dict(input="0.2"))
    case(f"its own prices throughout beside {percent}", MINI, percent, LONG,
         own=dict(input="0.20", cached_input="0.02", output="1.5"))
    case(f"its own fee beside {percent}", MINI, percent, dict(TALK, request=1), own=dict(request="0.0001"))
    case(f"its own dearer output beside {percent}", SONNET, percent, LONG, own=dict(output="75"))
    case(f"free for it beside {percent}", MINI, percent, LONG, own_free=True)
    case(f"zero for it beside {percent}", MINI, percent, TALK, own=dict(input="0", output="0"))
case("nothing was used", MINI, "10", {})
case("only its own fee was used", ODD, "50", dict(request=1), own=dict(request="0.000000001"))

names = [one["name"] for one in CASES]
assert len(names) == len(set(names)), "two cases of one name"
print("[")
print(",\n".join(json.dumps(one, separators=(",", ":")) for one in CASES))
print("]")
