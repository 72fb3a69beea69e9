// zod-from-json-schema: the Zod schema takes the calls, and says the same as JSON schema again.
import { convertJsonSchemaToZod } from "zod-from-json-schema";
import { z } from "zod";

import { tell, version } from "./reply.mjs";

function input({ inputSchema, calls }) {
  const schema = convertJsonSchemaToZod(inputSchema);
  for (const given of calls) schema.parse(given);
  return z.toJSONSchema(schema, { io: "input" });
}

await tell(`zod-from-json-schema ${version("zod-from-json-schema")}, zod ${version("zod")}`, { Zod: input });
