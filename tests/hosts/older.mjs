// @modelcontextprotocol/sdk 1.x of any age, named by the plan: it speaks the newest revision that it knows.
import { load, plan, play, transport } from "./play.mjs";

const { Client } = load(`${plan.where.client}/client/index.js`);
const { StdioClientTransport } = load(`${plan.where.client}/client/stdio.js`);
const Http = plan.where.url && load(`${plan.where.client}/client/streamableHttp.js`).StreamableHTTPClientTransport;

const wire = transport(StdioClientTransport, Http);
let spoken;
const start = wire.start.bind(wire);
wire.start = async () => {
  const heard = wire.onmessage;
  wire.onmessage = (message, extra) => {
    spoken ??= message.result?.protocolVersion;
    heard?.(message, extra);
  };
  await start();
};

const client = new Client({ name: "hosts-older", version: "1" }, { capabilities: {} });
await client.connect(wire);
await play(client, (params, options) => client.callTool(params, undefined, options), { spoken });
