// The addresses of a host name.
import type { LookupAddress } from 'node:dns';
import { isIP } from 'node:net';
import { ConnectxError } from '../errors/connectx_error';
import { familyOfType, type Plan } from './options';

/** The addresses of the host, by the lookup of the plan. */
export function resolveHost({ host, type, lookup }: Plan): Promise<LookupAddress[]> {
  return new Promise((resolve, reject) => {
    lookup(host, { all: true, family: familyOfType(type) ?? 0 }, (error, addresses: unknown, family?: number) => {
      if (error) reject(error);
      // A lookup of the user's may know nothing of `all`.
      else if (Array.isArray(addresses)) resolve(addresses as LookupAddress[]);
      else resolve([{ address: String(addresses), family: family ?? isIP(String(addresses)) }]);
    });
  });
}

/** The lookup gave none. */
export function noAddress({ host, port }: Plan): ConnectxError {
  const code = 'ENOTFOUND';
  return new ConnectxError(`connect ${code} ${host}:${port}; the lookup gave no address`, {
    code,
    syscall: 'connect',
    port,
  });
}
