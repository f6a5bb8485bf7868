// The official OpenAI SDK for node, Chat Completions and Responses, against providers of every dialect.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import * as s from "./scenarios.mjs";

const Person = z.object({ name: z.string(), age: z.int() });
const client = (apiKey = s.KEY) => new OpenAI({ baseURL: `${s.BASE_URL}/v1`, apiKey, maxRetries: 0 });
const main = client();
const TURNS = [
  { role: "user", content: "Hello." },
  { role: "assistant", content: "Hi." },
];
const FUNCTION = { name: s.TOOL, description: "The weather of a city.", parameters: s.TOOL_SCHEMA };
const PNG_URL = `data:image/png;base64,${s.PNG}`;

async function models(model) {
  const names = [];
  for await (const listed of main.models.list()) names.push(listed.id);
  assert.ok(names.includes(model), names);
  s.same((await main.models.retrieve(model)).id, model);
}

const errors = (ask) => async (model) => {
  const said = (text) => (raised) => assert.ok(raised.message.includes(text), raised.message);
  await s.raises(OpenAI.AuthenticationError, () => ask(client(s.NO_KEY), model, "chat"));
  await s.raises(OpenAI.NotFoundError, () => ask(main, "chat-nobody", "chat"));
  await s.raises(OpenAI.BadRequestError, () => ask(main, model, "refuse"), said("no such thing"));
  await s.raises(OpenAI.RateLimitError, () => ask(main, model, "limit"), said("slow down"));
  await s.raises(OpenAI.InternalServerError, () => ask(main, model, "fail"));
  const broke = (raised) => s.same([raised.status, raised.code], [402, "budget_exceeded"]);
  await s.raises(OpenAI.APIError, () => ask(client(s.TIGHT_KEY), model, "chat"), broke);
};

// === Chat Completions ===

const ask = (scenario, options) => ({
  messages: [{ role: "user", content: `scenario:${scenario} please` }],
  max_tokens: 100,
  ...options,
});
const create = (body) => main.chat.completions.create(body);
const conversation = (model) => ({
  ...ask("chat"),
  model,
  messages: [{ role: "system", content: s.SYSTEM }, ...TURNS, ...ask("chat").messages],
});
const chatUsage = (model, usage) =>
  s.counts(model, usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens);
const CHAT_TOOLS = { tools: [{ type: "function", function: FUNCTION }] };
const argumentsOf = (calls) => calls.map((call) => JSON.parse(call.function.arguments));

await s.run("openai node, chat", {
  models,
  async chat(model) {
    const answer = await create(conversation(model));
    s.same([answer.choices[0].message.content, answer.choices[0].finish_reason], [s.CHAT_TEXT, "stop"]);
    chatUsage(model, answer.usage);
  },
  async stream(model) {
    const deltas = [];
    let usage;
    const body = { ...conversation(model), stream: true, stream_options: { include_usage: true } };
    for await (const event of await create(body)) {
      usage = event.usage ?? usage;
      const text = event.choices[0]?.delta.content;
      if (text) deltas.push(text);
    }
    s.same(deltas.join(""), s.CHAT_TEXT);
    assert.ok(deltas.length > 2, deltas);
    chatUsage(model, usage);
  },
  async tools(model) {
    const choice = (await create({ model, ...ask("tools", CHAT_TOOLS) })).choices[0];
    s.same([choice.message.content, choice.finish_reason], [s.TOOLS_TEXT, "tool_calls"]);
    s.same(argumentsOf(choice.message.tool_calls), s.CALLS);
  },
  async tools_stream(model) {
    let pieces = 0;
    const stream = main.chat.completions.stream({ model, ...ask("tools", CHAT_TOOLS) });
    stream.on("tool_calls.function.arguments.delta", () => (pieces += 1));
    s.same(argumentsOf((await stream.finalChatCompletion()).choices[0].message.tool_calls), s.CALLS);
    assert.ok(pieces >= s.leastPieces(model), String(pieces));
  },
  async results(model) {
    const body = ask("results", CHAT_TOOLS);
    const calls = s.CALLS.map((call, n) => ({
      id: `c${n}`,
      type: "function",
      function: { name: s.TOOL, arguments: JSON.stringify(call) },
    }));
    body.messages.push({ role: "assistant", content: null, tool_calls: calls });
    s.RESULTS.forEach((content, n) => body.messages.push({ role: "tool", tool_call_id: `c${n}`, content }));
    s.same((await create({ model, ...body })).choices[0].message.content, s.RESULTS_TEXT);
  },
  async image(model) {
    const content = [
      { type: "text", text: "scenario:image" },
      { type: "image_url", image_url: { url: PNG_URL } },
    ];
    const answer = await create({ model, max_tokens: 50, messages: [{ role: "user", content }] });
    s.same(answer.choices[0].message.content, s.IMAGE_TEXT);
  },
  async structured(model) {
    const response_format = zodResponseFormat(Person, "person");
    const answer = await main.chat.completions.parse({ model, ...ask("structured"), response_format });
    s.same(answer.choices[0].message.parsed, s.PERSON);
  },
  async reasoning(model) {
    const body = { model, ...ask("reason", { reasoning_effort: "low" }), max_tokens: 4000 };
    const { message } = (await create(body)).choices[0];
    s.same([message.content, message.reasoning_content], [s.REASON_TEXT, s.THINKING]);
    let thought = "";
    for await (const event of await create({ ...body, stream: true })) {
      thought += event.choices[0]?.delta.reasoning_content ?? "";
    }
    s.same(thought, s.THINKING);
  },
  errors: errors((client, model, name) => client.chat.completions.create({ model, ...ask(name) })),
  async cancel(model) {
    const stream = await create({ model, ...ask("hang"), stream: true });
    for await (const event of stream) {
      // leaving the loop aborts the request
      if (event.choices[0]?.delta.content) return;
    }
    assert.fail("the stream ended");
  },
});

