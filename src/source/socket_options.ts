// The option `socketOptions`.
import { invalidType, outOfRange } from '../errors/argument_errors';
import { types } from 'node:util';
import type { SocketOption } from '../kernel/addon';

/** Checked, and copied: the kernel gets what was there at the call. */
export function readSocketOptions(value: unknown): SocketOption[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) throw invalidType('options.socketOptions', 'an instance of Array', value);
  if (value.length === 0) return undefined;
  return value.map((option: unknown, index) => readSocketOption(`options.socketOptions[${index}]`, option));
}

function readSocketOption(name: string, option: unknown): SocketOption {
  if (typeof option !== 'object' || option === null) throw invalidType(name, 'of type object', option);
  const { level, name: optname, value } = option as Partial<Record<keyof SocketOption, unknown>>;
  if (types.isUint8Array(value)) {
    return { level: int32(`${name}.level`, level), name: int32(`${name}.name`, optname), value: new Uint8Array(value) };
  }
  if (typeof value !== 'number') {
    throw invalidType(`${name}.value`, 'of type number or an instance of Uint8Array', value);
  }
  return {
    level: int32(`${name}.level`, level),
    name: int32(`${name}.name`, optname),
    value: int32(`${name}.value`, value),
  };
}

/** A C `int`. An unsigned value up to 2^32 - 1 is taken by its bits. */
export function int32(name: string, value: unknown): number {
  if (typeof value !== 'number') throw invalidType(name, 'of type number', value);
  if (!Number.isInteger(value) || value < -0x80000000 || value > 0xffffffff) {
    throw outOfRange(name, 'an integer >= -2147483648 && <= 4294967295', value);
  }
  return value | 0;
}
