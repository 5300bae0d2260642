// Compiles the addon out of what the package has for it, with any compiler, and leaves build/ as it is.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { root } from './lib.mjs';

/**
 * Compiles the addon for `arch` and puts it into the file `to`. `environment(tool)`: variables such as CXX; `tool(name, command)` makes a
 * program of this name that runs the command with the arguments it is given.
 */
export function compile({ arch, to, environment }) {
  const folder = mkdtempSync(join(tmpdir(), 'connectx-compile-'));
  try {
    cpSync(join(root, 'native'), join(folder, 'native'), {
      recursive: true,
      filter: (path) => path !== join(root, 'native/build'),
    });
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    const tool = (name, command) => {
      const path = join(folder, name);
      writeFileSync(path, `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 });
      return path;
    };
    // Node-API needs no headers of a particular Node: those beside the running one will do, and save a download.
    const prefix = dirname(dirname(process.execPath));
    const nodedir = existsSync(join(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : [];
    const nodeGyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
    const args = ['rebuild', '-C', 'native', `--arch=${arch}`, '--loglevel=warn', '--jobs=max', ...nodedir];
    // make tells of each file on its standard output. Zig, which builds its C++ library meanwhile, warns of that library 14,000 times;
    // this project's own code is compiled with -Werror.
    const { status, error, stderr } = spawnSync(process.execPath, [nodeGyp, ...args], {
      cwd: folder,
      env: { ...process.env, ...environment(tool) },
      stdio: ['ignore', 'ignore', 'pipe'],
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
    });
    if (error) throw error;
    if (status !== 0) {
      console.error(stderr);
      process.exit(status ?? 1);
    }
    mkdirSync(dirname(to), { recursive: true });
    cpSync(join(folder, 'build/Release/connectx.node'), to);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
