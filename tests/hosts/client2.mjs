// @modelcontextprotocol/client 2.x, at the newest revision that the server speaks.
import { load, play, transport } from "./play.mjs";

const { Client, StreamableHTTPClientTransport } = load("@modelcontextprotocol/client");
const { StdioClientTransport } = load("@modelcontextprotocol/client/stdio");

const client = new Client({ name: "hosts-client2", version: "1" }, { versionNegotiation: { mode: "auto" } });
await client.connect(transport(StdioClientTransport, StreamableHTTPClientTransport));
const spoken = client.getNegotiatedProtocolVersion();
if (spoken !== "2026-07-28") throw new Error(`it speaks ${spoken}`);
await play(client, (params, options) => client.callTool(params, options));
