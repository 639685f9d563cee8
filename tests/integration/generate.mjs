// Writes what quicktype makes of the two schemas, whose folder is the argument, as JSON to stdout.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(new URL("../../.node/", import.meta.url));
const { FetchingJSONSchemaStore, InputData, JSONSchemaInput, quicktype } = require("quicktype-core");

const input = new JSONSchemaInput(new FetchingJSONSchemaStore());
for (const name of ["authorization-granted.v1", "authorization-failed.v1"]) {
  const schema = readFileSync(join(process.argv[2], `${name}.json`), "utf8");
  await input.addSource({ name, schema });
}
const inputData = new InputData();
inputData.addInput(input);
const code = {};
for (const lang of ["typescript", "python", "java", "go"]) {
  code[lang] = (await quicktype({ inputData, lang })).lines.join("\n");
}
console.log(JSON.stringify(code));
