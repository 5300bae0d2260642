// Connects once, and prints the span of it. With an exporter of your own in place of ConsoleSpanExporter, it goes to your collector.
import { once } from 'node:events';
import { BasicTracerProvider, ConsoleSpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { connect } from 'connectx';
import { traceConnects } from './connects.mjs';

const [host = '127.0.0.1', port = '80', localAddress] = process.argv.slice(2);
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(new ConsoleSpanExporter())] });
traceConnects(provider.getTracer('connectx'));

const socket = connect({ host, port: Number(port), localAddress });
try {
  await once(socket, 'connect');
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
socket.destroy();
await provider.shutdown();
