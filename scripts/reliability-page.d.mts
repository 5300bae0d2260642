export interface Row {
  what: string;
  tried: number;
  failed: number;
  detail?: string;
}

export interface Run {
  name: string;
  command: string;
  date: string;
  commit?: string;
  node: string;
  kernel: string;
  arch: string;
  lacks?: string[];
  rows: Row[];
}

export function isKnown(name: string): boolean;
export function kept(run: Run): Run;
export function pageOf(runs: readonly Run[]): string;
