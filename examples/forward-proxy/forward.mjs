// A plain request: its headers are rewritten for the next hop, its body and the answer are piped.
import * as http from 'node:http';
import { pipeline } from 'node:stream';
import { endToEnd } from './headers.mjs';
import { breakOff } from './tunnel.mjs';

/** RFC 9110, section 9.2.2: what a proxy may send a second time. Those with a body it cannot. */
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);

const hasBody = ({ headers }) => 'content-length' in headers || 'transfer-encoding' in headers;

/** `onFailure` is called with the error when the client can still be answered. */
export function forward(tenant, target, request, response, { timeouts }, onFailure) {
  const upstream = http.request({
    agent: tenant.agent,
    method: request.method,
    host: target.host,
    port: target.port,
    path: target.path,
    // RFC 9112, section 3.2.2: the target's, whatever the client says.
    headers: endToEnd(request, { Host: target.name, ...framing(request) }),
    setDefaultHeaders: false,
    timeout: timeouts.idle,
  });
  upstream.on('timeout', () => upstream.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })));
  upstream.on('continue', () => response.writeContinue());
  upstream.on('response', (answer) => {
    // Its own date, or none.
    response.sendDate = false;
    try {
      // Nobody has asked for another protocol: the header of that request was for the first hop.
      if (answer.statusCode < 200) throw new Error(`an answer with status ${answer.statusCode}`);
      response.writeHead(answer.statusCode, answer.statusMessage, endToEnd(answer));
    } catch (error) {
      // The parser lets through what may not be sent, a control character in the status line for one.
      upstream.destroy();
      onFailure(error);
      return;
    }
    // After the last byte of a connection that is used once, who closes first has it in TIME-WAIT, and the port with it.
    // Reset, it is gone; HAProxy does so, too. (Before core's own listener, which would close it.)
    if (!upstream.shouldKeepAlive) answer.prependOnceListener('end', () => answer.socket.resetAndDestroy());
    pipeline(answer, response, (error) => {
      if (error) response.destroy();
    });
  });
  upstream.on('error', (error) => {
    if (response.destroyed) return;
    if (response.headersSent) {
      // An end would look like the end of the answer.
      response.destroy();
    } else if (upstream.reusedSocket && error.code === 'ECONNRESET' && SAFE.has(request.method) && !hasBody(request)) {
      // The server closed a connection that was kept for it, just as it was to be used again. Others may be as old, but
      // each is used up by this, and a new one is none of them.
      forward(tenant, target, request, response, { timeouts }, onFailure);
    } else {
      onFailure(error);
    }
  });
  // The client has gone: what is under way for it has no purpose any more.
  response.once('close', () => {
    // Destroyed, it has given its socket back to the agent, or has none.
    if (!upstream.destroyed && upstream.socket) breakOff(upstream.socket);
    upstream.destroy();
  });
  // A client that waits for 100 (Continue) sends nothing before.
  upstream.flushHeaders();
  request.pipe(upstream);
}

/** A body of unknown length stays one, also with methods for which core would expect none. */
function framing({ headers }) {
  return 'transfer-encoding' in headers ? { 'Transfer-Encoding': 'chunked' } : {};
}
