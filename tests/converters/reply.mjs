// What every script in JavaScript does, as `reply.py` does it in Python.
import { readFileSync } from "node:fs";

export const tools = JSON.parse(readFileSync(0, "utf8"));

/** Returns a tool as the protocol has it. */
export function published({ calls, ...tool }) {
  return tool;
}

/** Converts each tool in each way, and prints what came of it: a schema, or why there is none. */
export async function tell(library, ways) {
  const told = {};
  for (const [way, convert] of Object.entries(ways)) {
    told[way] = {};
    for (const tool of tools) {
      try {
        told[way][tool.name] = await convert(tool);
      } catch (error) {
        told[way][tool.name] = `${error}`.slice(0, 500);
      }
    }
  }
  console.log(JSON.stringify({ library, ways: told }));
}

/** Returns the version of an installed package. */
export function version(name) {
  return JSON.parse(readFileSync(new URL(`../node_modules/${name}/package.json`, import.meta.url), "utf8")).version;
}
