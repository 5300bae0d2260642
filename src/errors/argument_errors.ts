// Errors with Node's own codes and wording, for what a caller got wrong.
import { inspect } from 'node:util';

function received(value: unknown): string {
  if (value === undefined || value === null) return `Received ${value}`;
  if (typeof value === 'function') return `Received function ${value.name}`;
  if (typeof value === 'object') {
    const { constructor } = value as { constructor?: { name?: string } };
    const name = constructor?.name;
    return name ? `Received an instance of ${name}` : `Received ${inspect(value, { depth: -1 })}`;
  }
  const shown = inspect(value, { colors: false });
  return `Received type ${typeof value} (${shown.length > 28 ? `${shown.slice(0, 25)}...` : shown})`;
}

function withCode<E extends Error>(error: E, code: string): E & { code: string } {
  // As Node does it: the code shows in the stack, but not in `name`.
  if (error.stack !== undefined) error.stack = error.stack.replace(error.name, `${error.name} [${code}]`);
  return Object.assign(error, { code });
}

/** `ERR_INVALID_ARG_TYPE`, with Node's wording. `expected` completes "must be". */
export function invalidType(name: string, expected: string, value: unknown): TypeError & { code: string } {
  const kind = name.includes('.') ? 'property' : 'argument';
  const message = `The "${name}" ${kind} must be ${expected}. ${received(value)}`;
  return withCode(new TypeError(message), 'ERR_INVALID_ARG_TYPE');
}

/** `ERR_INVALID_ARG_VALUE`, with Node's wording. */
export function invalidValue(name: string, value: unknown, why: string): TypeError & { code: string } {
  const kind = name.includes('.') ? 'property' : 'argument';
  const shown = inspect(value);
  const short = shown.length > 128 ? `${shown.slice(0, 128)}...` : shown;
  return withCode(new TypeError(`The ${kind} '${name}' ${why}. Received ${short}`), 'ERR_INVALID_ARG_VALUE');
}

/** `ERR_OUT_OF_RANGE`, with Node's wording. `range` completes "It must be". */
export function outOfRange(name: string, range: string, value: unknown): RangeError & { code: string } {
  const large = Number.isInteger(value) && Math.abs(value as number) > 2 ** 32;
  const shown = inspect(value, { numericSeparator: large });
  const message = `The value of "${name}" is out of range. It must be ${range}. Received ${shown}`;
  return withCode(new RangeError(message), 'ERR_OUT_OF_RANGE');
}

/** `ERR_SOCKET_BAD_PORT`, with Node's wording. */
export function badPort(name: string, value: unknown): RangeError & { code: string } {
  return withCode(new RangeError(`${name} should be >= 0 and < 65536. ${received(value)}.`), 'ERR_SOCKET_BAD_PORT');
}

/** `ERR_INVALID_IP_ADDRESS`, with Node's wording. */
export function invalidAddress(value: string): TypeError & { code: string } {
  return withCode(new TypeError(`Invalid IP address: ${value}`), 'ERR_INVALID_IP_ADDRESS');
}

/** `ERR_SOCKET_DGRAM_NOT_RUNNING`, as dgram says of a socket that is closed. */
export function notRunning(): Error & { code: string } {
  return withCode(new Error('Not running'), 'ERR_SOCKET_DGRAM_NOT_RUNNING');
}

/** `ERR_ACCESS_DENIED` of the network, as Node's permission model says it. */
export function accessDenied(cause: unknown): Error {
  const message = 'Access to this API has been restricted. Use --allow-net to manage permissions.';
  const error = withCode(new Error(message, { cause }), 'ERR_ACCESS_DENIED');
  return Object.assign(error, { permission: 'Net', resource: '' });
}
