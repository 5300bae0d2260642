// What a pool tells of itself.

/** What {@link SourcePool.stats} tells of one source. */
export interface PoolSourceStats {
  /** As the kernel writes it (RFC 5952), so that it compares with `socket.localAddress`. */
  address: string;
  /** Of the source. */
  family: 'IPv4' | 'IPv6';
  /** Its share beside the others of its family. */
  weight: number;
  /** Those of its ports that there are to be had; absent: all. */
  ports?: [low: number, high: number] | undefined;
  /** It takes no new connections; absent: it does. */
  paused?: true | undefined;
  /** Open or opening connections of this pool. */
  inUse: number;
  /** Connections that it was the source of, since it was added. */
  connections: number;
  /** How often it had no free port towards a destination. */
  exhausted: number;
  /** How often it could not be used for another reason, not being an address of this machine before all. */
  unusable: number;
}

/** What {@link SourcePool.stats} tells. */
export interface PoolStats {
  /** Open or opening connections of this pool. */
  inUse: number;
  /** How many pairs of source and destination, and sources altogether, are passed over now, those that rest among them. */
  coolingDown: number;
  /** In the order in which they were added. */
  sources: PoolSourceStats[];
}
