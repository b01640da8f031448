/**
 * Every refusal the program can answer with. The codes are public: scripts match on them, the README lists them with the
 * exit codes, and a test compares the two. Exit codes are those of sysexits.h.
 */

/** Exit codes of the program, by kind of trouble (sysexits.h). */
export const exitCodes = {
  /** Anything the program did not foresee: a defect worth reporting. */
  internal: 70,
  /** The command line is wrong. */
  usage: 64,
  /** Data that was given or received is wrong. */
  data: 65,
  /** A named input does not exist or can't be read. */
  input: 66,
  /** Nobody who could serve this was reachable. */
  unavailable: 69,
  /** The output can't be made: it exists, or is not empty. */
  output: 73,
  /** The operating system failed at reading or writing. */
  io: 74,
  /** Passing: the same command may work later. */
  retry: 75,
  /** Not permitted to this member. */
  permission: 77,
  /** The home or the machine is set up wrongly. */
  configuration: 78,
  /** Ended by SIGINT or SIGTERM (128 + 2). */
  interrupted: 130,
} as const

type Refusal = { readonly meaning: string; readonly exit: keyof typeof exitCodes }

export const refusals = {
  ADDRESS_INVALID: { meaning: "an address is not of the form HOST:PORT", exit: "usage" },
  ADDRESS_IN_USE: { meaning: "another program listens on this address", exit: "configuration" },
  API_REFUSED: { meaning: "a server refused the request", exit: "permission" },
  AUDIT_BROKEN: { meaning: "the audit log was changed, cut off or can't be read", exit: "data" },
  BUNDLE_INVALID: { meaning: "the file is not an export of images, or is damaged", exit: "data" },
  CATALOG_INVALID: { meaning: "signed site metadata does not verify", exit: "data" },
  CATALOG_EXPIRED: { meaning: "signed site metadata has expired, or this machine's clock is wrong", exit: "data" },
  CATALOG_ROLLBACK: { meaning: "signed site metadata is older than what is already trusted", exit: "data" },
  CAPTURE_FAILED: { meaning: "the directory could not be read in full", exit: "input" },
  CERTIFICATE_EXPIRED: { meaning: "a member certificate has lapsed", exit: "permission" },
  CERTIFICATE_INVALID: { meaning: "a certificate is not one of this site's, or not of the role needed", exit: "permission" },
  CERTIFICATE_NOT_YET_VALID: { meaning: "a certificate is not valid yet: some clock is wrong", exit: "permission" },
  CHANGE_MISSING: { meaning: "there is no such file of a change", exit: "input" },
  CLOCK_WRONG: { meaning: "this machine's clock is too far from the servers'", exit: "configuration" },
  DECLINED: { meaning: "the person who was asked said no", exit: "permission" },
  DEVICE_FORBIDDEN: { meaning: "the image holds a device, and this deploy makes none", exit: "permission" },
  DIGEST_MISMATCH: { meaning: "bytes do not match the digest that names them", exit: "data" },
  DISK_FULL: { meaning: "a file system has no room left", exit: "io" },
  EXTRACT_FAILED: { meaning: "the image could not be unpacked", exit: "io" },
  GRANT_MISSING: { meaning: "no grant opens this image for this member", exit: "permission" },
  GROUP_EXISTS: { meaning: "the site has a group of this name already", exit: "output" },
  GROUP_UNKNOWN: { meaning: "the site has no group of this name", exit: "usage" },
  HOME_EXISTS: { meaning: "the home holds a member already", exit: "output" },
  HOME_INVALID: { meaning: "the home holds no member, or a damaged one", exit: "configuration" },
  HOME_IN_USE: { meaning: "another process uses this home", exit: "retry" },
  IMAGE_EXISTS: { meaning: "this version was published already, and versions never change", exit: "output" },
  IMAGE_RETIRED: { meaning: "its publisher took this version out of use", exit: "input" },
  IMAGE_TAGGED: { meaning: "a tag names this version", exit: "output" },
  IMAGE_UNKNOWN: { meaning: "the site has no such image", exit: "input" },
  INDEX_INVALID: { meaning: "the index of an image is not of the form it must have", exit: "data" },
  INTERRUPTED: { meaning: "ended by a signal", exit: "interrupted" },
  INVITE_EXPIRED: { meaning: "the invite has expired", exit: "permission" },
  INVITE_INVALID: { meaning: "the invite is damaged or is not one", exit: "data" },
  INVITE_USED: { meaning: "the invite was used as often as it may be", exit: "permission" },
  KEY_INVALID: { meaning: "a key is damaged, or its file is open to others", exit: "configuration" },
  KEY_LOCKED: { meaning: "a key is protected by a passphrase that was not given, or is another", exit: "permission" },
  KEY_MISSING: { meaning: "this home does not hold the key that the command needs", exit: "permission" },
  KEYS_TOO_MANY: { meaning: "this home holds as many keys as it can", exit: "output" },
  LAYER_MISSING: { meaning: "a server does not hold this layer whole", exit: "unavailable" },
  MANIFEST_INVALID: { meaning: "a manifest is not of the form it must have", exit: "data" },
  MEMBER_REPLACED: { meaning: "this member's keys were replaced by new ones, and the old ones are not renewed", exit: "permission" },
  NAME_INVALID: { meaning: "a name, version or other word is out of form", exit: "usage" },
  NOT_PERMITTED: { meaning: "the operating system does not permit this to the user", exit: "permission" },
  OUTPUT_EXISTS: { meaning: "a file to be written exists already", exit: "output" },
  OVERRIDE_CONFLICT: { meaning: "an override does not fit the image that it is laid over", exit: "data" },
  PEER_MISBEHAVED: { meaning: "a peer broke the protocol", exit: "data" },
  PIECE_OUT_OF_RANGE: { meaning: "a piece position is outside its torrent", exit: "data" },
  PROBLEMS_FOUND: { meaning: "'imagegrid doctor' found something that does not work", exit: "configuration" },
  REQUEST_INVALID: { meaning: "an API request is not of the form it must have", exit: "data" },
  ROLE_WRONG: { meaning: "this home is not of the role that the command needs", exit: "usage" },
  SCRIPT_FAILED: { meaning: "a script of the image failed", exit: "io" },
  SEALED_INVALID: { meaning: "sealed bytes are damaged or were sealed to another key", exit: "data" },
  SEEDERS_MISSING: { meaning: "nobody who holds these bytes could be reached", exit: "unavailable" },
  SERVERS_UNREACHABLE: { meaning: "no server of the site answered", exit: "unavailable" },
  SIGNATURES_MISSING: { meaning: "a change of signed metadata lacks signatures", exit: "permission" },
  SITE_UNKNOWN: { meaning: "this site has no agreement in force with that one", exit: "input" },
  SOURCE_MISSING: { meaning: "the directory to publish does not exist or can't be read", exit: "input" },
  STATE_DAMAGED: { meaning: "a state file of this home is damaged", exit: "configuration" },
  TAG_EXISTS: { meaning: "the image has a tag of this name", exit: "output" },
  TAG_UNKNOWN: { meaning: "the image has no tag of this name", exit: "input" },
  TARGET_NOT_EMPTY: { meaning: "the target directory is not empty", exit: "output" },
  TARGET_UNSUITABLE: { meaning: "the target can't take this image", exit: "configuration" },
  TOOL_MISSING: { meaning: "a program that imagegrid needs is not installed", exit: "configuration" },
  TORRENT_INVALID: { meaning: "a torrent's metadata is not of the form it must have", exit: "data" },
  TREE_CHANGED: { meaning: "the tree was changed where it stands, and such changes were not to be touched", exit: "data" },
  TREE_DIFFERS: { meaning: "the tree is not the image that it should be", exit: "data" },
  USAGE: { meaning: "the command line is wrong", exit: "usage" },
} as const satisfies Record<string, Refusal>

export type RefusalCode = keyof typeof refusals

/** What the program refuses, with one of the public codes. `detail` says what was expected, what came, what to do. */
export class GridError extends Error {
  override readonly name = "GridError"
  readonly code: RefusalCode
  readonly detail: string

  constructor(code: RefusalCode, detail: string, options?: ErrorOptions) {
    super(`${refusals[code].meaning}: ${detail}`, options)
    this.code = code
    this.detail = detail
  }

  get exitCode(): number {
    return exitCodes[refusals[this.code].exit]
  }
}

/** The `code` of a system error (`ENOENT`, `EADDRINUSE` ...), or null for anything else. */
export function systemErrorCode(error: unknown): string | null {
  if (!(error instanceof Error) || !("code" in error)) return null
  return typeof error.code === "string" ? error.code : null
}

/** Why something failed, for a log or a message: an error's own words. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
