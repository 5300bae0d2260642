// Prints, as JSON, which machine this is and what connectx finds in it.
import { createRequire } from 'node:module';
import { release } from 'node:os';
import { join } from 'node:path';
import { root } from '../lib.mjs';

const { capabilities } = createRequire(import.meta.url)(join(root, 'dist/index.js'));
const { nativeError, ...rest } = capabilities();
console.log(
  JSON.stringify({
    machine: { node: process.version, kernel: release(), arch: process.arch },
    capabilities: { ...rest, ...(nativeError && { nativeError: nativeError.message }) },
  }),
);
