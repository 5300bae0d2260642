// What to do about a finding: now, and for good.
export interface Remedy {
  readonly remedy: string;
  readonly lasting: string;
}

/** Where the settings of this project's operators' guide are kept. */
export const DROP_IN = '/etc/sysctl.d/90-connectx.conf';

/** `sysctl -w NAME=VALUE`, and the line that sets it again at each start. */
export function sysctlRemedy(name: string, value: string | number): Remedy {
  const text = `${value}`;
  return {
    remedy: `sysctl -w ${name}=${text.includes(' ') ? `"${text}"` : text}`,
    lasting: `echo '${name} = ${text}' >> ${DROP_IN}`,
  };
}

/** Of a command that `sysctlRemedy` has made. */
export function lastingOf(command: string): string {
  const [, name = '', value = ''] = /^sysctl -w ([\w.]+)=(.*)$/.exec(command) ?? [];
  return sysctlRemedy(name, value).lasting;
}
