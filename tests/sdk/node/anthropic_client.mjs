// The official Anthropic SDK for node against providers of every dialect.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";
import * as s from "./scenarios.mjs";

const Person = z.object({ name: z.string(), age: z.int() });
const client = (apiKey = s.KEY) => new Anthropic({ baseURL: s.BASE_URL, apiKey, maxRetries: 0 });
const main = client();
const TOOLS = { tools: [{ name: s.TOOL, description: "The weather of a city.", input_schema: s.TOOL_SCHEMA }] };
const ask = (scenario, options) => ({
  messages: [{ role: "user", content: `scenario:${scenario} please` }],
  max_tokens: 100,
  ...options,
});
const conversation = (model) => ({
  ...ask("chat"),
  model,
  system: s.SYSTEM,
  messages: [{ role: "user", content: "Hello." }, { role: "assistant", content: "Hi." }, ...ask("chat").messages],
});
const create = (body) => main.messages.create(body);
const textOf = (answer) => answer.content.map((block) => (block.type === "text" ? block.text : "")).join("");
const inputsOf = (answer) => answer.content.filter((block) => block.type === "tool_use").map((block) => block.input);
function usageOf(model, usage) {
  const cached = usage.cache_read_input_tokens ?? 0;
  s.counts(model, usage.input_tokens + cached, usage.output_tokens, cached);
}

await s.run("anthropic node", {
  async models(model) {
    const names = [];
    for await (const listed of main.models.list()) names.push(listed.id);
    assert.ok(names.includes(model), names);
    const counted = await main.messages.countTokens({ model, messages: ask("chat").messages });
    assert.ok(counted.input_tokens > 2);
  },
  async chat(model) {
    const answer = await create(conversation(model));
    s.same([textOf(answer), answer.stop_reason], [s.CHAT_TEXT, "end_turn"]);
    usageOf(model, answer.usage);
  },
  async stream(model) {
    const deltas = [];
    const stream = main.messages.stream(conversation(model)).on("text", (text) => deltas.push(text));
    const answer = await stream.finalMessage();
    s.same([deltas.join(""), textOf(answer)], [s.CHAT_TEXT, s.CHAT_TEXT]);
    assert.ok(deltas.length > 2, deltas);
    usageOf(model, answer.usage);
  },
  async tools(model) {
    const answer = await create({ model, ...ask("tools", TOOLS) });
    s.same([textOf(answer), answer.stop_reason], [s.TOOLS_TEXT, "tool_use"]);
    s.same(inputsOf(answer), s.CALLS);
  },
  async tools_stream(model) {
    let pieces = 0;
    const stream = main.messages.stream({ model, ...ask("tools", TOOLS) }).on("inputJson", () => (pieces += 1));
    s.same(inputsOf(await stream.finalMessage()), s.CALLS);
    assert.ok(pieces >= s.leastPieces(model), String(pieces));
  },
  async results(model) {
    const body = ask("results", TOOLS);
    const calls = s.CALLS.map((input, n) => ({ type: "tool_use", id: `c${n}`, name: s.TOOL, input }));
    const told = s.RESULTS.map((content, n) => ({ type: "tool_result", tool_use_id: `c${n}`, content }));
    body.messages.push({ role: "assistant", content: calls }, { role: "user", content: told });
    s.same(textOf(await create({ model, ...body })), s.RESULTS_TEXT);
  },
  async image(model) {
    const source = { type: "base64", media_type: "image/png", data: s.PNG };
    const content = [
      { type: "text", text: "scenario:image" },
      { type: "image", source },
    ];
    s.same(textOf(await create({ model, max_tokens: 50, messages: [{ role: "user", content }] })), s.IMAGE_TEXT);
  },
  async structured(model) {
    const output_config = { format: zodOutputFormat(Person) };
    const answer = await main.messages.parse({ model, ...ask("structured"), output_config });
    s.same(answer.parsed_output, s.PERSON);
  },
  async reasoning(model) {
    const thinking = { type: "enabled", budget_tokens: 1024 };
    const body = { model, ...ask("reason", { thinking }), max_tokens: 4000 };
    const answer = await create(body);
    const thoughts = answer.content.filter((block) => block.type === "thinking");
    s.same([textOf(answer), thoughts.map((block) => block.thinking)], [s.REASON_TEXT, [s.THINKING]]);
    if (s.isAnthropics(model)) s.same(thoughts[0].signature, s.SIGNATURE);
    let thought = "";
    await main.messages.stream(body).on("thinking", (text) => (thought += text)).finalMessage();
    s.same(thought, s.THINKING);
  },
  async errors(model) {
    const asking = (client, model, name) => () => client.messages.create({ model, ...ask(name) });
    const said = (text) => (raised) => assert.ok(raised.message.includes(text), raised.message);
    await s.raises(Anthropic.AuthenticationError, asking(client(s.NO_KEY), model, "chat"));
    await s.raises(Anthropic.NotFoundError, asking(main, "chat-nobody", "chat"));
    await s.raises(Anthropic.BadRequestError, asking(main, model, "refuse"), said("no such thing"));
    await s.raises(Anthropic.RateLimitError, asking(main, model, "limit"), said("slow down"));
    await s.raises(Anthropic.InternalServerError, asking(main, model, "fail"));
    const broke = (raised) => s.same([raised.status, raised.error.error.type], [402, "billing_error"]);
    await s.raises(Anthropic.APIError, asking(client(s.TIGHT_KEY), model, "chat"), broke);
  },
  async cancel(model) {
    const stream = await create({ model, ...ask("hang"), stream: true });
    for await (const event of stream) {
      if (event.type === "content_block_delta") return;
    }
    assert.fail("the stream ended");
  },
});
s.finish();
