// Evaluates policies as AWS does: reads simulations as JSON from stdin, and writes whether each is allowed.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../.node/", import.meta.url));
const { runSimulation } = require("@cloud-copilot/iam-simulate");

const results = [];
for (const simulation of JSON.parse(readFileSync(0, "utf8"))) {
  const { resultType, errors, result, overallResult } = await runSimulation(simulation, {});
  if (resultType !== "single" || result.ignoredContextKeys.length > 0) {
    const ignored = result?.ignoredContextKeys;
    throw new Error(JSON.stringify({ request: simulation.request, errors, ignored }));
  }
  results.push(overallResult === "Allowed");
}
console.log(JSON.stringify(results));
