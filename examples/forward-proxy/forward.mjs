// A plain request: its headers are rewritten for the next hop, its body and the answer are piped.
import * as http from 'node:http';
import { pipeline } from 'node:stream';
import { breakOff } from './connections.mjs';
import { timedOut } from './failures.mjs';
import { endToEnd, framing, hasBody } from './headers.mjs';

/** RFC 9110, section 9.2.2: what a proxy may send a second time. Those with a body it cannot. */
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);

/** Answers with a status of 100 to 199 before the one that counts; nobody has a use for more. */
const MOST_INTERIM = 16;

/** `onFailure` is called with the error when the client can still be answered. */
export function forward(tenant, target, request, response, { limits, timeouts }, onFailure) {
  const mayRepeat = SAFE.has(request.method) && !hasBody(request);
  let isRetry = false;
  let current = send();
  // The client has gone: what is under way for it has no purpose any more.
  response.once('close', () => {
    // Destroyed, it has given its socket back to the agent, or has none.
    if (!current.destroyed && current.socket) breakOff(current.socket);
    current.destroy();
  });

  function send() {
    const upstream = http.request({
      agent: tenant.agent,
      session: target.session,
      method: request.method,
      host: target.host,
      port: target.port,
      path: target.path,
      // RFC 9112, section 3.2.2: the target's, whatever the client says.
      headers: endToEnd(request, { Host: target.name, ...framing(request) }),
      setDefaultHeaders: false,
      timeout: timeouts.idle,
      maxHeaderSize: limits.headerBytes,
      insecureHTTPParser: false,
    });
    // Every header counts: by default those after the first 1,000 are parsed, and left out.
    upstream.maxHeadersCount = 0;
    upstream.on('timeout', () => upstream.destroy(timedOut('no answer')));
    limitAnswerTime(upstream, timeouts.idle);
    limitInterim(upstream, request, response);
    upstream.on('response', (answer) => pass(upstream, answer));
    upstream.on('error', (error) => fail(upstream, error));
    // However it ends: the answer that begins another protocol is no error, for one.
    upstream.on('close', () => {
      if (upstream === current && !response.headersSent && !response.destroyed) onFailure(new Error('no answer'));
    });
    if (hasBody(request)) {
      // A client that waits for 100 (Continue) sends nothing before.
      upstream.flushHeaders();
      request.pipe(upstream);
    } else upstream.end();
    return upstream;
  }

  function pass(upstream, answer) {
    // Its own date, or none.
    response.sendDate = false;
    try {
      // Nobody has asked for another protocol: the header of that request was for the first hop.
      if (answer.statusCode < 200) throw new Error(`an answer with status ${answer.statusCode}`);
      response.writeHead(answer.statusCode, answer.statusMessage, endToEnd(answer, lengthOf(answer)));
    } catch (error) {
      // The parser lets through what may not be sent, a control character in the status line for one.
      upstream.destroy();
      onFailure(error);
      return;
    }
    // Where the source is not wanted, its next request goes out from another one.
    if (tenant.answered(answer)) upstream.shouldKeepAlive = false;
    // After the last byte of a connection that is used once, who closes first has it in TIME-WAIT, and the port with it.
    // Reset, it is gone; HAProxy does so, too. (Before core's own listener, which would close it.)
    if (!upstream.shouldKeepAlive) answer.prependOnceListener('end', () => answer.socket.resetAndDestroy());
    pipeline(answer, response, (error) => {
      if (error) response.destroy();
    });
  }

  function fail(failed, error) {
    if (response.destroyed) return;
    if (response.headersSent) {
      // An end would look like the end of the answer.
      response.destroy();
    } else if (!isRetry && mayRepeat && failed.reusedSocket && error.code === 'ECONNRESET') {
      // The server closed a connection that was kept for it, just as it was to be used again. Others may be as old: a new one is
      // asked, once.
      isRetry = true;
      tenant.closeIdle();
      current = send();
    } else {
      onFailure(error);
    }
  }
}

/** Where the length is unknown, core frames the answer as this client understands it. */
const lengthOf = (answer) => ('transfer-encoding' in answer.headers ? {} : framing(answer));

/** From the end of the request to the answer: bytes that are never the end of its headers do not put it off. */
function limitAnswerTime(upstream, ms) {
  let timer;
  let isOver = false;
  upstream.once('finish', () => {
    // An answer may begin before the request has ended.
    if (!isOver) timer = setTimeout(() => upstream.destroy(timedOut('no answer')), ms);
  });
  for (const event of ['response', 'close']) {
    upstream.once(event, () => {
      isOver = true;
      clearTimeout(timer);
    });
  }
}

/** 100 (Continue) goes to a client that has asked for it, once; a server may not send others of its kind without end. */
function limitInterim(upstream, request, response) {
  if (/^100-continue$/i.test(request.headers.expect ?? '')) upstream.once('continue', () => response.writeContinue());
  let count = 0;
  upstream.on('information', () => {
    if (++count > MOST_INTERIM) upstream.destroy(new Error('interim answers without end'));
  });
}
