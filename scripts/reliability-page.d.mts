export interface Row {
  what: string;
  tried: number;
  failed: number;
  detail: string;
}

/** What `report()` of lib.mjs writes. */
export interface Run {
  name: string;
  command: string;
  date: string;
  commit?: string;
  node: string;
  kernel: string;
  arch: string;
  rows: Row[];
}

export const SECTIONS: readonly { title: string; reports: RegExp; text: string; together?: boolean }[];
export function pageOf(runs: readonly Run[]): string;
