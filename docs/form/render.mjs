// Draws spec.json as Airbyte's web app shows it, with every tooltip open, into form.png.
//
//   node render.mjs [--spec FILE] [--picture FILE] [--values FILE] [--folded]
//
// --values fills the form in from a JSON file and shows the errors of wrong values.
// --folded draws what a user sees first: tooltips closed, optional fields folded away.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

import Form from "@rjsf/core";
import validator from "@rjsf/validator-ajv8";
import { createElement as h } from "react";
import { renderToStaticMarkup } from "react-dom/server";

const WIDTH = 800;
const { values: options } = parseArgs({
  options: {
    spec: { type: "string", default: join(import.meta.dirname, "../../source_calltouch_sms/spec.json") },
    picture: { type: "string", default: join(import.meta.dirname, "form.png") },
    values: { type: "string" },
    folded: { type: "boolean", default: false },
  },
});
const readJson = (file) => JSON.parse(readFileSync(file, "utf8"));
const schema = readJson(options.spec).connectionSpecification;

const isRequired = (name) => schema.required.includes(name);
const isShown = (name) => isRequired(name) || Boolean(schema.properties[name].always_show);
const descriptor = (property) => property.pattern_descriptor ?? property.items?.pattern_descriptor;

/** Required and always shown first, then by `order`. */
function fieldOrder() {
  const { properties } = schema;
  return Object.keys(properties).sort(
    (a, b) => isShown(b) - isShown(a) || properties[a].order - properties[b].order,
  );
}

/** What is wrong with the values, by setting, in the words of Airbyte's form instead of ajv's. */
function errorsOf(values) {
  const errors = {};
  for (const { name: rule, property, params, message } of validator.validateFormData(values, schema).errors) {
    const [, name] = property.split(".");
    if (rule === "format") continue; // which Airbyte does not check: the pattern does
    const messages = {
      required: "Required",
      minLength: "Required",
      pattern: `The value must match the pattern ${descriptor(schema.properties[name])}`,
      minimum: `Must be greater than or equal to ${params.limit}`,
      maximum: `Must be less than or equal to ${params.limit}`,
    };
    errors[name] = new Set([...(errors[name] ?? []), messages[rule] ?? message]);
  }
  return errors;
}

const values = options.values && readJson(options.values);
const errors = values ? errorsOf(values) : {};

const example = (value) => h("code", { key: String(value) }, Array.isArray(value) ? value.join(", ") : String(value));

function Field({ id, label, schema: property, children }) {
  if (property.type === "object") return children;
  const name = id.replace("root_", "");
  const wrong = [...(errors[name] ?? [])];
  const isSwitch = property.type === "boolean";
  const title = h(
    "div",
    { className: "title" },
    isSwitch && children,
    h("b", null, label),
    h("i", null, "i"),
    !isRequired(name) && !isSwitch && h("small", null, "Optional"),
    h("small", { className: "format" }, descriptor(property)),
  );
  const tooltip = h(
    "div",
    { className: "tooltip" },
    h("p", { dangerouslySetInnerHTML: { __html: property.description } }),
    property.examples && h("p", null, "Examples: ", property.examples.map(example)),
  );
  return h(
    "section",
    { className: wrong.length ? "wrong" : "" },
    title,
    !options.folded && tooltip,
    !isSwitch && children,
    wrong.map((error) => h("p", { key: error, className: "error" }, error)),
  );
}

function Sections({ properties }) {
  const content = (shown) => properties.filter(({ name }) => isShown(name) === shown).map((field) => field.content);
  return h(
    "main",
    null,
    h("h1", null, schema.title),
    content(true),
    h("details", { open: !options.folded }, h("summary", null, "Optional fields"), content(false)),
  );
}

const box = (type) =>
  function Box({ schema: property, value }) {
    const isDefaultNumber = property.type === "integer" && value === property.default;
    return h("input", {
      type: property.type === "integer" ? "number" : type,
      defaultValue: isDefaultNumber ? undefined : value,
      placeholder: isDefaultNumber ? value : undefined,
    });
  };

const widgets = {
  TextWidget: box("text"),
  UpDownWidget: box("number"),
  PasswordWidget: box("password"),
  DateWidget: ({ value }) => h("div", { className: "box" }, value, h("span", { className: "picker" })),
  CheckboxWidget: ({ value }) => h("span", { className: value ? "switch on" : "switch" }),
  Tags: ({ value = [] }) => h("div", { className: "box" }, value.map((tag) => h("code", { key: tag }, tag, " ×"))),
};

