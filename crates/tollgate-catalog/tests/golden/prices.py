#!/usr/bin/env python3
"""Writes prices.json: price rows x usage -> the charge, worked out with fractions and from the rules alone.

Nothing here is taken from the Rust code, so that the two can disagree. Run it by hand after adding a case:

    python3 prices.py > prices.json

The rules, in the words of the design:
- A price is USD per million tokens, or USD per single unit (request, image, second, page, search).
- A class without a row of its own costs what the plain class of its side costs: cached, written, audio and
  image prompt tokens like `input`; reasoning, audio and image answer tokens like `output`.
- A tier without a row for a class costs what the standard tier costs.
- Of rows with a context threshold the highest one that the prompt reaches holds, for the whole request; all
  prompt classes together are the prompt.
- Of rows for the same thing the one with the latest start that is not in the future holds.
- The sum is rounded once, upwards, to a whole nano-USD.
"""

import json
from fractions import Fraction

PROMPT = ["input", "cached_input", "cache_write_5m", "cache_write_1h", "input_audio", "input_image"]
ANSWER = ["output", "reasoning", "output_audio", "output_image"]
UNITS = ["request", "image", "second", "page", "search"]
NANO = 10**9

CASES = []


def row(meter, price, tier="standard", context_from=0, effective_from=0):
    return dict(meter=meter, price=price, tier=tier, context_from=context_from, effective_from=effective_from)


def rows(tier="standard", context_from=0, **prices):
    return [row(meter, price, tier, context_from) for meter, price in prices.items()]


def free(effective_from=0):
    return dict(meter=None, price="0", tier="standard", context_from=0, effective_from=effective_from)


def stand_in(meter):
    if meter in PROMPT[1:]:
        return "input"
    return "output" if meter in ANSWER[1:] else None


def in_force(all_rows, now):
    latest = {}
    for one in sorted((one for one in all_rows if one["effective_from"] <= now), key=lambda one: one["effective_from"]):
        latest[(one["meter"], one["tier"], one["context_from"])] = one
    return list(latest.values())


def is_marked_free(held):
    marks = [one["effective_from"] for one in held if one["meter"] is None]
    others = [one["effective_from"] for one in held if one["meter"] is not None]
    return bool(marks) and (not others or max(marks) >= max(others))


def unit_price(held, meter, tier, prompt):
    """USD for one token or unit as a fraction, or None."""
    for name in [meter, stand_in(meter)]:
        for wanted in [tier, "standard"]:
            fitting = [
                one for one in held
                if one["meter"] == name and one["tier"] == wanted and one["context_from"] <= prompt
            ]
            if name is not None and fitting:
                best = max(fitting, key=lambda one: one["context_from"])
                price = Fraction(best["price"])
                return price if name in UNITS else price / 1_000_000
    return None


