// Numbers that C++ and TypeScript both use are the same in both.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  Answer,
  BatchSize,
  SocketState,
  TcpFeature,
  UdpFlag,
  UdpOffload,
  UdpVerdict,
  Verdict,
} from '../../src/kernel/constants.js';

const addon = join(import.meta.dirname, '../../build/Release/connectx.node');

test('the numbers of src/kernel/constants.ts are those that the addon exports', () => {
  const { constants } = createRequire(import.meta.url)(addon) as { constants: unknown };
  expect(constants).toEqual({
    verdict: Verdict,
    tcpFeature: TcpFeature,
    answer: Answer,
    udpVerdict: UdpVerdict,
    udpFlag: UdpFlag,
    udpOffload: UdpOffload,
    batch: BatchSize,
    socketState: SocketState,
  });
});
