// Checks manifests against the schemas of the APIs of Kubernetes, cert-manager and the Prometheus Operator, strictly: a field
// that the schema does not have is an error too, where an API server would drop it silently. Reads a JSON array of objects from standard input,
// writes one line a problem, exits with 1 when there is one. Run below the node_modules of tools/package.json.
//
// The published validators are compiled and lenient about unknown fields, but they read every field that they know: so what
// is there and was never read is unknown. A map with keys of one's own (labels) is read by listing it.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const load = (file) => import(pathToFileURL(join(process.cwd(), "node_modules", `${file}.js`)));

const GROUPS = {
  "cert-manager.io": "@kubernetes-models/cert-manager/_schemas/ComGithubCertManagerCertManagerPkgApisCertmanager",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator/_schemas/ComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoring",
};

function schemaOf({ apiVersion, kind }) {
  const [group, version] = apiVersion.includes("/") ? apiVersion.split("/") : ["core", apiVersion];
  const upper = (text) => text[0].toUpperCase() + text.slice(1);
  const place = GROUPS[group] ?? `kubernetes-models/_schemas/IoK8sApi${upper(group.split(".")[0])}`;
  return `${place}${upper(version)}${kind}`;
}

// The value, watched: `seen` collects for each object which fields were read, and whether it was listed.
function watched(value, seen, known = new Map()) {
  if (value === null || typeof value !== "object") return value;
  if (known.has(value)) return known.get(value);
  const record = { fields: new Set(), listed: Array.isArray(value) };
  seen.set(value, record);
  const proxy = new Proxy(value, {
    get(target, field) {
      record.fields.add(field);
      return watched(target[field], seen, known);
    },
    ownKeys(target) {
      record.listed = true;
      return Reflect.ownKeys(target);
    },
  });
  known.set(value, proxy);
  return proxy;
}

function unknownFields(value, seen, path) {
  if (value === null || typeof value !== "object") return [];
  const record = seen.get(value);
  if (record === undefined) return [];
  return Object.keys(value).flatMap((field) =>
    record.listed || record.fields.has(field)
      ? unknownFields(value[field], seen, `${path}/${field}`)
      : [`${path}/${field}: the API has no such field`]);
}

let bad = 0;
for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const name = `${object.kind} ${object.metadata?.name}`;
  const { validate } = await load(schemaOf(object));
  const seen = new Map();
  const problems = [];
  if (!validate(watched(object, seen))) {
    for (const e of validate.errors) problems.push(`${e.instancePath}: ${e.keyword} ${JSON.stringify(e.params)}`);
  }
  problems.push(...unknownFields(object, seen, ""));
  for (const problem of problems) console.log(`${name}: ${problem}`);
  bad += problems.length;
}
process.exit(bad === 0 ? 0 : 1);
