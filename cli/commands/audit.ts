/** `imagegrid audit`: who did what, as the server of this home wrote it down, and whether the log is what it was. */
import { systemClock } from "#core/clock.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import { Home } from "#member/home.ts"
import { silentLog } from "#member/log.ts"
import { Member } from "#member/member.ts"
import type { AuditEntry } from "#nodes/audit-entry.ts"
import { askWitnesses, contradiction, type Witnesses } from "#nodes/audit-heads.ts"
import { AuditLog, describeFault } from "#nodes/audit-log.ts"
import type { CommandContext } from "../command.ts"
import type { Output } from "../output.ts"
import { momentMs } from "../values.ts"

type Options = { readonly verify?: boolean; readonly since?: string; readonly event?: string }

export default async function run({ output, home }: CommandContext, _arguments: readonly string[], options: Options): Promise<void> {
  const sinceMs = options.since === undefined ? 0 : momentMs("--since", options.since, systemClock.nowMs())
  const opened = await Home.open(home())
  if (opened.role === "client")
    throw new GridError("ROLE_WRONG", `${opened.directory} is a client's home; servers and mirrors keep the audit log`)
  // Before the log is read: what they saw is then in it.
  const witnesses = options.verify === true ? await witnessesOf(opened, output) : null
  const heads = (witnesses?.heads ?? []).filter(({ atMs }) => atMs >= sinceMs)
  const witnessed = new Set(heads.map(({ seq }) => seq))
  const hashes = new Map<number, string>()
  const listed: AuditEntry[] = []
  const { entries, head, fault } = await new AuditLog({ home: opened, clock: systemClock }).check((entry, hash) => {
    if (witnessed.has(entry.seq)) hashes.set(entry.seq, hash)
    if (entry.atMs < sinceMs || (options.event !== undefined && entry.event !== options.event)) return
    if (output.json) output.event("entry", { entry })
    else listed.push(entry)
  })
  if (listed.length > 0) output.table(["entry", "at", "event", "by", "from", "what"], listed.map(row))
  if (witnesses === null) {
    if (fault !== null) output.warn(`the log does not hold: ${describeFault(fault)}`)
    return
  }
  if (fault !== null) throw new GridError("AUDIT_BROKEN", `${describeFault(fault)}. ${ADVICE}`)
  const against = contradiction(heads, hashes, head)
  if (against !== null) throw new GridError("AUDIT_BROKEN", `${against.detail}. ${ADVICE}`)
  output.event("verified", { entries, head: head.hash, witnesses: witnesses.asked, heads: heads.length })
  const agree = witnesses.asked.length === 0 ? "" : ` ${witnesses.asked.length} of the other servers saw nothing else.`
  output.say(`All ${entries} entries hold.${agree} The last has hash ${head.hash}.`)
}

const ADVICE = "Keep the files as they are, compare with the logs of the other servers, and find out who had this machine's disk"

/** What the fellows saw; a home that can't ask them, or has none, has no witnesses and is told so. */
async function witnessesOf(home: Home, output: Output): Promise<Witnesses> {
  const witnesses = await askAll(home).catch((error: unknown) => {
    output.warn(`the other servers could not be asked: ${reasonOf(error)}`)
    return null
  })
  for (const { memberId, reason } of witnesses?.unreached ?? []) output.warn(`server ${memberId} could not be asked: ${reason}`)
  for (const memberId of witnesses?.lying ?? [])
    output.warn(
      `server ${memberId} shows heads of this log that this server never signed; they are passed over, and it should be looked at`,
    )
  if (witnesses === null || witnesses.asked.length === 0)
    output.warn("no other server says what it saw of this log: that its end was cut off would not be noticed")
  return witnesses ?? { heads: [], asked: [], unreached: [], lying: [] }
}

async function askAll(home: Home): Promise<Witnesses> {
  const member = await Member.start({ home, clock: systemClock, log: silentLog }, { network: "api-only" })
  try {
    return await askWitnesses(member)
  } finally {
    await member.close()
  }
}

function row({ seq, atMs, event, actor, from, what }: AuditEntry): string[] {
  const details = Object.entries(what).map(([name, value]) => `${name}=${value}`)
  const by = actor.ids.map((id) => id.slice(0, SHORT_ID)).join(" ")
  return [String(seq), new Date(atMs).toISOString(), event, `${actor.kind} ${by}`, from ?? "", details.join(" ")]
}

/** As many digits of an id as people tell members apart by; `--json` gives all. */
const SHORT_ID = 12