// === Responses ===

const respond = (scenario, options) => ({
  input: `scenario:${scenario} please`,
  max_output_tokens: 100,
  ...options,
});
const responses = (body) => main.responses.create(body);
const items = (model) => ({
  model,
  instructions: s.SYSTEM,
  input: [...TURNS, { role: "user", content: "scenario:chat please" }],
  max_output_tokens: 100,
});
const usageOf = (model, usage) =>
  s.counts(model, usage.input_tokens, usage.output_tokens, usage.input_tokens_details.cached_tokens);
const RESPONSES_TOOLS = { tools: [{ type: "function", ...FUNCTION }] };
const callsOf = (answer) =>
  answer.output.filter((item) => item.type === "function_call").map((item) => JSON.parse(item.arguments));

await s.run("openai node, responses", {
  models,
  async chat(model) {
    const answer = await responses(items(model));
    s.same([answer.output_text, answer.status], [s.CHAT_TEXT, "completed"]);
    usageOf(model, answer.usage);
  },
  async stream(model) {
    const deltas = [];
    let last;
    for await (const event of await responses({ ...items(model), stream: true })) {
      if (event.type === "response.output_text.delta") deltas.push(event.delta);
      last = event;
    }
    s.same([deltas.join(""), last.type], [s.CHAT_TEXT, "response.completed"]);
    assert.ok(deltas.length > 2, deltas);
    usageOf(model, last.response.usage);
  },
  async tools(model) {
    const answer = await responses({ model, ...respond("tools", RESPONSES_TOOLS) });
    s.same([answer.output_text, callsOf(answer)], [s.TOOLS_TEXT, s.CALLS]);
  },
  async tools_stream(model) {
    let pieces = 0;
    const stream = main.responses.stream({ model, ...respond("tools", RESPONSES_TOOLS) });
    stream.on("response.function_call_arguments.delta", () => (pieces += 1));
    s.same(callsOf(await stream.finalResponse()), s.CALLS);
    assert.ok(pieces >= s.leastPieces(model), String(pieces));
  },
  async results(model) {
    const input = [{ role: "user", content: "scenario:results please" }];
    s.CALLS.forEach((call, n) =>
      input.push({ type: "function_call", call_id: `c${n}`, name: s.TOOL, arguments: JSON.stringify(call) }),
    );
    s.RESULTS.forEach((output, n) => input.push({ type: "function_call_output", call_id: `c${n}`, output }));
    s.same((await responses({ model, input, ...RESPONSES_TOOLS, max_output_tokens: 50 })).output_text, s.RESULTS_TEXT);
  },
  async image(model) {
    const content = [
      { type: "input_text", text: "scenario:image" },
      { type: "input_image", image_url: PNG_URL, detail: "auto" },
    ];
    const answer = await responses({ model, max_output_tokens: 50, input: [{ role: "user", content }] });
    s.same(answer.output_text, s.IMAGE_TEXT);
  },
  async structured(model) {
    const text = { format: zodTextFormat(Person, "person") };
    s.same((await main.responses.parse({ model, ...respond("structured"), text })).output_parsed, s.PERSON);
  },
  async reasoning(model) {
    const reasoning = { effort: "low", summary: "auto" };
    const body = { model, ...respond("reason", { reasoning }), max_output_tokens: 4000 };
    const answer = await responses(body);
    const thoughts = answer.output.filter((item) => item.type === "reasoning").map((item) => item.summary[0].text);
    s.same([answer.output_text, thoughts], [s.REASON_TEXT, [s.THINKING]]);
    let thought = "";
    for await (const event of await responses({ ...body, stream: true })) {
      if (event.type === "response.reasoning_summary_text.delta") thought += event.delta;
    }
    s.same(thought, s.THINKING);
  },
  errors: errors((client, model, name) => client.responses.create({ model, ...respond(name) })),
  async cancel(model) {
    for await (const event of await responses({ model, ...respond("hang"), stream: true })) {
      if (event.type === "response.output_text.delta") return;
    }
    assert.fail("the stream ended");
  },
});
s.finish();
