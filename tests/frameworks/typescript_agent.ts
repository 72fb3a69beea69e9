// The TypeScript SDK.
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

type Turn = { tool: string; arguments: Record<string, unknown> } | { answer: string };
type Model = { next(seen: string | undefined): Turn | Promise<Turn> };

async function main(model: Model): Promise<void> {
  // A server gets only the environment that is named here: without `env` it has no key.
  const env = process.env as Record<string, string>;
  const client = new Client({ name: "director", version: "1.0.0" });
  await client.connect(new StdioClientTransport({ command: "avm-mcp", env }));
  let turn = await model.next(undefined);
  while (!("answer" in turn)) {
    let seen: string;
    try {
      const call = { name: turn.tool, arguments: turn.arguments };
      const result = await client.callTool(call, {
        // With a listener the server waits up to 45 s for the video, and tells how far it is.
        onprogress: (beat) => console.error(beat.message),
        // Left out, every call is cut after 60 s, progress or not. That does for those 45 s, not for a longer wait.
        timeout: 120_000,
      });
      seen = result.content.map((part) => (part.type === "text" ? part.text : "")).join("\n");
    } catch (error) {
      seen = `The call failed (${error}). Please try again.`;
    }
    turn = await model.next(seen);
  }
  console.log(turn.answer);
  await client.close();
}

// The model of the tests; in its place goes whatever asks yours for the next call.
const { scripted } = await import("./scripted/typescript.ts");
await main(scripted());
