/** Appends to the audit log of a directory, for tests: DIRECTORY COUNT NAME. Says the number of each event that is durable; COUNT 0 never ends. */
import { systemClock } from "../../core/clock.ts"
import { AuditLog } from "../../nodes/audit-log.ts"
import { auditHome, eventOf } from "./audit-home.ts"

const [directory = "", count, name = "appender"] = process.argv.slice(2)
const last = Number(count) || Infinity
const log = new AuditLog({ home: auditHome(directory), clock: systemClock })
for (let number = 1; number <= last; number++) {
  await log.append([eventOf(name, number)])
  process.stdout.write(`${number}\n`)
}
