// Where the output of a command goes: standard output, or a file that is replaced as a whole.
import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, openSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Given } from './arguments';

/** The mode of the file that is there, so that whoever could read it can go on to; undefined where there is none. */
function modeOf(file: string): number | undefined {
  const status = statSync(file, { throwIfNoEntry: false });
  if (status === undefined) return undefined;
  // rename(2) would put a file in the place of the device or pipe.
  if (!status.isFile()) throw new Error('it is there, and is no regular file');
  return status.mode & 0o777;
}

function replace(file: string, text: string): void {
  const mode = modeOf(file) ?? 0o644;
  // In the same folder, so that rename(2) can; not *.prom, which the textfile collector would read.
  const beside = join(dirname(file), `.${basename(file)}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`);
  const fd = openSync(beside, 'wx', mode);
  try {
    try {
      writeFileSync(fd, text);
      // A disk that is full may say so no earlier.
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(beside, file);
  } catch (error) {
    unlinkSync(beside);
    throw error;
  }
}

/** Writes the text to the file beside, and renames it: a reader finds the old text or the new one, and so it stays when this fails. */
export function writeWhole({ typed, text: file }: Given, text: string): void {
  try {
    replace(file, text);
  } catch (error) {
    throw new Error(`${typed} ${file}: ${(error as Error).message}`, { cause: error });
  }
}
