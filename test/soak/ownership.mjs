// Who has had which 4-tuple when? The clients tell of each flow when it has begun and before it ends, so that of two flows that
// overlap here one has been overshadowed. No I/O.

/**
 * Events are `[time, 'open', tuple, flow]`, `[time, 'close', tuple, flow]` and `[time, 'heard', tuple, flow, from]`: the flow was
 * sent what is for the flow `from`.
 */
export class Ownership {
  #events = [];
  /** client -> up to when it has told everything. */
  #told = new Map();
  /** tuple -> Map of flow -> client */
  #owners = new Map();
  #open = new Map();
  flows = 0;
  /** What was for a flow that had ended: on its way when the 4-tuple changed hands. */
  stale = 0;
  overshadowed = [];

  /** A client is there, which will tell. */
  begin(client, time) {
    this.#told.set(client, time);
  }

  /** What has happened in it up to `time`. */
  tell(client, time, events) {
    if (!this.#told.has(client)) return;
    this.#told.set(client, time);
    for (const event of events) this.#events.push([...event, client]);
  }

  /** It was killed. Whether it had closed a flow since it told last is not known, so that all of them end where it ended to tell. */
  kill(client) {
    const told = this.#told.get(client);
    for (const event of this.#events) {
      if (event.at(-1) === client && event[1] === 'open')
        this.#events.push([told, 'close', event[2], event[3], client]);
    }
    for (const [flow, { tuple, client: owner }] of this.#open) {
      if (owner === client) this.#events.push([told, 'close', tuple, flow, client]);
    }
    this.#told.delete(client);
  }

  /** It has told all. */
  end(client) {
    this.#told.delete(client);
  }

  /** Goes through what has happened up to when all of them have told; `finally` through all. */
  settle({ finally: all = false } = {}) {
    const until = all ? Infinity : Math.min(...this.#told.values());
    this.#events.sort(([one], [other]) => one - other);
    let done = 0;
    while (done < this.#events.length && this.#events[done][0] <= until) this.#happen(this.#events[done++]);
    this.#events.splice(0, done);
  }

  #happen([, kind, tuple, flow, ...rest]) {
    const owners = this.#owners.get(tuple);
    if (kind === 'open') {
      this.flows++;
      for (const other of owners ?? []) this.overshadowed.push(`${tuple}: ${flow} while ${other} had it`);
      if (owners === undefined) this.#owners.set(tuple, new Set([flow]));
      else owners.add(flow);
      this.#open.set(flow, { tuple, client: rest[0] });
    } else if (kind === 'close') {
      owners?.delete(flow);
      if (owners?.size === 0) this.#owners.delete(tuple);
      this.#open.delete(flow);
    } else if (this.#open.has(rest[0])) this.overshadowed.push(`${tuple}: ${flow} heard what was for ${rest[0]}`);
    else this.stale++;
  }
}
