// docs/million.md says what docs/million/figures.json says.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { chartsOf, pageWith } from '../../bench/million/document.mjs';

interface Figures {
  runs: { technique: string; open: number; checks: { what: string; holds: boolean }[] }[];
}

describe('docs/million.md', () => {
  const read = (name: string) => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8');
  const figures = JSON.parse(read('million/figures.json')) as Figures;

  test('its figures are those of the run', () => {
    const page = read('million.md');
    expect(pageWith(figures, page)).toBe(page);
  });

  test('its charts are those of the run', async () => {
    for (const [name, svg] of Object.entries(await chartsOf(figures))) expect(read(`million/${name}.svg`)).toBe(svg);
  });

  test('every check of the run holds, and the million is one', () => {
    expect(figures.runs.flatMap(({ checks }) => checks.filter(({ holds }) => !holds))).toEqual([]);
    const udp = figures.runs.find(({ technique }) => technique === 'connectUdp');
    expect(udp?.open).toBe(1_000_000);
  });
});
