// Vercel's AI SDK: the tools of its MCP client, in the requests that it sends to Gemini and to OpenAI.
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createMCPClient } from "@ai-sdk/mcp";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText } from "ai";

import { published, tell, version } from "./reply.mjs";

/** A server that lists one tool. */
function transport(tool) {
  const answers = {
    initialize: ({ protocolVersion }) => ({
      protocolVersion,
      capabilities: { tools: {} },
      serverInfo: { name: "avm-mcp", version: "1" },
    }),
    "tools/list": () => ({ tools: [published(tool)] }),
  };
  return {
    async start() {},
    async close() {},
    async send({ id, method, params }) {
      if (id === undefined) return;
      const answer = answers[method]
        ? { result: answers[method](params) }
        : { error: { code: -32601, message: `no ${method}` } };
      queueMicrotask(() => this.onmessage({ jsonrpc: "2.0", id, ...answer }));
    },
  };
}

async function sent(tool, model) {
  const client = await createMCPClient({ transport: transport(tool) });
  let body;
  const fetch = async (_url, request) => {
    body = JSON.parse(request.body);
    throw new Error("that was all");
  };
  const tools = await client.tools();
  await generateText({ model: model(fetch), tools, prompt: "x", maxRetries: 0 }).catch((error) => {
    if (body === undefined) throw error;
  });
  return body.tools;
}

async function gemini(tool) {
  const model = (fetch) => createGoogleGenerativeAI({ apiKey: "x", fetch })("gemini-2.5-flash");
  const [{ functionDeclarations }] = [await sent(tool, model)].flat();
  const [{ parameters, parametersJsonSchema }] = functionDeclarations;
  return parameters ?? parametersJsonSchema ?? { type: "object", properties: {} };
}

async function openai(tool) {
  const [found] = await sent(tool, (fetch) => createOpenAI({ apiKey: "x", fetch }).responses("gpt-5"));
  return found.parameters;
}

await tell(`ai ${version("ai")}, @ai-sdk/mcp ${version("@ai-sdk/mcp")}`, { Gemini: gemini, OpenAI: openai });
