// ESLint rule: code that runs while a module loads must reach no `const`, `let` or `class` declared below it.
//
// `no-use-before-define` looks at positions in the text: it either misses the declarations that a function uses when it
// is called too early, or forbids constants below the functions that use them. This rule follows the uses of each
// top-level statement through every function and class that it names, and so finds every "Cannot access … before
// initialization".

module.exports = {
  meta: {
    type: "problem",
    schema: [],
    messages: { tooEarly: "'{{name}}' is declared below, on line {{line}}, and this runs while the module loads: put it last." },
  },
  create(context) {
    const { scopeManager } = context.sourceCode;
    return {
      "Program:exit"(program) {
        const references = allReferences(scopeManager.globalScope);
        const top = new Set(scopeManager.scopes.filter(({ block }) => block === program));
        for (const statement of program.body) {
          for (const { name, line, at } of reachedBelow(statement, references, top)) {
            context.report({ node: at, messageId: "tooEarly", data: { name, line } });
          }
        }
      },
    };
  },
};

/** Yields the declarations below this statement that it reaches when it runs. */
function* reachedBelow(statement, references, top) {
  const seen = new Set();
  // Parts of the text that may run, each with the reference of this statement that led there.
  const pieces = running(statement).map((piece) => ({ piece, from: null }));
  for (const { piece, from } of pieces) {
    for (const reference of references) {
      const { identifier, resolved } = reference;
      if (!within(identifier, piece) || !resolved || !top.has(resolved.scope) || seen.has(resolved)) continue;
      seen.add(resolved);
      const at = from ?? identifier;
      for (const { type, node, name } of resolved.defs) {
        if (type === "FunctionName") {
          pieces.push({ piece: node, from: at });
        } else if (type === "Variable" || type === "ClassName") {
          // A function that was assigned, or a class, may run as well.
          pieces.push({ piece: node, from: at });
          if (type === "Variable" && node.parent.kind === "var") continue;
          if (name.range[0] > statement.range[1]) yield { name: resolved.name, line: name.loc.start.line, at };
        }
      }
    }
  }
}

/** Returns the parts of a top-level statement that run while the module loads. */
function running(statement) {
  const declaration = statement.declaration ?? statement;
  switch (declaration.type) {
    case "ImportDeclaration":
    case "ExportNamedDeclaration":
    case "ExportAllDeclaration":
    case "FunctionDeclaration":
      return [];
    case "ClassDeclaration":
      return runningInClass(declaration);
    case "VariableDeclaration":
      return declaration.declarations.flatMap(({ init }) => (init ? runningInValue(init) : []));
    default:
      return [declaration];
  }
}

function runningInValue(value) {
  if (value.type === "ArrowFunctionExpression" || value.type === "FunctionExpression") return [];
  return value.type === "ClassExpression" ? runningInClass(value) : [value];
}

function runningInClass({ superClass, body }) {
  const members = body.body.flatMap((member) => {
    if (member.type === "StaticBlock") return [member];
    const value = member.type === "PropertyDefinition" && member.static && member.value;
    return [...(member.computed ? [member.key] : []), ...(value ? runningInValue(value) : [])];
  });
  return [...(superClass ? [superClass] : []), ...members];
}

function allReferences(scope) {
  return [...scope.references, ...scope.childScopes.flatMap(allReferences)];
}

function within({ range: [start, end] }, { range: [from, to] }) {
  return from <= start && end <= to;
}