function widgetOf(property) {
  if (property.airbyte_secret) return { "ui:widget": "password" };
  return property.type === "array" ? { "ui:widget": "Tags" } : {};
}

const css = `
  body { margin: 0; background: #f8f8fa; font: 14px/1.45 Inter, "DejaVu Sans", sans-serif; color: #1a194d; }
  main { margin: 20px; padding: 24px 28px 8px; background: #fff; border-radius: 10px; border: 1px solid #e8e8ed; }
  h1 { font-size: 18px; margin: 0 0 20px; }
  section { margin-bottom: 22px; }
  .title { display: flex; align-items: center; gap: 7px; margin-bottom: 5px; }
  .title b { font-weight: 500; }
  .title i { width: 14px; height: 14px; border-radius: 50%; background: #afafc1; color: #fff;
             font: bold 10px/14px serif; text-align: center; }
  small { font-size: 11px; color: #717189; }
  .format { margin-left: auto; }
  .tooltip { margin-bottom: 7px; padding: 7px 11px; background: #f1f0ff; border-radius: 6px; font-size: 13px; }
  p { margin: 0; }
  .tooltip p + p { margin-top: 5px; color: #717189; }
  code { display: inline-block; margin: 1px 6px 1px 0; padding: 0 5px; font: 12px/1.6 "DejaVu Sans Mono", monospace;
         background: #fff; border: 1px solid #d9d9e0; border-radius: 4px; color: #1a194d; overflow-wrap: anywhere; }
  input, .box { box-sizing: border-box; width: 100%; min-height: 36px; padding: 6px 10px; font: inherit; color: inherit;
                border: 1px solid #d9d9e0; border-radius: 6px; background: #fff; }
  ::placeholder { color: #afafc1; }
  .picker { float: right; box-sizing: border-box; width: 14px; height: 14px; margin-top: 4px;
            border: 1px solid #717189; border-top-width: 4px; border-radius: 3px; }
  .switch { width: 30px; height: 16px; border-radius: 8px; background: #d9d9e0; position: relative; }
  .switch::after { content: ""; position: absolute; inset: 2px auto 2px 2px; width: 12px; border-radius: 50%; background: #fff; }
  .switch.on { background: #615eff; }
  .switch.on::after { left: 16px; }
  .wrong input, .wrong .box { border-color: #dd2b3f; }
  .error { margin-top: 4px; font-size: 12px; color: #dd2b3f; }
  details { border-top: 1px solid #e8e8ed; margin: 0 -28px; padding: 16px 28px 8px; }
  summary { font-weight: 500; margin-bottom: 18px; }
`;

const form = h(Form, {
  schema,
  uiSchema: {
    "ui:order": fieldOrder(),
    "ui:submitButtonOptions": { norender: true },
    ...Object.fromEntries(Object.entries(schema.properties).map(([name, property]) => [name, widgetOf(property)])),
  },
  formData: values,
  experimental_defaultFormStateBehavior: { arrayMinItems: { populate: "never" } },
  validator,
  widgets,
  templates: { FieldTemplate: Field, ObjectFieldTemplate: Sections },
});
const script = "document.title = document.documentElement.scrollHeight";
const page = `<!doctype html><meta charset="utf-8"><style>${css}</style>${renderToStaticMarkup(form)}<script>${script}</script>`;

const browser = process.env.CHROMIUM ?? "chromium";
const folder = mkdtempSync(join(tmpdir(), "form-"));

function chromium(...args) {
  const common = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"];
  const offline = ["--disable-background-networking", "--disable-component-update", "--disable-sync"];
  const url = pathToFileURL(join(folder, "form.html")).href;
  const run = spawnSync(browser, [...common, ...offline, `--user-data-dir=${join(folder, "user")}`, ...args, url], {
    encoding: "utf8",
    timeout: 60_000,
  });
  if (run.error?.code === "ENOENT") {
    throw new Error(`No ${browser} here: install Chromium, or set CHROMIUM to a browser's path.`);
  }
  if (run.error || run.status !== 0) throw new Error(`${browser} failed: ${run.error ?? run.stderr}`);
  return run.stdout;
}

try {
  writeFileSync(join(folder, "form.html"), page);
  const [, height] = chromium(`--window-size=${WIDTH},300`, "--dump-dom").match(/<title>(\d+)<\/title>/);
  chromium(`--window-size=${WIDTH},${height}`, `--screenshot=${resolve(options.picture)}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
