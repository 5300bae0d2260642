// A guest has the host's files, but folders of its own in some places. What it needs of the host's there is put back (scripts/kernels/init).

/** Where a guest has an empty folder of its own, put there by scripts/kernels/init. */
export const COVERED = ['/run', '/tmp'];
/** What is the guest's kernel's. Nothing of the host's is to be had there. */
const KERNELS = ['/dev', '/proc', '/sys', '/lib/modules'];

const isIn = (path, folders) => folders.some((folder) => path === folder || path.startsWith(`${folder}/`));

/**
 * Of these folders of the host (absolute, without links), those that a guest has to put back.
 *
 * @throws where a guest cannot have one of them
 */
export function keep(paths) {
  for (const path of paths) {
    if (isIn(path, KERNELS)) throw new Error(`A guest cannot have ${path}: it has a file system of its own there.`);
    if (path.includes('\n')) throw new Error('A guest cannot have a folder with a line break in its name.');
    if (COVERED.includes(path))
      throw new Error(`A guest cannot have all of ${path}: it has a folder of its own there.`);
  }
  const covered = [...new Set(paths)].filter((path) => isIn(path, COVERED));
  // One that is inside another comes with it.
  return covered.filter((path) => !covered.some((other) => path !== other && isIn(path, [other])));
}
