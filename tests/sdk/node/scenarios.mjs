// What every client SDK is asked to do (../scenarios.json), what must come of it, and the runner that reports
// it: the same as ../scenarios.py for the SDKs of node.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

export const BASE_URL = process.env.BASE_URL;
export const KEY = process.env.API_KEY;
export const TIGHT_KEY = process.env.TIGHT_KEY;
export const NO_KEY = "sk-nobody-0123456789";
const MODELS = process.env.MODELS.split(",");
const NAMES = JSON.parse(readFileSync(new URL("../scenarios.json", import.meta.url)));

export const SYSTEM = "Be brief.";
export const CHAT_TEXT = "3 turns after `Be brief.`";
export const TOOL = "get_weather";
export const TOOL_SCHEMA = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "array", items: { type: "integer" } } },
  required: ["city"],
};
export const CALLS = [{ city: "Zürich" }, { city: "Oslo", days: [1, 2] }];
export const TOOLS_TEXT = "I look.";
export const RESULTS = ["sunny", "rain"];
export const RESULTS_TEXT = "results: sunny, rain";
export const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABh6FO1AAAAABJRU5ErkJggg==";
export const IMAGE_TEXT = `images: image/png, ${PNG.length} base64 characters`;
export const PERSON = { name: "Ada", age: 36 };
export const THINKING = "Six times seven.";
export const REASON_TEXT = "It is 42.";
export const SIGNATURE = "c2lnbmF0dXJl";

const report = { passed: {}, absent: {}, failed: {}, seconds: {} };

export const same = (actual, expected) => assert.deepEqual(actual, expected);

// `prompt` with what was read from the cache, `cached` among it; Cohere tells no cached tokens.
export function counts(model, prompt, completion, cached) {
  same([prompt, completion, cached ?? 0], [21, 9, model === "chat-cohere" ? 0 : 5]);
}

// How many pieces the arguments of two calls come in at least: Gemini sends them whole.
export const leastPieces = (model) => (["chat-gemini", "chat-vertex-gemini"].includes(model) ? 2 : 5);

// The models whose provider sends Anthropic's dialect, with its signatures.
export const isAnthropics = (model) => ["chat-anthropic", "chat-vertex-claude"].includes(model);

export async function raises(error, call, check = () => {}) {
  try {
    await call();
  } catch (raised) {
    assert.ok(raised instanceof error, `${raised?.constructor?.name} is not ${error.name}: ${raised}`);
    check(raised);
    return;
  }
  assert.fail(`no ${error.name}`);
}

// Runs every scenario against every model.
export async function run(client, scenarios) {
  const began = performance.now();
  same(Object.keys(scenarios).sort(), [...NAMES].sort());
  for (const [name, scenario] of Object.entries(scenarios)) {
    if (typeof scenario === "string") {
      (report.absent[client] ??= {})[name] = scenario;
      continue;
    }
    for (const model of MODELS) {
      try {
        await scenario(model);
        ((report.passed[client] ??= {})[model] ??= []).push(name);
      } catch (error) {
        report.failed[`${client}, ${name}, ${model}`] = String(error?.stack ?? error).slice(0, 1500);
      }
    }
  }
  report.seconds[client] = Math.round(performance.now() - began) / 1000;
}

export function finish() {
  console.log(JSON.stringify(report));
}
