/** Kinds of events of the simulator: what their two numbers mean. */
export const kinds = {
  /** Host. */
  tick: 0,
  /** Host. */
  uplinkFree: 1,
  /** Receiving end, block. */
  block: 2,
  /** Receiving end. */
  small: 3,
  /** End, bytes. */
  uploaded: 4,
  /** Host, piece. */
  verified: 5,
  /** Host with room in its port. */
  portOpened: 6,
  /** End. */
  windowOpened: 7,
  /** Attempt. */
  dialArrived: 8,
  /** Host whose processor is done with a handshake. */
  greeted: 9,
  /** Attempt. */
  established: 10,
  /** Attempt. */
  dialFailed: 11,
  /** End. */
  gone: 12,
  /** Position among the calls. */
  call: 13,
  /** Nothing: everyone is looked at. */
  audit: 14,
  /** Twice the number of a site with room in the port of its wide-area uplink; one more: of its downlink. */
  wideAreaOpened: 15,
  /** Crossing from one site to another that comes to its next port. */
  crossing: 16,
} as const
