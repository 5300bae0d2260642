// How many processes and destinations so many flows take. Plain data, no I/O.

/** Descriptors that a process needs for itself: Node's own, the modules, IPC. */
const SPARE_DESCRIPTORS = 200;

/**
 * `flows` from one source address, of which each destination takes as many as `ports`; no process has more than `descriptors`.
 * No destination gets fuller than `fill`, unless the number of `destinations` is given.
 * All processes take turns over all destinations, as the workers of one program would, and so contend for the same ports.
 */
export function planFlows({
  flows,
  ports,
  descriptors,
  processes = 2,
  fill = 0.78,
  destinations = destinationsFor(flows, ports * fill),
}) {
  const most = mostOf(descriptors);
  const clients = Math.max(processes, Math.ceil(flows / (most - destinations)));
  // Whole rounds over the destinations, so that none gets more than its part.
  const rounds = Math.floor(flows / destinations);
  const rest = flows - rounds * destinations;
  const sizes = Array.from(
    { length: clients },
    (_, at) => share(rounds, clients, at) * destinations + (at === 0 ? rest : 0),
  );
  const perDestination = Array.from({ length: destinations }, () => 0);
  for (const [client, size] of sizes.entries()) {
    for (let at = 0; at < destinations; at++)
      perDestination[destinationOf(client, at, destinations)] += share(size, destinations, at);
  }
  return {
    flows,
    ports,
    destinations,
    perDestination,
    fill: Math.max(...perDestination) / ports,
    clients: sizes,
    /** Accepting processes for each destination, when an accepted connection takes a descriptor. */
    acceptors: perDestination.map((count) => Math.ceil(count / most)),
  };
}

const destinationsFor = (flows, each) => Math.max(2, Math.ceil(flows / each));

/** The destination of the flow `index` of a client. */
export function destinationOf(client, index, destinations) {
  return (client + index) % destinations;
}

/** What the part `index` of `parts` gets of `total`: whole numbers, the first parts get what is left over. */
export function share(total, parts, index) {
  return Math.floor(total / parts) + (index < total % parts ? 1 : 0);
}

/** Flows for which the machine has open files left (fs.file-max). Of a TCP connection both ends are here; some are for everybody else. */
export function mostFlows(protocol, files) {
  return Math.floor((files * 0.9) / (protocol === 'tcp' ? 2 : 1));
}

/** Flows that fit into a process. */
export function mostOf(descriptors) {
  const most = descriptors - SPARE_DESCRIPTORS;
  if (most < 1) throw new RangeError(`${descriptors} descriptors are too few for a process`);
  return most;
}
