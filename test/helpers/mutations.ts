// Random damage to bytes, the same for the same seed.

/** Mulberry32: numbers from 0 up to, not including, 1. */
export function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const pick = <T>(list: readonly T[], random: () => number): T => list[Math.floor(random() * list.length)] as T;

/** One to four changes: bytes replaced, taken out, doubled, swapped with others, or one of the `words` put in. */
export function mutated(original: Uint8Array, words: readonly string[], random: () => number): Buffer {
  let bytes = Buffer.from(original);
  for (let left = 1 + Math.floor(random() * 4); left > 0; left--) {
    const at = Math.floor(random() * (bytes.length + 1));
    const end = Math.min(bytes.length, at + 1 + Math.floor(random() ** 3 * 64));
    const [before, part, after] = [bytes.subarray(0, at), bytes.subarray(at, end), bytes.subarray(end)];
    const change = pick(['replace', 'remove', 'double', 'move', 'insert', 'insert'], random);
    if (change === 'replace') bytes = Buffer.concat([before, part.map(() => Math.floor(random() * 256)), after]);
    else if (change === 'remove') bytes = Buffer.concat([before, after]);
    else if (change === 'double') bytes = Buffer.concat([before, part, part, after]);
    else if (change === 'move') bytes = Buffer.concat([part, before, after]);
    else bytes = Buffer.concat([before, Buffer.from(pick(words, random), 'latin1'), part, after]);
  }
  return bytes;
}
