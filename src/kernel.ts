// What the running kernel can do and has been told, asked when it matters. Only what cannot change while the process runs
// is remembered.
import { Crowding } from './crowding';
import { type Native, TcpFeature } from './native';
import type { Kernel, Technique } from './ports';
import { ALL_PORTS } from './range';
import { ephemeralRange, reservedPorts } from './sysctl';

const FEATURES_OF_OLD = TcpFeature.bindAddressNoPort | TcpFeature.fastOpenConnect;

/** The kernel as the port policy sees it. */
export interface RunningKernel extends Kernel {
  readonly crowding: Crowding;
}

let known: { readonly native: Native; readonly features: number; readonly kernel: RunningKernel } | undefined;

function describe(native: Native, features: number): RunningKernel {
  const crowding = new Crowding();
  return {
    crowding,
    hasPortRange: (features & TcpFeature.localPortRange) !== 0,
    hasNoPort: (features & TcpFeature.bindAddressNoPort) !== 0,
    ephemeralRange: () => ephemeralRange(native),
    reservedPorts: () => reservedPorts(native),
    isCrowded: () => crowding.take(),
  };
}

function knownOf(native: Native): NonNullable<typeof known> {
  if (known?.native === native) return known;
  const features = native.tcpFeatures();
  if (features < 0) {
    // Not even a socket could be opened (EMFILE, say), and so none will be connected. What every kernel has that Node runs
    // on is assumed for this call, and the next one asks again.
    return { native, features: FEATURES_OF_OLD, kernel: describe(native, FEATURES_OF_OLD) };
  }
  known = { native, features, kernel: describe(native, features) };
  return known;
}

/** The bits of {@link TcpFeature} that this kernel has. */
export function tcpFeatures(native: Native): number {
  return knownOf(native).features;
}

export function kernelOf(native: Native): RunningKernel {
  return knownOf(native).kernel;
}

/** Who wants to know how long connect(2) takes by this technique: where the kernel is to choose any port; see crowding.ts. */
export function watchOf({ crowding }: RunningKernel, technique: Technique): Crowding | undefined {
  if (technique.kind !== 'assign') return undefined;
  const { range } = technique;
  if (range !== undefined && range !== ALL_PORTS) return undefined;
  return crowding.watches(range !== undefined) ? crowding : undefined;
}
