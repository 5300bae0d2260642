// Rules of this project for the linter: what keeps a file of src/ simple.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** State lives in the language: a class that has many fields to change is a machine that should be a loop. */
const mutableFields = {
  meta: { type: 'suggestion', schema: [{ type: 'integer' }] },
  create(context) {
    const [most] = context.options;
    return {
      ClassBody(node) {
        // What is declared under a plain name is the shape of an error; a field under a symbol is `computed`, and state.
        const fields = node.body.filter(
          (member) =>
            member.type === 'PropertyDefinition' &&
            !member.readonly &&
            !member.static &&
            (!member.declare || member.computed),
        );
        const parameters = node.body
          .filter(({ kind }) => kind === 'constructor')
          .flatMap(({ value }) => value.params)
          .filter(({ type, readonly }) => type === 'TSParameterProperty' && readonly !== true);
        const count = fields.length + parameters.length;
        if (count > most) context.report({ node, message: `${count} fields that are not readonly: at most ${most}.` });
      },
    };
  },
};

const imported = new Map();

/** The files of src/ that a file imports, types too. */
function importsOf(file) {
  const known = imported.get(file);
  if (known !== undefined) return known;
  const named = readFileSync(file, 'utf8').matchAll(/^(?:import|export|\}) [^;]*?from '(\.[^']+)';$/gm);
  const files = [...named].map(([, path]) => `${join(dirname(file), path)}.ts`).filter((path) => existsSync(path));
  imported.set(file, files);
  return files;
}

/** Which way leads from this file back to it; undefined: none does. */
function wayBack(to, from = to, seen = new Set()) {
  for (const next of importsOf(from)) {
    if (next === to) return [from];
    if (seen.has(next)) continue;
    seen.add(next);
    const way = wayBack(to, next, seen);
    if (way !== undefined) return [from, ...way];
  }
  return undefined;
}

const noCircle = {
  meta: { type: 'problem', schema: [] },
  create(context) {
    return {
      Program(node) {
        const way = wayBack(context.filename);
        if (way !== undefined) context.report({ node, message: `Files that import each other: ${way.join(', ')}.` });
      },
    };
  },
};

export default { rules: { 'mutable-fields': mutableFields, 'no-circle': noCircle } };