def charge(all_rows, usage, tier, now):
    held = in_force(all_rows, now)
    if is_marked_free(held):
        return 0
    prompt = sum(count for meter, count in usage.items() if meter in PROMPT)
    total = Fraction(0)
    for meter, count in usage.items():
        price = unit_price(held, meter, tier, prompt)
        if price is not None:
            total += price * count
    nanos = total * NANO
    return -(-nanos.numerator // nanos.denominator)


def case(group, name, all_rows, usage, tier="standard", now=0):
    CASES.append(dict(
        group=group, name=name, rows=all_rows, usage=usage, tier=tier, now=now,
        charge_nano_usd=charge(all_rows, usage, tier, now),
    ))


def refused(name, all_rows, reason, tier="standard", needs="input_and_output", now=0):
    CASES.append(dict(
        group="unpriced", name=name, rows=all_rows, usage={}, tier=tier, now=now, needs=needs, refused=reason,
    ))


def plain():
    pairs = [("0.05", "0.4"), ("0.1", "0.4"), ("0.15", "0.6"), ("0.25", "2"), ("0.59", "0.79"), ("1.25", "10"),
             ("2", "8"), ("2.5", "10"), ("3", "15"), ("5", "25"), ("15", "75"), ("21", "168")]
    for price_in, price_out in pairs:
        for count_in, count_out in [(1, 0), (1_000, 500), (123_457, 7_919)]:
            case("plain", f"{price_in}/{price_out} {count_in}+{count_out}", rows(input=price_in, output=price_out),
                 dict(input=count_in, output=count_out))
    case("plain", "an empty answer", rows(input="3", output="15"), dict(input=17))
    case("plain", "nothing at all", rows(input="3", output="15"), {})
    case("plain", "an embedding", rows(input="0.02"), dict(input=8_191))
    case("plain", "an embedding of one token", rows(input="0.013"), dict(input=1))


def cached():
    for price, cached_price in [("1.25", "0.125"), ("2.5", "1.25"), ("2", "0.5"), ("3", "0.3"), ("0.28", "0.028")]:
        prices = rows(input=price, cached_input=cached_price, output="10")
        case("cached", f"{cached_price}: all", prices, dict(cached_input=4_096, output=10))
        case("cached", f"{cached_price}: most", prices, dict(input=77, cached_input=9_984, output=310))
        case("cached", f"{cached_price}: one", prices, dict(input=1, cached_input=1))
    case("cached", "free reads", rows(input="2", cached_input="0", output="4"), dict(input=5, cached_input=9_000, output=1))
    case("cached", "no row: the full price", rows(input="2", output="4"), dict(input=5, cached_input=9_000, output=1))


def cache_writes():
    for base, five, hour in [("3", "3.75", "6"), ("5", "6.25", "10"), ("0.25", "0.3", "0.5"), ("1", "1.25", "2")]:
        prices = rows(input=base, cached_input="0.1",
                      cache_write_5m=five, cache_write_1h=hour, output="15")
        case("cache_write", f"{base}: five minutes", prices, dict(input=10, cache_write_5m=2_048, output=5))
        case("cache_write", f"{base}: an hour", prices, dict(input=10, cache_write_1h=2_048, output=5))
        case("cache_write", f"{base}: all kinds", prices,
             dict(input=3, cached_input=11_111, cache_write_5m=222, cache_write_1h=333, output=4))
    only_five = rows(input="3", cache_write_5m="3.75", output="15")
    case("cache_write", "an hour without a row is a prompt", only_five, dict(cache_write_1h=1_000))
    case("cache_write", "no rows at all", rows(input="3", output="15"), dict(cache_write_5m=1_000, cache_write_1h=1_000))


def reasoning():
    own = rows(input="2", output="8", reasoning="3")
    shared = rows(input="1.1", output="4.4")
    for count in [1, 320, 73_997]:
        case("reasoning", f"own price, {count}", own, dict(input=33, output=7_163, reasoning=count))
        case("reasoning", f"the answer's price, {count}", shared, dict(input=33, output=163, reasoning=count))
    case("reasoning", "alone", shared, dict(input=9, reasoning=64))
    case("reasoning", "free of charge", rows(input="2", output="8", reasoning="0"), dict(input=9, output=1, reasoning=64_000))


def audio():
    full = rows(input="2.5", output="10", input_audio="40", output_audio="80", cached_input="1.25")
    half = rows(input="0.3", output="2.5", input_audio="1")
    for count_in, count_out in [(1, 1), (250, 900), (12_345, 6_789)]:
        case("audio", f"in and out {count_in}+{count_out}", full,
             dict(input=21, input_audio=count_in, output=13, output_audio=count_out))
        case("audio", f"in alone {count_in}", half, dict(input=21, input_audio=count_in, output=count_out))
        case("audio", f"out at the answer's price {count_out}", half, dict(input_audio=count_in, output_audio=count_out))
    case("audio", "beside cached text", full, dict(input=5, cached_input=640, input_audio=300, output_audio=50))
    case("audio", "without rows", rows(input="0.1", output="0.4"), dict(input_audio=3_200, output_audio=10))


def images():
    tokens = rows(input="5", input_image="10", output="30", output_image="40", cached_input="1.25")
    for count in [1, 85, 1_290, 48_169]:
        case("image", f"{count} prompt tokens", tokens, dict(input=7, input_image=count, output=3))
        case("image", f"{count} answer tokens", tokens, dict(input=7, output_image=count))
        case("image", f"{count} without rows", rows(input="0.3", output="2.5"), dict(input_image=count, output_image=count))
    for price in ["0.035", "0.06", "0.000000001"]:
        for count in [1, 4, 10]:
            case("image", f"{count} made at {price}", rows(image=price, request="0"), dict(request=1, image=count))


TIERED = (
    rows(input="1.25", cached_input="0.125", output="10")
    + rows("flex", input="0.625", cached_input="0.0625", output="5")
    + rows("priority", input="2.5", cached_input="0.25", output="20")
    + rows("batch", input="0.625", output="5")
)


def tiers():
    for tier in ["standard", "flex", "priority", "batch"]:
        case("tier", f"{tier}: text", TIERED, dict(input=1_001, output=501), tier)
        case("tier", f"{tier}: cached", TIERED, dict(input=1, cached_input=100_003, output=1), tier)
        case("tier", f"{tier}: reasoning at the tier's answer price", TIERED, dict(input=1, output=1, reasoning=999), tier)
        case("tier", f"{tier}: only standard rows", rows(input="2", output="8"), dict(input=10, output=10), tier)
        half = rows(input="2", output="8") + rows(tier if tier != "standard" else "flex", output="3")
        case("tier", f"{tier}: only the answer has a row", half, dict(input=10, cached_input=10, output=10, reasoning=7), tier)
    own_first = rows(input="2", output="8", cached_input="0.2") + rows("flex", input="1")
    case("tier", "a class of the standard tier goes before the tier's plain one", own_first,
         dict(input=10, cached_input=10, output=1), "flex")
    request = rows(input="1", output="1", request="0.01") + rows("batch", request="0.002")
    case("tier", "a request's price by tier", request, dict(input=1, output=1, request=1), "batch")
    case("tier", "a request's standard price", request, dict(input=1, output=1, request=1), "flex")


LONG = (
    rows(input="1.25", cached_input="0.125", output="10")
    + rows(context_from=200_000, input="2.5", cached_input="0.25", output="15")
)
STEPS = (
    rows(input="0.5", output="3")
    + rows(context_from=32_000, input="1", output="6")
    + rows(context_from=128_000, input="2", output="12")
)


def contexts():
    for prompt in [1, 199_999, 200_000, 200_001, 1_000_000]:
        case("context", f"one step, {prompt}", LONG, dict(input=prompt, output=100))
    for cached_count in [99_999, 100_000, 100_001]:
        case("context", f"cached tokens count, {cached_count}", LONG, dict(input=100_000, cached_input=cached_count, output=1))
    for prompt in [31_999, 32_000, 127_999, 128_000, 128_001]:
        case("context", f"three steps, {prompt}", STEPS, dict(input=prompt, output=7, reasoning=3))
    case("context", "written tokens count", LONG, dict(input=1, cache_write_5m=199_999, output=1))
    case("context", "audio and image tokens count", LONG, dict(input=199_998, input_audio=1, input_image=1, output=1))
    case("context", "the answer does not count", LONG, dict(input=199_999, output=200_000))
    only_input = rows(input="1", output="2") + rows(context_from=10, input="3")
    case("context", "a class without a long row keeps its price", only_input, dict(input=10, output=10))
    only_cached = rows(input="1", output="2", cached_input="0.5") + rows(context_from=10, input="3")
    case("context", "an own row below goes before the stand-in above", only_cached, dict(input=5, cached_input=5))
    cheaper = rows(input="2", output="2") + rows(context_from=1_000, input="1", output="1")
    case("context", "long prompts can be cheaper", cheaper, dict(input=1_000, output=9))
    for tier in ["standard", "flex", "priority", "batch"]:
        both = LONG + rows("priority", input="2.5", output="20") + rows("priority", 200_000, input="5", output="30") \
            + rows("flex", input="0.6", output="5")
        case("context", f"{tier}: below", both, dict(input=199_999, output=3), tier)
        case("context", f"{tier}: from", both, dict(input=200_000, output=3), tier)


def units():
    sonar = rows(input="3", output="15", request="0.014")
    case("units", "a request's fee", sonar, dict(input=14, output=300, request=1))
    case("units", "three requests", sonar, dict(request=3))
    case("units", "per request alone", rows(request="0.0005"), dict(input=1_000, output=1_000, request=1))
    research = rows(input="2", output="8", reasoning="3", search="0.005")
    case("units", "a research", research, dict(input=20_049, output=7_163, reasoning=73_997, search=18, request=1))
    for count in [1, 7]:
        case("units", f"{count} searches", rows(input="1.25", output="10", search="0.01"), dict(input=10, output=10, search=count))
        case("units", f"{count} searches at 0.0025", rows(search="0.0025", input="0", output="0"), dict(search=count))
        case("units", f"{count} pages", rows(page="0.002", request="0"), dict(page=count, request=1))
        case("units", f"{count} pages in a batch", rows(page="0.002") + rows("batch", page="0.001"), dict(page=count), "batch")
    for seconds in [1, 59, 3_600]:
        case("units", f"{seconds} s", rows(second="0.0001"), dict(second=seconds))
        case("units", f"{seconds} s at an odd price", rows(second="0.000030834"), dict(second=seconds))
        case("units", f"{seconds} s beside text", rows(second="0.000066667", input="0.1", output="0.3"),
             dict(second=seconds, input=27, output=111))
    case("units", "a unit without a price is not charged", rows(input="1", output="2"), dict(input=1, search=5, second=9))
    everything = rows(input="1.5", cached_input="0.15", cache_write_5m="1.875", cache_write_1h="3", input_audio="4",
                      input_image="2", output="6", reasoning="7", output_audio="12", output_image="30",
                      request="0.001", image="0.02", second="0.00003", page="0.004", search="0.01")
    case("units", "one of everything", everything, {meter: 1 for meter in PROMPT + ANSWER + UNITS})
    case("units", "much of everything", everything, {meter: 1_000 + 7 * index for index, meter in enumerate(PROMPT + ANSWER + UNITS)})


def tools():
    agent = rows(input="5", cached_input="0.5", cache_write_5m="6.25", output="25", search="0.01")
    case("tools", "a call's arguments are answer tokens", agent, dict(input=812, output=61))
    case("tools", "a turn with a cached prompt", agent, dict(input=40, cached_input=812, output=93))
    case("tools", "two searches and a page of text", agent, dict(input=9_412, cached_input=800, output=640, search=2))
    case("tools", "a search and a write", agent, dict(input=12, cache_write_5m=4_400, output=50, search=1))
    case("tools", "fifty turns", agent, dict(input=2_000, cached_input=610_000, cache_write_5m=31_000, output=9_400))


def rounding():
    least = "0.000000001"  # one nano-USD per million tokens
    for count in [1, 2, 999_999, 1_000_000, 1_000_001, 1_999_999, 2_000_000, 2_000_001]:
        case("rounding", f"{count} at a nano per million", rows(input=least, output="0"), dict(input=count))
    for price in ["0.1", "0.3", "0.7", "0.0001", "0.000333333"]:
        case("rounding", f"one token at {price}", rows(input=price, output=price), dict(input=1))
        case("rounding", f"one and one at {price}", rows(input=price, output=price), dict(input=1, output=1))
    thirds = rows(input="0.000000333", output="0.000000667")
    case("rounding", "parts that make a whole are not rounded twice", thirds, dict(input=1_000, output=1_000))
    case("rounding", "one under a whole", thirds, dict(input=999, output=1_000))
    case("rounding", "one over a whole", thirds, dict(input=1_001, output=1_000))
    many = rows(input=least, cached_input=least, output=least, reasoning=least)
    case("rounding", "four parts, one rounding", many, dict(input=1, cached_input=1, output=1, reasoning=1))
    case("rounding", "a whole of four parts", many, dict(input=250_000, cached_input=250_000, output=250_000, reasoning=250_000))
    case("rounding", "one more than a whole of four parts", many,
         dict(input=250_001, cached_input=250_000, output=250_000, reasoning=250_000))
    case("rounding", "a unit is never rounded", rows(request=least), dict(request=1))
    case("rounding", "large counts", rows(input="75", output="150"), dict(input=999_999_999, output=999_999_999))
    case("rounding", "large prices", rows(input="999999.999999999", output="1"), dict(input=1_000_001))


def free_models():
    for usage in [{}, dict(input=5, output=5), dict(input=10**9, cached_input=3, output=10**9, request=1, search=9)]:
        case("free", f"marked free, {len(usage)} classes", [free()], usage)
        case("free", f"zero prices, {len(usage)} classes", rows(input="0", output="0"), usage)
    case("free", "in every tier", [free()], dict(input=1_000, output=1_000), "priority")
    case("free", "zero and a request's fee", rows(input="0", output="0", request="0.002"), dict(input=9, output=9, request=1))
    case("free", "marked later than the prices", rows(input="1", output="2") + [free(10)], dict(input=100, output=100), now=10)
    case("free", "not yet", rows(input="1", output="2") + [free(10)], dict(input=100, output=100), now=9)
    case("free", "no longer", [free(0), row("input", "1", effective_from=5), row("output", "2", effective_from=5)],
         dict(input=100, output=100), now=5)


def timelines():
    history = rows(input="1", output="2") + [row("input", "3", effective_from=100), row("output", "6", effective_from=200)]
    for now in [0, 99, 100, 101, 199, 200, 10_000]:
        case("timeline", f"at {now}", history, dict(input=1_000, output=1_000), now=now)
    band = LONG + [row("input", "9", context_from=200_000, effective_from=50)]
    case("timeline", "a new price of the long band alone", band, dict(input=200_000, output=1), now=50)
    case("timeline", "and the short one stays", band, dict(input=199_999, output=1), now=50)


def unpriced():
    both = rows(input="1", output="2")
    refused("no rows", [], "no_rows")
    refused("no rows, an embedding", [], "no_rows", needs="input_only")
    refused("no rows yet", [row("input", "1", effective_from=5), row("output", "1", effective_from=5)], "not_in_force", now=4)
    refused("priority without a row", both, "no_tier", "priority")
    refused("priority with flex rows", both + rows("flex", input="1", output="1"), "no_tier", "priority")
    refused("input alone", rows(input="1"), "incomplete:output")
    refused("output alone", rows(output="1"), "incomplete:input")
    refused("output alone, an embedding", rows(output="1"), "incomplete:input", needs="input_only")
    refused("cached prompts alone", rows(cached_input="1", output="1"), "incomplete:input")
    refused("reasoning alone", rows(input="1", reasoning="1"), "incomplete:output")
    refused("long answers alone", rows(input="1") + rows(context_from=9, output="1"), "incomplete:output")
    refused("long prompts alone", rows(output="1") + rows(context_from=9, input="1"), "incomplete:input")
    refused("a fee and half the tokens", rows(request="0.01", input="1"), "incomplete:output")
    refused("searches alone", rows(search="0.01"), "incomplete:input")
    refused("seconds alone", rows(second="0.01"), "incomplete:input")
    refused("images alone", rows(image="0.01"), "incomplete:input")
    refused("the flex tier alone, asked for standard", rows("flex", input="1", output="1"), "incomplete:input")
    refused("the batch tier alone, asked for flex", rows("batch", input="1", output="1"), "incomplete:input", "flex")
    refused("a tier's fee alone, asked for standard", rows("flex", request="1"), "incomplete:input")


for build in [plain, cached, cache_writes, reasoning, audio, images, tiers, contexts, units, tools, rounding,
              free_models, timelines, unpriced]:
    build()

names = [(one["group"], one["name"]) for one in CASES]
assert len(names) == len(set(names)), "two cases of one name"
print("[")
print(",\n".join(json.dumps(one, separators=(",", ":")) for one in CASES))
print("]")
