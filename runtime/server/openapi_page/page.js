// Shows /openapi.json. All text goes in as text, never as markup.
const make = (tag, text, ...children) => {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
};

const spec = await (await fetch("/openapi.json")).json();
const about = document.querySelector("#about");
about.replaceChildren(make("span", `${spec.info.description} Version ${spec.info.version}. The same in a form for programs: `), Object.assign(make("a", "openapi.json"), { href: "/openapi.json" }));

const resolve = (schema) => (schema?.$ref ? spec.components.schemas[schema.$ref.split("/").pop()] : schema);
const kind = (schema) => {
  schema = resolve(schema) ?? {};
  if (schema.anyOf) return schema.anyOf.map(kind).filter((one) => one !== "null").join(" or ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (schema.contentEncoding) return "file (base64 in JSON)";
  if (schema.type === "array") return `list of ${kind(schema.items)}`;
  return schema.type ?? "object";
};

function table(schema) {
  const order = ([name, field]) => ((schema.required ?? []).includes(name) ? 0 : kind(field).startsWith("file") ? 1 : 2);
  const rows = Object.entries(schema.properties ?? {}).sort((a, b) => order(a) - order(b)).map(([name, field]) => {
    const required = (schema.required ?? []).includes(name);
    const fallback = required ? "required" : field.default === undefined || field.default === null ? "" : JSON.stringify(field.default);
    return make("tr", "", make("td", "", make("code", name)), make("td", kind(field)), make("td", fallback), make("td", field.description ?? ""));
  });
  const head = make("tr", "", make("th", "Field"), make("th", "Type"), make("th", "Default"), make("th", "Meaning"));
  return make("table", "", make("thead", "", head), make("tbody", "", ...rows));
}

function example(path, schema) {
  const fields = Object.entries(schema.properties ?? {}).filter(([name, field]) => (schema.required ?? []).includes(name) || ["a", "b", "image"].includes(name));
  const forms = fields.map(([name]) => `-F ${name}=@${name}.jpg`).join(" ");
  if (path.endsWith("generate")) return `curl -H 'Content-Type: application/json' -d '{"seeds": [0, 1]}' ${location.origin}${path}`;
  const more = path.endsWith("edit") ? ` -F 'directions={"NAME": 0.8}'` : "";
  return `curl ${forms}${more} -H 'Accept: image/png' -o result.png ${location.origin}${path}`;
}

const list = document.querySelector("#operations");
for (const [path, verbs] of Object.entries(spec.paths)) {
  for (const [verb, operation] of Object.entries(verbs)) {
    const section = make("section", "", make("h2", "", make("code", `${verb.toUpperCase()} ${path}`), make("span", operation.summary ?? "")));
    const schema = resolve(operation.requestBody?.content["application/json"]?.schema);
    if (schema) section.append(make("p", schema.description ?? ""), table(schema), make("pre", example(path, schema)));
    const answer = resolve(operation.responses?.["200"]?.content?.["application/json"]?.schema);
    if (answer?.properties) section.append(make("p", "Answer"), table(answer));
    list.append(section);
  }
}
