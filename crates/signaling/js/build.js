// Joins the modules of src/ into one, dist/callboard.js, which the server serves and the package exports.
//
//   node build.js
//
// Each module's text stays as it is; only imports go, and `export` where src/index.js does not export the name too.
// Modules stand below those that they import. `tsc` then checks the whole, and writes its types (package.json).

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

const IMPORT = /^import \{[^}]*\} from "\.\/([\w.]+)";\n/gm;
const TYPE_IMPORT = /^\/\*\* @import \{[^}]*\} from "\.\/([\w.]+)" \*\/\n/gm;
const EXPORT_FROM = /^export \{([^}]*)\} from "\.\/([\w.]+)";\n/gm;
const DECLARATION = /^(export )?(?:async )?(?:function|class|const|let) (\w+|[[{][^=]*?[\]}])/gm;

const folder = new URL("src/", import.meta.url);
const read = (name) => readFileSync(new URL(name, folder), "utf8");
const found = (text, pattern, group) => [...text.matchAll(pattern)].map((match) => match[group]);

/** Adds a module to the list, below those that it imports. `path`: the modules that lead to it. */
function add(name, list, path = []) {
  if (path.includes(name)) throw new Error(`import cycle: ${[...path, name].join(" → ")}`);
  if (list.includes(name)) return;
  const text = read(name);
  const imported = [...found(text, IMPORT, 1), ...found(text, EXPORT_FROM, 2)];
  for (const other of imported) add(other, list, [...path, name]);
  list.push(name);
}

/** Returns all modules: first those with types alone, which nothing imports when it runs. */
function modules() {
  const list = [];
  add("index.js", list);
  const types = new Set(list.flatMap((name) => found(read(name), TYPE_IMPORT, 1)));
  return [...[...types].filter((name) => !list.includes(name)), ...list];
}

function build() {
  const index = read("index.js");
  const names = found(index, EXPORT_FROM, 1).flatMap((list) => list.split(",").map((name) => name.trim()));
  const [head] = /^\/\*\*[^]*?\*\/\n/.exec(index);
  const declared = new Map();
  const parts = modules().map((name) => {
    const text = name === "index.js" ? index.slice(head.length) : read(name);
    for (const [, , what] of text.matchAll(DECLARATION)) {
      for (const one of what.match(/\w+/g)) {
        if (declared.has(one)) throw new Error(`${one} is declared in ${declared.get(one)} and in ${name}`);
        declared.set(one, name);
      }
    }
    const stripped = text.replace(IMPORT, "").replace(TYPE_IMPORT, "").replace(EXPORT_FROM, "");
    const isPublic = (what) => name === "index.js" || names.includes(what);
    return stripped.replace(DECLARATION, (all, exported, what) => (exported && !isPublic(what) ? all.slice(exported.length) : all)).trim();
  });
  const left = parts.join("\n").match(/^(import|export (\{|\*|default)).*/m);
  if (left) throw new Error(`not understood: ${left[0]}`);
  const whole = ["// @ts-check\n// Made from the modules in src/ by build.js: change those.\n\n" + head.trim(), ...parts];
  return whole.join("\n\n").replace(/\n{3,}/g, "\n\n") + "\n";
}

mkdirSync(new URL("dist/", import.meta.url), { recursive: true });
writeFileSync(new URL("dist/callboard.js", import.meta.url), build());
