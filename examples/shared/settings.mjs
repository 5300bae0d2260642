// Settings from a JSON file. A mistake in it ends the program at its start, with the name of the setting: a limit that is
// ignored because it is misspelt shows only when it is needed.
import { readFileSync } from 'node:fs';
import { Blocks } from './addresses.mjs';

export class SettingsError extends Error {}

/** The object in the file. */
export function readSettings(file) {
  const text = readFileSync(file, 'utf8');
  let settings;
  try {
    settings = JSON.parse(text);
  } catch (error) {
    // Its message quotes the text around the mistake, in which there may be a password; only the place is passed on.
    const [, position] = /at position (\d+)/.exec(error.message) ?? [];
    const line = position === undefined ? '' : `, line ${text.slice(0, Number(position)).split('\n').length}`;
    throw new SettingsError(`${file}${line}: this is not JSON`);
  }
  return object(settings, file);
}

export function object(value, name) {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) fail(name, 'must be an object');
  return value;
}

export function boolean(value, name) {
  if (typeof value !== 'boolean') fail(name, 'must be true or false');
  return value;
}

export function string(value, name) {
  if (typeof value !== 'string' || value === '') fail(name, 'must be a string that is not empty');
  return value;
}

export function strings(value, name) {
  if (!Array.isArray(value)) fail(name, 'must be a list of strings');
  return value.map((item, index) => string(item, `${name}[${index}]`));
}

/** Addresses and CIDR blocks. */
export function blocks(value, name) {
  try {
    return new Blocks(strings(value, name));
  } catch (error) {
    if (error instanceof SettingsError) throw error;
    return fail(name, error.message);
  }
}

export function integer(value, name, low, high) {
  if (!Number.isInteger(value) || value < low || value > high) fail(name, `must be an integer from ${low} to ${high}`);
  return value;
}

export const port = (value, name) => integer(value, name, 1, 65535);

/** An object of numbers, each with its default; `0x7fffffff` is the longest that a timer of Node can be set to. */
export function numbers(value = {}, name, defaults) {
  only(object(value, name), name, Object.keys(defaults));
  const pairs = Object.entries(defaults).map(([key, initial]) => [
    key,
    integer(value[key] ?? initial, `${name}.${key}`, 1, 0x7fffffff),
  ]);
  return Object.fromEntries(pairs);
}

/** No other keys than these. */
export function only(value, name, keys) {
  for (const key of Object.keys(value)) {
    if (!keys.includes(key)) fail(`${name}.${key}`, `is unknown; ${name} has ${keys.join(', ')}`);
  }
}

export function fail(name, message) {
  throw new SettingsError(`${name} ${message}`);
}
