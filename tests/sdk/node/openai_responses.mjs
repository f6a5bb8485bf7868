// The official OpenAI SDK for node and responses that their provider keeps.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const { responses } = new OpenAI({
  baseURL: `${process.env.BASE_URL}/v1`,
  apiKey: process.env.API_KEY,
  maxRetries: 0,
});
const ask = (scenario, options) => ({
  model: "openai/gpt-5-mini",
  input: `scenario:${scenario} please`,
  max_output_tokens: 100,
  ...options,
});

async function made() {
  const answer = await responses.create(ask("chat"));
  assert.ok(answer.id.startsWith("resp_tg"), answer.id);
  assert.ok(answer.usage.cost > 0);
  return answer;
}

async function collected(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

const checks = {
  async created_whole_and_streamed() {
    const text = (await made()).output_text;
    const events = await collected(await responses.create(ask("chat", { stream: true })));
    const deltas = events.filter((event) => event.type === "response.output_text.delta");
    assert.equal(deltas.map((event) => event.delta).join(""), text);
    const last = events.at(-1).response;
    assert.equal(events[0].response.id, last.id);
    assert.ok(last.usage.cost > 0);
    assert.equal((await responses.retrieve(last.id)).output_text, text);
  },
  async tools_and_structure() {
    const tool = { type: "function", name: "get_weather", parameters: { type: "object", properties: {} }, strict: false };
    const answer = await responses.create(ask("tools", { tools: [tool] }));
    assert.equal(answer.output.filter((item) => item.type === "function_call").length, 2);
    const text = { format: zodTextFormat(z.object({ name: z.string(), age: z.int() }), "person") };
    assert.deepEqual((await responses.parse(ask("structured", { text }))).output_parsed, { name: "Ada", age: 36 });
  },
  async read_again() {
    const answer = await made();
    const again = await responses.retrieve(answer.id);
    assert.deepEqual([again.id, again.output_text], [answer.id, answer.output_text]);
    const events = await collected(await responses.retrieve(answer.id, { stream: true, starting_after: 0 }));
    assert.deepEqual([events.at(-1).type, events.at(-1).response.id], ["response.completed", answer.id]);
    assert.ok(events.every((event) => event.type !== "response.created"));
    const items = await collected(responses.inputItems.list(answer.id, { limit: 5 }));
    assert.deepEqual(items.map((item) => item.content[0].text), ["scenario:chat please"]);
  },
  async continued() {
    const first = await made();
    const second = await responses.create(ask("chat", { previous_response_id: first.id }));
    assert.equal(second.previous_response_id, first.id);
    const nobodys = responses.create(ask("chat", { previous_response_id: "resp_0001" }));
    await assert.rejects(nobodys, OpenAI.NotFoundError);
  },
  async cancelled() {
    const open = await responses.create(ask("chat", { background: true }));
    assert.equal(open.status, "queued");
    assert.equal((await responses.cancel(open.id)).status, "cancelled");
  },
  async deleted() {
    const answer = await made();
    await responses.delete(answer.id);
    await assert.rejects(responses.retrieve(answer.id), OpenAI.NotFoundError);
  },
};

for (const check of Object.values(checks)) await check();
console.log(JSON.stringify({ passed: Object.keys(checks) }));
