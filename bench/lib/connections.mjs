// Opening and closing many connections, for the tasks of TCP cases.

/**
 * Opens `total` connections, at most `concurrency` of them under way, and resolves with the sockets when all are connected.
 * Each of them counts for what the listener has to drain later.
 */
export function openAll(connect, total, concurrency = 16) {
  return new Promise((resolve, reject) => {
    const sockets = [];
    let connected = 0;
    const open = () => {
      const socket = connect();
      sockets.push(socket);
      socket.once('error', reject);
      socket.once('connect', onConnect);
    };
    const onConnect = () => {
      connected++;
      if (sockets.length < total) open();
      else if (connected === total) resolve(sockets);
    };
    if (total === 0) resolve(sockets);
    while (sockets.length < Math.min(concurrency, total)) open();
  });
}

/**
 * Resets all of them. A reset, not an orderly close: the side that closes first keeps its tuple in TIME-WAIT for a minute, and
 * the ports of one slice would be missing in the next.
 */
export function resetAll(sockets) {
  return new Promise((resolve) => {
    let left = sockets.length;
    if (left === 0) resolve();
    for (const socket of sockets) {
      socket.once('close', () => {
        left--;
        if (left === 0) resolve();
      });
      socket.resetAndDestroy();
    }
  });
}

/** Opens and resets `total` connections, at most `concurrency` of them at a time. */
export function churn(connect, total, concurrency) {
  return new Promise((resolve, reject) => {
    let opened = 0;
    let closed = 0;
    function reset() {
      this.resetAndDestroy();
    }
    const open = () => {
      opened++;
      const socket = connect();
      socket.once('error', reject);
      socket.once('connect', reset);
      socket.once('close', onClose);
    };
    const onClose = () => {
      closed++;
      if (opened < total) open();
      else if (closed === total) resolve();
    };
    while (opened < Math.min(concurrency, total)) open();
  });
}
