/** A directory that an audit log can be kept in, and events for it. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { memberId } from "../../core/identifiers.ts"
import { systemClock } from "../../core/clock.ts"
import type { AuditEntry, AuditEvent } from "../../nodes/audit-entry.ts"
import { AuditLog, type AuditLogOptions } from "../../nodes/audit-log.ts"

export const own = memberId("0f".repeat(16))

export function auditHome(directory: string): ConstructorParameters<typeof AuditLog>[0]["home"] {
  return { directory, memberId: own, path: (...parts) => join(directory, ...parts) }
}

export function auditLog(directory: string, options: AuditLogOptions = {}): AuditLog {
  return new AuditLog({ home: auditHome(directory), clock: systemClock }, options)
}

export const eventOf = (who: string, number: number): AuditEvent => ({
  event: "joined",
  actor: { kind: "invite", ids: ["ab".repeat(16)] },
  from: "192.0.2.7",
  what: { who, number },
})

export async function entriesOf(log: AuditLog): Promise<AuditEntry[]> {
  const entries: AuditEntry[] = []
  await log.check((entry) => entries.push(entry))
  return entries
}

export function linesIn(directory: string, name = "audit.jsonl"): string[] {
  return readFileSync(join(directory, name), "utf8").split("\n").slice(0, -1)
}
