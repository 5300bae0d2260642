// `connectx exporter` as a program, in the network namespace of the calling thread.
import * as http from 'node:http';
import { Program } from './programs.js';
import { CLI } from './cli.js';
import { until } from './sockets.js';

export class Exporter extends Program {
  url = '';

  /** `wrapper`: what starts it, such as setpriv. */
  static async start(folder: string, args: readonly string[] = [], wrapper: readonly string[] = []): Promise<Exporter> {
    const [command = '', ...rest] = [...wrapper, process.execPath, CLI, 'exporter', ...args];
    const exporter = new Exporter(folder, command, ...rest);
    const url = () => /^(http:\S+)\/metrics$/m.exec(exporter.output)?.[1];
    await until(
      () => url() !== undefined,
      () => exporter.output,
    );
    exporter.url = url() ?? '';
    return exporter;
  }

  metrics(): Promise<string> {
    return this.get('/metrics').then(({ text }) => text);
  }

  /** On a connection of its own, unless there is an agent. */
  get(path: string, options: http.RequestOptions = {}): Promise<{ status: number | undefined; text: string }> {
    return new Promise((resolve, reject) => {
      const request = http.request(`${this.url}${path}`, { agent: false, ...options }, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (data: string) => (text += data));
        response.on('end', () => resolve({ status: response.statusCode, text }));
        response.on('error', reject);
      });
      request.on('error', reject);
      request.end();
    });
  }
}

/** The value of the series with this name and these labels, in the order in which they are written. */
export function valueOf(text: string, series: string): number | undefined {
  const line = text
    .split('\n')
    .find((one) => one.startsWith(`${series} `) || (!series.includes('{') && one.startsWith(`${series}{`)));
  return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ') + 1));
}
