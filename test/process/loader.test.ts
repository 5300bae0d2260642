// Where the addon comes from, what is said when it does not come, and what happens when its thread ends.
import { mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BUILT_ADDON, install, pack, PREBUILT, type Packed, type Project } from '../helpers/package.js';

let packed: Packed;
beforeAll(async () => {
  packed = await pack();
});
afterAll(() => packed.remove());

const projects: Project[] = [];
afterEach(() => {
  for (const project of projects.splice(0)) project.remove();
});

function project(options?: Parameters<typeof install>[1]): Project {
  const made = install(packed, options);
  projects.push(made);
  return made;
}

interface Said {
  native: boolean;
  nativeError: Shown | null;
  connect: Shown | 'connecting';
  socket: Shown | 'connecting';
  sys: Shown | 'opened';
}

interface Shown {
  message: string;
  code?: string;
  reason?: string;
  cause?: string;
  known: boolean;
}

const TRY = `
import { capabilities, connect, ConnectxError, Socket } from 'connectx';
import * as sys from 'connectx/sys';
const show = (error) =>
  error && { message: error.message, code: error.code, reason: error.reason, cause: error.cause?.message, known: error instanceof ConnectxError };
const attempt = (act, done) => {
  try {
    act();
    return done;
  } catch (error) {
    return show(error);
  }
};
const { native, nativeError } = capabilities();
console.log(JSON.stringify({
  native,
  nativeError: show(nativeError) ?? null,
  connect: attempt(() => connect({ host: '127.0.0.1', port: 9 }).on('error', () => {}), 'connecting'),
  socket: attempt(() => new Socket().connect(9, '127.0.0.1').on('error', () => {}), 'connecting'),
  sys: attempt(() => sys.close(sys.socket(2, 1)), 'opened'),
}));
`;

async function said(where: Project): Promise<Said> {
  where.write('try.mjs', TRY);
  return JSON.parse(await where.node('try.mjs')) as Said;
}

const works = { native: true, nativeError: null, connect: 'connecting', socket: 'connecting', sys: 'opened' };

describe('the addon loads', () => {
  test('from build/Release', async () => {
    expect(await said(project({ addon: readFileSync(BUILT_ADDON) }))).toEqual(works);
  });

  test('from prebuilds, as prebuildify names it', async () => {
    const where = project({ addon: readFileSync(BUILT_ADDON) });
    mkdirSync(dirname(join(where.package, PREBUILT)), { recursive: true });
    renameSync(join(where.package, 'build/Release/connectx.node'), join(where.package, PREBUILT));
    rmSync(join(where.package, 'build'), { recursive: true });
    expect(await said(where)).toEqual(works);
  });
});

