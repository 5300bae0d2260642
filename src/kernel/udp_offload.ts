// Segmentation offload of UDP: what this kernel has of it does not change while the process runs.
import type { Native } from './addon';

let known: { readonly native: Native; readonly offloads: number } | undefined;

/** The bits of {@link UdpOffload} that this kernel has; negative where not even a socket could be opened (EMFILE). */
export function udpOffloads(native: Native): number {
  if (known?.native === native) return known.offloads;
  const offloads = native.udpOffloads();
  if (offloads >= 0) known = { native, offloads };
  return offloads;
}
