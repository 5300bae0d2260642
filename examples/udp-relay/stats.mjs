// What the relay counts. Datagrams that it drops are counted by the reason, and by nothing else.

export class Stats {
  flows = {
    opened: 0,
    /** Idle for too long. */
    evicted: 0,
    /** Had to make room for a newcomer. */
    replaced: 0,
    /** A QUIC client has another address. */
    moved: 0,
    failed: 0,
  };
  datagrams = { up: 0, down: 0 };
  bytes = { up: 0, down: 0 };
  dropped = {
    /** The flow's own queue is full while it is being opened, or its socket has no room. */
    queue: 0,
    /** The socket that clients send to has no room. */
    replies: 0,
    /** `limits.flows` */
    flows: 0,
    /** `limits.flowsPerClient` */
    client: 0,
    /** `limits.opening` */
    opening: 0,
    /** No source port is free towards the upstream. */
    exhausted: 0,
    /** The flow could not be opened for any other reason. */
    failed: 0,
    /** The kernel refused to send, or reported that an earlier datagram was refused. */
    send: 0,
    /** A client that came after SIGTERM. */
    stopping: 0,
    /** Not in `clients`. */
    stranger: 0,
    /** Port 0, or an address of the relay's own ends: nobody who could have sent it. */
    unanswerable: 0,
    /** More than a client may get that has sent one datagram. */
    unproven: 0,
  };

  passed(direction, datagrams, bytes) {
    this.datagrams[direction] += datagrams;
    this.bytes[direction] += bytes;
  }
}