describe('the addon does not load: the package imports, and every use says why and what to do', () => {
  /** What must be said is said wherever the addon is needed, and by `capabilities()`. */
  function expectRefusal(answer: Said, message: RegExp, cause: RegExp): void {
    const { native, nativeError, ...uses } = answer;
    expect(native).toBe(false);
    expect(nativeError).toMatchObject({ code: 'ERR_CONNECTX_UNSUPPORTED', reason: 'native-addon', known: true });
    expect(nativeError?.message).toMatch(message);
    expect(nativeError?.message).toContain(`${process.platform}-${process.arch}, Node ${process.versions.node}`);
    expect(nativeError?.message).toContain('npx node-gyp rebuild');
    expect(nativeError?.message).not.toContain('\n');
    expect(nativeError?.cause).toMatch(cause);
    for (const use of Object.values(uses)) expect(use).toEqual(nativeError);
  }

  test('there is none', async () => {
    const where = project();
    const answer = await said(where);
    expectRefusal(answer, /^native-addon is not supported here: no connectx binary for /, /No native build was found/);
    expect(answer.nativeError?.message).toContain(where.package);
    expect(answer.nativeError?.message).toContain('Reinstall connectx');
  });

  test.each([
    { name: 'a text', addon: () => Buffer.from('this is no binary\n'.repeat(100)), words: 'invalid ELF header' },
    { name: 'nothing', addon: () => Buffer.alloc(0), words: 'file too short' },
    {
      name: 'the beginning of the binary',
      addon: () => readFileSync(BUILT_ADDON).subarray(0, 40),
      words: 'file too short',
    },
    {
      name: 'a binary of another machine',
      addon: () => {
        const bytes = readFileSync(BUILT_ADDON);
        const [E_MACHINE, EM_S390] = [18, 22];
        bytes.writeUInt16LE(EM_S390, E_MACHINE);
        return bytes;
      },
      words: 'cannot open shared object file',
    },
  ])('there is $name in its place: the words of dlopen', async ({ addon, words }) => {
    const where = project({ addon: addon() });
    const answer = await said(where);
    expectRefusal(answer, /did not load on /, new RegExp(words));
    expect(answer.nativeError?.message).toContain(words);
    expect(answer.nativeError?.message).toContain(join(where.package, 'build/Release/connectx.node'));
  });

  test('node-gyp-build is missing', async () => {
    const answer = await said(project({ addon: readFileSync(BUILT_ADDON), without: 'node-gyp-build' }));
    expectRefusal(answer, /Cannot find module 'node-gyp-build'/, /Cannot find module 'node-gyp-build'/);
  });

  test('it is not wanted: then nothing is wrong', async () => {
    const where = project();
    where.write('disable.cjs', `process.env.CONNECTX_DISABLE_NATIVE = '1';`);
    where.write('try.mjs', TRY);
    const answer = JSON.parse(await where.node('--require', './disable.cjs', 'try.mjs')) as Said;
    expect(answer).toMatchObject({ native: false, nativeError: null, connect: 'connecting', socket: 'connecting' });
    expect(answer.sys).toMatchObject({ code: 'ERR_CONNECTX_UNSUPPORTED', reason: 'connectx/sys' });
  });
});

describe('worker threads', () => {
  test('several load it, and it still works when they have ended', async () => {
    const where = project({ addon: readFileSync(BUILT_ADDON) });
    where.write(
      'threads.cjs',
      `
      const { Worker, isMainThread, parentPort } = require('node:worker_threads');
      const sys = require('connectx/sys');
      const works = () => {
        const fd = sys.socket(2, 1);
        const { family } = sys.getsockname(fd);
        sys.close(fd);
        return family;
      };
      if (!isMainThread) {
        parentPort.postMessage(works());
      } else (async () => {
        for (let round = 0; round < 3; round++) {
          const workers = [1, 2, 3].map(() => new Worker(__filename));
          const answers = await Promise.all(workers.map((worker) => new Promise((resolve, reject) => {
            worker.once('message', resolve);
            worker.once('error', reject);
          })));
          await Promise.all(workers.map((worker) => worker.terminate()));
          console.log(answers.join(), works());
        }
      })();`,
    );
    expect(await where.node('threads.cjs')).toBe('IPv4,IPv4,IPv4 IPv4\n'.repeat(3));
  });

  // From then on no Node-API call works in it, in the middle of whatever native code does.
  test.each([
    ['answers with an object', `sys.getsockname(fd)`],
    ['answers with bytes', `sys.getsockopt(fd, 1, 57, 8)`],
    [
      'reads options',
      `try { connect({ host: '127.0.0.1', port: 9, interface: 'nosuch0', socketOptions: [{ level: 1, name: 9, value: 1 }] }).on('error', () => {}) } catch {}`,
    ],
    [
      'is loaded',
      `for (const path of Object.keys(require.cache)) if (path.includes('connectx')) delete require.cache[path]; require('connectx')`,
    ],
  ])('terminate() while the addon %s leaves the process alive', async (_, statement) => {
    const where = project({ addon: readFileSync(BUILT_ADDON) });
    where.write(
      'terminate.cjs',
      `
      const { Worker, isMainThread, parentPort } = require('node:worker_threads');
      const { connect } = require('connectx');
      const sys = require('connectx/sys');
      if (!isMainThread) {
        const fd = sys.socket(2, 1);
        parentPort.postMessage('ready');
        for (;;) { ${statement} }
      } else (async () => {
        for (let round = 0; round < 12; round++) {
          const worker = new Worker(__filename);
          await new Promise((resolve) => worker.once('message', resolve));
          await worker.terminate();
        }
        console.log('alive');
      })();`,
    );
    expect(await where.node('terminate.cjs')).toBe('alive\n');
  });
});
