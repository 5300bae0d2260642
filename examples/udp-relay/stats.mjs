// What the relay counts. Datagrams that it drops are counted by the reason, and by nothing else.

export class Stats {
  flows = { opened: 0, evicted: 0, failed: 0 };
  datagrams = { up: 0, down: 0 };
  bytes = { up: 0, down: 0 };
  dropped = {
    /** The flow's own queue is full: while it is being opened, or on its way to the upstream. */
    queue: 0,
    /** What waits to be sent to clients is too much. */
    replies: 0,
    /** `limits.flows` */
    flows: 0,
    /** `limits.flowsPerClient` */
    client: 0,
    /** No source port is free towards the upstream. */
    exhausted: 0,
    /** The flow could not be opened for any other reason. */
    failed: 0,
    /** The kernel refused to send, or reported that an earlier datagram was refused. */
    send: 0,
    /** A client that came after SIGTERM. */
    stopping: 0,
  };

  passed(direction, length) {
    this.datagrams[direction]++;
    this.bytes[direction] += length;
  }
}
