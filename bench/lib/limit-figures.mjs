// What the limit cases find, as the page prints it: a figure of this checkout, and that of the one of `--against` as what was before.

const before = (label) => label.includes(' [');

export class LimitFigures {
  #rows = new Map();

  /** `most`: the target; `summary` has a median and, of enough values, a p99. */
  add(label, what, unit, { median, p99 }, most) {
    const row = this.#rows.get(what) ?? { what, unit };
    const figure = { p50: median, p99: p99 ?? null };
    this.#rows.set(what, before(label) ? { ...row, before: figure } : { ...row, ...figure, most });
  }

  list() {
    return [...this.#rows.values()];
  }
}
