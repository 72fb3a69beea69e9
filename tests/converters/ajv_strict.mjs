// AJV in strict mode, of draft-07 (the TypeScript SDK's own) and of 2020-12: input and output schemas, and what they take.
import { Ajv } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";

import { tell, version } from "./reply.mjs";

const ERROR = { error: { code: "INTERNAL", message: "m", retryable: false, charged: "no", next_step: "n" } };

function by(Kind) {
  return ({ inputSchema, outputSchema, calls }) => {
    const input = new Kind({ strict: true }).compile(inputSchema);
    for (const given of calls) if (!input(given)) throw new Error(JSON.stringify(input.errors));
    const output = new Kind({ strict: true }).compile(outputSchema);
    if (!output(ERROR)) throw new Error(JSON.stringify(output.errors));
    const filled = structuredClone(calls[0]);
    new Kind({ strict: true, useDefaults: true }).compile(inputSchema)(filled);
    if (JSON.stringify(Object.entries(filled).sort()) !== JSON.stringify(Object.entries(calls[1]).sort()))
      throw new Error(`filled in: ${JSON.stringify(filled)}`);
    return inputSchema;
  };
}

await tell(`ajv ${version("ajv")}`, { "draft-07": by(Ajv), "2020-12": by(Ajv2020) });
