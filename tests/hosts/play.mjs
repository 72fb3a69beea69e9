// Plays a plan (see story.py) with a client of the TypeScript SDK, and prints what came of it as one JSON object.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

export const plan = JSON.parse(readFileSync(0, "utf8"));
// The packages are not beside this file: they are installed under .hosts/.
export const load = createRequire(plan.modules);

export function transport(Stdio, Http) {
  const { command, args, env, url } = plan.where;
  return url ? new Http(new URL(url)) : new Stdio({ command, args, env, stderr: "inherit" });
}

export async function play(client, call, more = {}) {
  // Listing first is what makes the client check every result against the tool's output schema.
  const tools = (await client.listTools()).tools;
  const steps = {};
  for (const [name, { tool, arguments: given, progress }] of Object.entries(plan.steps)) {
    steps[name] = await step(call, tool, filled(given, steps), progress);
  }
  await client.close();
  console.log(JSON.stringify({ tools: tools.map((tool) => tool.name), steps, ...more }));
}

async function step(call, name, given, progress) {
  const start = performance.now();
  const seconds = () => (performance.now() - start) / 1000;
  const beats = [];
  const onprogress = (beat) => beats.push({ at: seconds(), ...beat });
  try {
    const result = await call({ name, arguments: given }, progress ? { onprogress } : {});
    return {
      is_error: result.isError === true,
      structured: result.structuredContent,
      text: result.content.filter((part) => part.type === "text").map((part) => part.text).join("\n"),
      links: result.content.filter((part) => part.type === "resource_link").map((part) => part.uri),
      beats,
      seconds: seconds(),
    };
  } catch (error) {
    return { thrown: String(error), seconds: seconds(), beats };
  }
}

function filled(given, steps) {
  const value = (v) => (typeof v === "string" && v.startsWith("$") ? steps[v.slice(1)].structured.task_id : v);
  return Object.fromEntries(Object.entries(given).map(([name, v]) => [name, value(v)]));
}
