// ESLint rules for the scripts of all pages, peers and tools: ESLint's own recommendation, and what else is about errors rather
// than style. `integration-tests/run` runs it from the root of the workspace.
const { configs: { recommended } } = require("@eslint/js");
const globals = require("globals");
const startUpLast = require("./start_up_last.cjs");
const scriptsInPages = require("./scripts_in_pages.cjs");

const RULES = {
  ...recommended.rules,
  "callboard/start-up-last": "error",
  // Constants stand last in a module, below the functions that use them. The rule above finds uses that run too early.
  "no-use-before-define": ["error", { functions: false, classes: false, variables: false }],
  "array-callback-return": "error",
  eqeqeq: ["error", "always", { null: "ignore" }],
  "no-caller": "error",
  "no-constructor-return": "error",
  "no-duplicate-imports": "error",
  "no-eval": "error",
  "no-extend-native": "error",
  "no-implicit-globals": "error",
  "no-implied-eval": "error",
  "no-loop-func": "error",
  "no-new-func": "error",
  "no-new-wrappers": "error",
  "no-octal-escape": "error",
  "no-proto": "error",
  "no-self-compare": "error",
  "no-sequences": "error",
  "no-template-curly-in-string": "error",
  "no-throw-literal": "error",
  "no-undef-init": "error",
  "no-unmodified-loop-condition": "error",
  "no-unreachable-loop": "error",
  "no-unused-expressions": "error",
  "no-useless-assignment": "error",
  "no-useless-call": "error",
  "no-useless-concat": "error",
  "no-useless-rename": "error",
  "no-useless-return": "error",
  "no-var": "error",
  "prefer-promise-reject-errors": "error",
  radix: "error",
  "require-atomic-updates": "error",
};

/** Scripts of pages beside programs for Node. */
const PAGES = ["integration-tests/load/src/browsers/*.js"];
/** Programs for Node. */
const NODE = ["integration-tests/load/**/*.js", "crates/signaling/js/build.js", "crates/signaling/js/tests/*.js"];
const module_ = { sourceType: "module", ecmaVersion: 2024 };
const plugins = { callboard: { rules: { "start-up-last": startUpLast }, processors: { html: scriptsInPages } } };

module.exports = [
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  { ignores: ["**/target/**"] },
  // Modules of the pages, and of the client.
  {
    files: ["examples/**/*.js", "crates/**/*.js", "crates/**/*.jsx", "**/*.html/*.js", ...PAGES],
    ignores: NODE.filter((files) => !files.includes("/load/")),
    plugins,
    languageOptions: { ...module_, globals: globals.browser, parserOptions: { ecmaFeatures: { jsx: true } } },
    rules: RULES,
  },
  { files: ["**/*.html"], plugins, processor: "callboard/html" },
  // Body of a function that a test runs in a page.
  {
    files: ["integration-tests/peers/*.js"],
    plugins,
    languageOptions: {
      sourceType: "commonjs",
      ecmaVersion: 2024,
      parserOptions: { ecmaFeatures: { globalReturn: true } },
      globals: globals.browser,
    },
    rules: RULES,
  },
  {
    files: NODE,
    ignores: PAGES,
    plugins,
    languageOptions: { ...module_, globals: globals.nodeBuiltin },
    rules: RULES,
  },
  {
    files: ["integration-tests/lint/*.cjs"],
    plugins,
    languageOptions: { sourceType: "commonjs", ecmaVersion: 2024, globals: globals.node },
    rules: { ...RULES, "callboard/start-up-last": "off" },
  },
];
