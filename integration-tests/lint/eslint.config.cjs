// ESLint rules for the scripts of all pages and peers. `integration-tests/run` runs it from the root of the workspace.
const globals = require("globals");
const startUpLast = require("./start_up_last.cjs");
const scriptsInPages = require("./scripts_in_pages.cjs");

const RULES = {
  "callboard/start-up-last": "error",
  "no-undef": "error",
  "no-unused-vars": ["error", { caughtErrors: "all" }],
  // Constants stand last in a module, below the functions that use them. The rule above finds uses that run too early.
  "no-use-before-define": ["error", { functions: false, classes: false, variables: false }],
  "no-const-assign": "error",
  "no-redeclare": "error",
  "no-dupe-keys": "error",
  "no-dupe-class-members": "error",
  "no-unreachable": "error",
  "no-unsafe-finally": "error",
  "no-unused-private-class-members": "error",
  "no-constant-binary-expression": "error",
  "no-self-assign": "error",
  "no-shadow-restricted-names": "error",
  "use-isnan": "error",
  "valid-typeof": "error",
  "constructor-super": "error",
  "no-this-before-super": "error",
  "getter-return": "error",
};

const module_ = { sourceType: "module", ecmaVersion: 2024 };
const plugins = { callboard: { rules: { "start-up-last": startUpLast }, processors: { html: scriptsInPages } } };

module.exports = [
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  { ignores: ["**/target/**"] },
  // Modules of the pages.
  {
    files: ["examples/**/*.js", "crates/**/*.js", "**/*.html/*.js"],
    plugins,
    languageOptions: { ...module_, globals: globals.browser },
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
  // Programs for Node.
  {
    files: ["integration-tests/load/**/*.js"],
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
