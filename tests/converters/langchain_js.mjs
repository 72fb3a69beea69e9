// LangChain in JavaScript: the tools of its MCP adapters, called, and as they go to Gemini and to OpenAI.
import { loadMcpTools } from "@langchain/mcp-adapters";
import { convertToOpenAITool } from "@langchain/core/utils/function_calling";
import { ChatGoogleGenerativeAI } from "@langchain/google-genai";

import { published, tell, version } from "./reply.mjs";

async function made(tool) {
  const client = {
    listTools: async () => ({ tools: [published(tool)] }),
    callTool: async ({ arguments: given }) => ({ content: [{ type: "text", text: JSON.stringify(given) }] }),
  };
  const [found] = await loadMcpTools("avm", client);
  return found;
}

async function called(tool) {
  const found = await made(tool);
  for (const given of tool.calls) {
    const took = JSON.parse(await found.invoke(given));
    for (const name of Object.keys(given))
      if (JSON.stringify(took[name]) !== JSON.stringify(given[name])) throw new Error(`${name} arrives otherwise`);
  }
  return found.schema;
}

async function gemini(tool) {
  const model = new ChatGoogleGenerativeAI({ apiKey: "x", model: "gemini-2.5-flash" });
  const { tools } = model.invocationParams({ tools: [await made(tool)] });
  const [{ functionDeclarations }] = tools;
  // Its dialect has no word for a tool without parameters.
  return functionDeclarations[0].parameters ?? { type: "object", properties: {} };
}

await tell(`@langchain/mcp-adapters ${version("@langchain/mcp-adapters")}`, {
  call: called,
  Gemini: gemini,
  OpenAI: async (tool) => convertToOpenAITool(await made(tool)).function.parameters,
});
