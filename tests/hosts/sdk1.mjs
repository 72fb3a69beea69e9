// @modelcontextprotocol/sdk 1.x: it checks structured content against the output schema, that of errors too.
import { load, play, transport } from "./play.mjs";

const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = load("@modelcontextprotocol/sdk/client/stdio.js");
const { StreamableHTTPClientTransport } = load("@modelcontextprotocol/sdk/client/streamableHttp.js");

const client = new Client({ name: "hosts-sdk1", version: "1" });
await client.connect(transport(StdioClientTransport, StreamableHTTPClientTransport));
await play(client, (params, options) => client.callTool(params, undefined, options));
