/**
 * A home's change from a member's old keys to its new ones. The new seed is durable before a server is asked, in `keys/member.next`, so that a
 * cut-off change goes on with the same new member. Once its certificate is there a journal, `keys/member.switch`, is written: with that the home
 * is the new member's. Whoever opens a home with a journal carries it out first.
 */
import { randomBytes } from "node:crypto"
import { access } from "node:fs/promises"
import { join } from "node:path"
import { Type, type Static } from "typebox"
import { memberIdentity } from "#crypto/identity.ts"
import { Base64, Hex32 } from "#core/documents.ts"
import { systemErrorCode } from "#core/errors.ts"
import { parseJson, reader } from "#core/schema.ts"
import { readServerList } from "#core/wire.ts"
import { readBounded, readSecretFile, removeDurably, writeFileDurably } from "#store/atomic-file.ts"
import { lockKeys } from "./keys-lock.ts"

const Journal = Type.Object(
  { format: Type.Literal("imagegrid-switch-1"), seed: Hex32, certificate: Base64(4_000) },
  { additionalProperties: false },
)
const readJournal = reader(Journal, "KEY_INVALID", "keys/member.switch")

const JOURNAL_BYTES_MAX = 16 * 1024
const MEMBER_FILE_BYTES_MAX = 64 * 1024
const SERVERS_BYTES_MAX = 8 * 1024 * 1024

/** The new keys of a home, and what certifies them. */
export type NextMember = { readonly seed: Uint8Array; readonly certificateDer: Uint8Array }

const journalOf = (directory: string): string => join(directory, "keys", "member.switch")

/** The seed of the member that this home is about to become: the one of an attempt before, or a new one, durable. @throws {GridError} KEY_INVALID */
export async function nextSeed(directory: string): Promise<Buffer> {
  const file = join(directory, "keys", "member.next")
  const read = async () => Buffer.from((await readSecretFile(file, 1024)).toString("latin1").trim(), "hex")
  try {
    return await read()
  } catch (error) {
    if (systemErrorCode(error) !== "ENOENT") throw error
  }
  await writeSeed(file, randomBytes(32))
  return read()
}

/** Makes the home the new member's. @throws {GridError} HOME_IN_USE, DISK_FULL; what was not done is done by the next who opens the home */
export async function switchMember(directory: string, next: NextMember): Promise<void> {
  using _ = await lockKeys(directory)
  for (const step of switchSteps(directory, next)) await step()
}

/** Carries out a change that was cut off after its journal. */
export async function finishSwitch(directory: string): Promise<void> {
  try {
    await access(journalOf(directory))
  } catch {
    return
  }
  using _ = await lockKeys(directory)
  const journal = await storedJournal(directory)
  if (journal === null) return
  const next = { seed: Buffer.from(journal.seed, "hex"), certificateDer: Buffer.from(journal.certificate, "base64") }
  for (const step of switchSteps(directory, next)) await step()
}

/**
 * What there is to do, in order. Each step is durable when it resolves and may be done again; before the first the home is the old member's,
 * after it the new one's.
 */
export function switchSteps(directory: string, { seed, certificateDer }: NextMember): readonly (() => Promise<void>)[] {
  const { memberId } = memberIdentity(seed)
  const journal: Static<typeof Journal> = {
    format: "imagegrid-switch-1",
    seed: Buffer.from(seed).toString("hex"),
    certificate: Buffer.from(certificateDer).toString("base64"),
  }
  return [
    () => writeFileDurably(journalOf(directory), `${JSON.stringify(journal)}\n`, { mode: 0o600 }),
    () => writeSeed(join(directory, "keys", "member.key"), seed),
    () => writeFileDurably(join(directory, "certificate.der"), certificateDer),
    () => forgetOwnRecord(directory),
    () => nameMember(directory, memberId),
    () => removeDurably(join(directory, "keys", "member.next")),
    () => removeDurably(journalOf(directory)),
  ]
}

async function storedJournal(directory: string): Promise<Static<typeof Journal> | null> {
  try {
    const bytes = await readSecretFile(journalOf(directory), JOURNAL_BYTES_MAX)
    return readJournal(parseJson(bytes, JOURNAL_BYTES_MAX, "KEY_INVALID", "keys/member.switch"))
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null
    throw error
  }
}

async function writeSeed(file: string, seed: Uint8Array): Promise<void> {
  await writeFileDurably(file, `${Buffer.from(seed).toString("hex")}\n`, { mode: 0o600 })
}

/** Until it runs as its new self a server is not known to itself: its old record would make it a fellow of its own. */
async function forgetOwnRecord(directory: string): Promise<void> {
  const { memberId } = await memberFile(directory)
  const file = join(directory, "servers.json")
  let stored: Buffer
  try {
    stored = await readBounded(file, SERVERS_BYTES_MAX)
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return
    throw error
  }
  const { servers } = readServerList(parseJson(stored, SERVERS_BYTES_MAX, "STATE_DAMAGED", file))
  await writeFileDurably(file, `${JSON.stringify({ servers: servers.filter((record) => record.memberId !== memberId) })}\n`)
}

async function nameMember(directory: string, memberId: string): Promise<void> {
  const file = { ...(await memberFile(directory)), memberId }
  await writeFileDurably(join(directory, "member.json"), `${JSON.stringify(file, null, 2)}\n`)
}

async function memberFile(directory: string): Promise<{ readonly memberId?: unknown }> {
  const path = join(directory, "member.json")
  return parseJson(await readBounded(path, MEMBER_FILE_BYTES_MAX), MEMBER_FILE_BYTES_MAX, "HOME_INVALID", path) as { memberId?: unknown }
}
