// Tests of the rule: it finds code that would fail while a module loads, and allows constants at the end.
// `integration-tests/run` runs this.
const { RuleTester } = require("eslint");
const rule = require("./start_up_last.cjs");

const tester = new RuleTester({ languageOptions: { sourceType: "module", ecmaVersion: 2024 } });
const errors = [{ messageId: "tooEarly" }];

tester.run("start-up-last", rule, {
  valid: [
    "function f() { return X; } const X = 1; f();",
    "const f = () => X; const X = 1; f();",
    "export class A { m() { return X; } } const X = 1;",
    "export class A { member = X; } const X = 1;",
    "import { f } from './f.js'; f(); const X = 1;",
    "export default function f() { return X; } const X = 1;",
    "export { f }; function f() { return X; } const X = 1;",
    "f(); function f() { var x = 1; return x; } const x = 2;",
    "f(); function f() { return v; } var v = 1;",
  ],
  invalid: [
    // The page that stayed at "Starting…".
    { code: "const name = own(); function own() { return NAMES[0]; } const NAMES = [];", errors },
    { code: "start(); function start() { go(); } function go() { return X; } const X = 1;", errors },
    { code: "start(); function start() { return new A(); } class A {}", errors },
    { code: "const a = new A(); class A {}", errors },
    { code: "const a = X; const X = 1;", errors },
    { code: "const f = () => X; f(); const X = 1;", errors },
    { code: "class A { m() { return X; } } new A().m(); const X = 1;", errors },
    { code: "class A { static x = X; } const X = 1;", errors },
    { code: "class A extends B {} class B {}", errors },
    // The rule does not know when this is called.
    { code: "setInterval(() => X); let X = 1;", errors },
    { code: "export const a = f(); function f() { return X; } const X = 1;", errors },
  ],
});
