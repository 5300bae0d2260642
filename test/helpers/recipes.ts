// The programs of docs/recipes.md: read from the page, and run as a user would, with the packages that they import.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import ts from 'typescript';
import { libraryFolder } from './libraries.js';
import { need } from './needs.js';
import { folderWith } from './programs.js';
import { track } from './sockets.js';

const root = join(import.meta.dirname, '../..');

export interface Recipe {
  /** The heading above it, and its number where there are several below one. */
  name: string;
  code: string;
}

/** Every program of a section (`##`) of the page, in its order. */
export function recipesOf(section: string): Recipe[] {
  const page = readFileSync(join(root, 'docs/recipes.md'), 'utf8');
  const text = page.split(/^## /m).find((part) => part.startsWith(`${section}\n`)) ?? '';
  return text.split(/^### /m).flatMap((part) => {
    const [library = ''] = part.split('\n');
    const blocks = [...part.matchAll(/^```[jt]s\n(.*?)^```$/gms)];
    return blocks.map(({ 1: code = '' }, n) => ({ name: n === 0 ? library : `${library}, ${n + 1}`, code }));
  });
}

/** The program without its types. */
export function javaScriptOf(code: string): string {
  const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, verbatimModuleSyntax: true };
  return ts.transpileModule(code, { compilerOptions }).outputText;
}

/** A replacement in a program: what must be there, and what comes in its place. */
export type Change = readonly [from: string, to: string];

/** The program with these changes, each of which must apply. */
export function changed({ name, code }: Recipe, changes: readonly Change[]): Recipe {
  let text = code;
  for (const [from, to] of changes) {
    if (!text.includes(from)) throw new Error(`the recipe for ${name} has no ${from}`);
    text = text.replace(from, to);
  }
  return { name, code: text };
}

export interface Run {
  process: ChildProcess;
  output: { stdout: string; stderr: string };
  /** The exit code, when it has ended. */
  ended: Promise<number | null>;
}

export interface RunOptions {
  args?: readonly string[];
  /** As in /etc/hosts. */
  hosts?: string;
  /** Where an import is to be another package: its name, and the one in node_modules. */
  packages?: Readonly<Record<string, string>>;
  env?: NodeJS.ProcessEnv;
}

/** Starts the program in a folder in which the packages that it imports are installed; killed after the test. */
export function start({ code }: Recipe, { args = [], hosts = '', packages = {}, env = {} }: RunOptions = {}): Run {
  const folder = folderWith({ 'recipe.mjs': javaScriptOf(code), hosts: `127.0.0.1 localhost\n${hosts}\n` });
  const imported = [...code.matchAll(/ from '((?:@[\w-]+\/)?[\w-]+)(?:\/[\w-]+)?'/g)].map(([, name = '']) => name);
  for (const name of new Set(imported)) {
    const target = name === 'connectx' ? root : libraryFolder(packages[name] ?? name);
    const link = join(folder, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(target, link);
  }
  need('mount');
  const command = 'mount --bind hosts /etc/hosts && exec "$0" recipe.mjs "$@"';
  const child = spawn('unshare', ['-m', 'sh', '-ec', command, process.execPath, ...args], {
    cwd: folder,
    env: { ...process.env, NODE_NO_WARNINGS: '1', ...env },
  });
  track({ close: () => void child.kill('SIGKILL') });
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (data) => (output.stdout += String(data)));
  child.stderr.on('data', (data) => (output.stderr += String(data)));
  const ended = once(child, 'close').then(([status]) => status as number | null);
  return { process: child, output, ended };
}
