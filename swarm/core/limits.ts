/** Every number by which the core decides, in one place; bounds first, tuning after. */

export const defaultLimits = {
  /** Connections of one torrent, twice as many for a moment; beyond, who was there for at least this time gives way to a newcomer. */
  peers: 200,
  settledMs: 1_000,
  /**
   * Peers that an origin serves at a time: as many as fill the uplink for this time, a piece each, and at least and at most so many; those that others serve;
   * and up to so many times that where it makes the whole faster.
   */
  slotsFillMs: 300,
  originSlotsMin: 5,
  originSlotsMax: 64,
  sharerSlots: 16,
  slotFactorMax: 8,
  /** Requests of one peer that wait for their turn; told to it as `reqq` (BEP 10). */
  requestsQueued: 512,
  /** Messages of no use that a peer may send in a row, and what it regains each second. */
  uselessBurst: 5_000,
  uselessPerSecond: 2_000,
  /** Proposals (BEP 6 suggest) kept of one peer; half of it are made. */
  suggestions: 64,
  /** Addresses remembered for one torrent, and taken from one message. */
  addresses: 2_000,
  addressesPerMessage: 100,
  /** Offences after which a member is not admitted to the torrent again. */
  offences: 3,

  /** Requests in flight of one peer: at least, and at most. */
  requestsFloor: 2,
  /** Asked of a peer whose rate is unknown: a piece, and no more than these blocks. */
  requestsFirst: 16,
  requestsCeiling: 256,
  /** Requests in flight cover this time at the peer's rate, more where the path itself takes longer. */
  horizonMs: 120,
  horizonMaxMs: 2_000,
  /** Requests in flight of all peers cover this time at the rate of all. */
  sharedHorizonMs: 1_000,
  /** All peers together may always have this many in flight. */
  sharedFloor: 64,
  /** What a peer was found to have nothing of is looked for again: were a change ever missed, it would cost this time. */
  afreshMs: 5_000,
  /** Bytes of pieces that are begun or being verified. */
  pendingBytes: 128 * 1024 * 1024,
  /** A peer that leaves requests without a block for this long loses them to others: at first, at least, at most. */
  stallFirstMs: 5_000,
  stallMinMs: 2_000,
  stallMaxMs: 15_000,
  /** A peer that owes an answer and says nothing for this long is dropped. */
  silentOwingMs: 20_000,
  /** A peer that says nothing at all for this long is dropped (BEP 3: keep-alives come every two minutes, ours every 30 s). */
  silentMs: 120_000,
  keepAliveMs: 30_000,
  /** A peer that does not take one write in this time is dropped. */
  unreadMs: 10_000,
  /** After a refused request. */
  refusedPauseMs: 500,

  /** One write: at least a block, at most this; between them, this time at the peer's rate. So many at a time where one peer alone is served, else one. */
  writeBytes: 256 * 1024,
  writeMs: 50,
  writesInFlight: 2,
  /** A turn in a slot, while others wait, is a piece and at least this time of the whole uplink. It ends at the latest after, and when idle for. */
  slotMs: 25,
  /** The next one served has least of so many, drawn at random of those who wait. */
  slotDraws: 6,
  /** More slots are tried for this time, and after a trial in vain not again for that. */
  slotTrialMs: 1_000,
  /** A trial is made while at least this much is sent for each slot. */
  slotTrialBytes: 512 * 1024,
  slotRestMs: 5_000,
  slotTurnMs: 5_000,
  /** Who made nothing of its turn waits for this time, then for twice as long, before the next; at most. */
  slotWastedMs: 500,
  slotWastedMaxMs: 30_000,
  slotIdleMs: 1_000,
  slotPauseMs: 2_000,
  /** While peers of the own site wait, one of another site is served after so long. */
  slotFarMs: 5_000,
  /** How long an origin remembers how fast its uplink was: it halves in this time. */
  peakHalvesMs: 30_000,

  /** New pieces are told of together, after this time or when there are so many. */
  newsMs: 200,
  newsPieces: 4,

  /** Pieces ahead of the unpacker among which the rarest is chosen before all others. */
  windowPieces: 192,
  /** First missing pieces of the window that go before everything else. */
  windowHeadPieces: 3,
  /** Pieces next in file order among which a holder of everything chooses what it proposes, for each peer. */
  offerBandPerPeer: 16,
  /** A peer that proposes is asked for nothing else while what it proposed is on its way, and for this long after. */
  guidedMs: 150,
  /** A proposal that is not taken up in this time is made to another. */
  offerLapsesMs: 5_000,

  /**
   * Dialled until this many connections stand in all, and this many that we dialled; given addresses beyond that. The first ones at once, the others after such
   * pauses.
   */
  connectionsWanted: 10,
  dialledWanted: 3,
  connectionsFirst: 5,
  dialPauseMs: 500,
  /** Taken of those who dial us, while pieces are missing, until this many stand in all: little more, so that all have as many and get as large a share. */
  connectionsTaken: 12,
  givenWanted: 16,
  halfOpen: 8,
  /** Members of a site that fetch from other sites at a time, and connections that each of them makes there. */
  gateways: 6,
  farWanted: 3,
  /** A connection to another site that brought nothing for this long gives way to one to another member there. */
  farIdleMs: 10_000,
  /**
   * Requests to other sites that a gateway may always have in flight, in all. What is asked there is patiently waited for, since who asks twice gets twice: without a block, at least and at most; without a word.
   */
  farFloor: 4,
  farStallMinMs: 15_000,
  farStallMaxMs: 60_000,
  farSilentMs: 60_000,
  /** Connections from other sites that one takes who downloads; those of its own site that one takes who fetches from others for it. */
  farTaken: 8,
  gatewayTaken: 32,
  /** Before it asks another site, a member listens for so long whether others of its own do; where there are too few, the next stands up within. */
  gatewaySettleMs: 400,
  gatewayVacantMs: 1_000,
  /** A gateway asks for a piece that is another's to fetch when for this long it could ask for none of its own; the third one's, for twice as long. */
  gatewayTurnMs: 500,
  /** A gateway to which nothing came for this long counts as none, a while later, when the others have forgotten it. */
  gatewayStallMs: 8_000,
  siteLapseMs: 12_000,
  /** Who is told of the site's gateways is told again after; holders of everything among them; most members in one message, and most that are remembered. */
  siteNewsMs: 2_000,
  holdersTold: 2,
  siteMembersTold: 64,
  /** Of those that members tell of, so many addresses are dialled before others; more are as good as any. */
  siteAddresses: 64,
  siteMembersKept: 256,
  /**
   * Pieces of which one member may say at a time that it fetches them for all. Its word counts for four times as long as the last ones took, at least and at most, and of one piece so many
   * times, whoever gives it.
   */
  claims: 32,
  claimsOfPiece: 4,
  claimMinMs: 10_000,
  claimMaxMs: 120_000,
  /**
   * Of a site's budget for what it sends to others: what a byte of payload comes to on the wire; the share of it that one takes who begins; what was not used for so long may be used still; who sent nothing for so long
   * takes no part, nor who was not heard of; members that share it are told of one another so often, so many of them, and so many are remembered. A server's word on how much it is is repeated, and lapses; servers heard.
   */
  wireShare: 1.05,
  budgetFirstShare: 0.1,
  budgetBurstMs: 250,
  senderRestsMs: 3_000,
  senderLapsesMs: 5_000,
  budgetNewsMs: 1_000,
  sendersTold: 40,
  sendersKept: 100,
  ruleToldMs: 60_000,
  ruleLapsesMs: 3_600_000,
  budgetRules: 16,
  /** Who has waited so long for its own site asks others, for as long, then for twice as long, at most; each block that came makes up for some waiting. */
  starvedMs: 30_000,
  starvedBlockMs: 1_000,
  starvedMaxMs: 600_000,

  /** A peer that lacks pieces and neither asks for any nor tells of new ones for this long is not helped by whoever stays for it. */
  needLapsesMs: 60_000,
  /** Downloaders that come within this time of one another came together; so many times of coming are remembered. */
  arrivalsApartMs: 5_000,
  arrivalsKept: 8,

  redialFirstMs: 1_000,
  redialMaxMs: 60_000,
  peerExchangeMs: 2_000,
} as const

export type Limits = { readonly [name in keyof typeof defaultLimits]: number }
