// The Vercel AI SDK with its OpenAI and Anthropic providers against providers of every dialect.
import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, generateText, jsonSchema, Output, streamText, tool } from "ai";
import { z } from "zod";
import * as s from "./scenarios.mjs";

const Person = z.object({ name: z.string(), age: z.int() });
const tools = { [s.TOOL]: tool({ description: "The weather of a city.", inputSchema: jsonSchema(s.TOOL_SCHEMA) }) };
const ask = (scenario, options) => ({
  prompt: `scenario:${scenario} please`,
  maxOutputTokens: 100,
  maxRetries: 0,
  ...options,
});
const TURNS = [
  { role: "user", content: "Hello." },
  { role: "assistant", content: "Hi." },
  { role: "user", content: "scenario:chat please" },
];
const conversation = { system: s.SYSTEM, messages: TURNS, maxOutputTokens: 100, maxRetries: 0 };
const inputsOf = (calls) => calls.map((call) => call.input);

function scenarios(provide, reasoningOptions) {
  const main = provide(s.KEY);
  const usageOf = (model, usage) =>
    s.counts(model, usage.inputTokens, usage.outputTokens, usage.inputTokenDetails.cacheReadTokens ?? 0);
  return {
    models: "the SDK has no call for it",
    async chat(model) {
      const answer = await generateText({ model: main(model), ...conversation });
      s.same([answer.text, answer.finishReason], [s.CHAT_TEXT, "stop"]);
      usageOf(model, answer.usage);
    },
    async stream(model) {
      const answer = streamText({ model: main(model), ...conversation });
      const deltas = [];
      for await (const text of answer.textStream) deltas.push(text);
      s.same([deltas.join(""), await answer.finishReason], [s.CHAT_TEXT, "stop"]);
      assert.ok(deltas.length > 2, deltas);
      usageOf(model, await answer.usage);
    },
    async tools(model) {
      const answer = await generateText({ model: main(model), ...ask("tools", { tools }) });
      s.same([answer.text, answer.finishReason], [s.TOOLS_TEXT, "tool-calls"]);
      s.same(inputsOf(answer.toolCalls), s.CALLS);
    },
    async tools_stream(model) {
      const answer = streamText({ model: main(model), ...ask("tools", { tools }) });
      let pieces = 0;
      for await (const part of answer.fullStream) pieces += part.type === "tool-input-delta" ? 1 : 0;
      s.same(inputsOf(await answer.toolCalls), s.CALLS);
      assert.ok(pieces >= s.leastPieces(model), String(pieces));
    },
    async results(model) {
      const toolName = s.TOOL;
      const calls = s.CALLS.map((input, n) => ({ type: "tool-call", toolCallId: `c${n}`, toolName, input }));
      const told = s.RESULTS.map((value, n) => ({
        type: "tool-result",
        toolCallId: `c${n}`,
        toolName,
        output: { type: "text", value },
      }));
      const messages = [
        { role: "user", content: "scenario:results please" },
        { role: "assistant", content: calls },
        { role: "tool", content: told },
      ];
      const answer = await generateText({ model: main(model), messages, tools, maxRetries: 0, maxOutputTokens: 50 });
      s.same(answer.text, s.RESULTS_TEXT);
    },
    async image(model) {
      const content = [
        { type: "text", text: "scenario:image" },
        { type: "image", image: s.PNG, mediaType: "image/png" },
      ];
      const messages = [{ role: "user", content }];
      const answer = await generateText({ model: main(model), messages, maxRetries: 0, maxOutputTokens: 50 });
      s.same(answer.text, s.IMAGE_TEXT);
    },
    async structured(model) {
      const output = Output.object({ schema: Person });
      s.same((await generateText({ model: main(model), ...ask("structured"), output })).output, s.PERSON);
    },
    reasoning:
      reasoningOptions === undefined
        ? "its Chat Completions have no place for reasoning"
        : async (model) => {
            const options = { ...ask("reason"), maxOutputTokens: 4000, providerOptions: reasoningOptions };
            const answer = await generateText({ model: main(model), ...options });
            s.same([answer.text, answer.reasoningText], [s.REASON_TEXT, s.THINKING]);
            const streamed = streamText({ model: main(model), ...options });
            await streamed.consumeStream();
            s.same(await streamed.reasoningText, s.THINKING);
          },
    async errors(model) {
      const asking = (key, model, name) => () => generateText({ model: provide(key)(model), ...ask(name) });
      const is = (status, text = "") => (raised) => {
        s.same(raised.statusCode, status);
        assert.ok(raised.message.includes(text), raised.message);
      };
      await s.raises(APICallError, asking(s.NO_KEY, model, "chat"), is(401));
      await s.raises(APICallError, asking(s.KEY, "chat-nobody", "chat"), is(404));
      await s.raises(APICallError, asking(s.KEY, model, "refuse"), is(400, "no such thing"));
      await s.raises(APICallError, asking(s.KEY, model, "limit"), is(429, "slow down"));
      await s.raises(APICallError, asking(s.KEY, model, "fail"), is(502));
      await s.raises(APICallError, asking(s.TIGHT_KEY, model, "chat"), is(402));
    },
    async cancel(model) {
      const abort = new AbortController();
      const answer = streamText({ model: main(model), ...ask("hang"), abortSignal: abort.signal, onError() {} });
      for await (const text of answer.textStream) {
        if (text) {
          abort.abort();
          return;
        }
      }
      assert.fail("the stream ended");
    },
  };
}

const openai = (apiKey) => createOpenAI({ baseURL: `${s.BASE_URL}/v1`, apiKey });
const anthropic = (apiKey) => createAnthropic({ baseURL: `${s.BASE_URL}/v1`, apiKey });
await s.run("vercel, openai chat", scenarios((key) => openai(key).chat));
const responsesReasoning = { openai: { reasoningEffort: "low", reasoningSummary: "auto", forceReasoning: true } };
await s.run("vercel, openai responses", scenarios((key) => openai(key).responses, responsesReasoning));
const thinking = { anthropic: { thinking: { type: "enabled", budgetTokens: 1024 } } };
await s.run("vercel, anthropic", scenarios((key) => anthropic(key), thinking));
s.finish();
// what was aborted may keep sockets open
process.exit(0);
