// The API reference, made of the docstrings: `npm run docs:api` writes it to docs/api, which git ignores. A public name without a
// docstring, or a link that leads nowhere, is an error (typedoc.json).
import { run } from './lib.mjs';

run('npx', ['typedoc', '--logLevel', 'Warn']);
