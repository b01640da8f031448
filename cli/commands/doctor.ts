/** `imagegrid doctor`: looks at this machine, at a home where one is named, and at who can be reached from here, and says what to do. */
import { systemClock } from "#core/clock.ts"
import { GridError } from "#core/errors.ts"
import { Home } from "#member/home.ts"
import type { CommandContext } from "../command.ts"
import type { Facts } from "../doctor/facts.ts"
import { findingsOf, type Finding } from "../doctor/findings.ts"
import { dhtFacts, faultOf, homeFacts, isInUse, machineFacts, portFacts, serverFacts } from "../doctor/probes.ts"

const marks: Readonly<Record<Finding["severity"], string>> = { ok: "ok", warning: "WARNING", problem: "PROBLEM" }

export default async function run({ output, homeIfGiven, signal }: CommandContext): Promise<void> {
  const directory = homeIfGiven()
  const facts = await gather(directory, signal)
  signal.throwIfAborted()
  const findings = findingsOf(facts)
  for (const finding of findings) output.event("finding", finding)
  for (const { about, severity, found, advice } of findings)
    output.say(`${marks[severity].padEnd(8)} ${about}: ${found}${advice === null ? "" : `\n         -> ${advice}`}`)
  const count = (severity: Finding["severity"]) => findings.filter((finding) => finding.severity === severity).length
  const [problems, warnings] = [count("problem"), count("warning")]
  output.event("examined", { problems, warnings })
  if (directory === null) output.note("no home was named, so only the machine was looked at; --home DIR looks at a member's too")
  if (problems > 0)
    throw new GridError("PROBLEMS_FOUND", `${problems} ${problems === 1 ? "problem" : "problems"}; each has a line above of what to do`)
  output.say(warnings === 0 ? "All is well." : `It works; ${warnings} ${warnings === 1 ? "thing" : "things"} to look after.`)
}

async function gather(directory: string | null, signal: AbortSignal): Promise<Facts> {
  const nothing = { servers: [], ports: [], dht: null }
  const machine = await machineFacts()
  const nowMs = systemClock.nowMs()
  if (directory === null) return { nowMs, machine, home: null, ...nothing }
  try {
    const home = await Home.open(directory)
    const isRunning = isInUse(home)
    const found = await homeFacts(home)
    const [servers, dht] = await Promise.all([serverFacts(home), dhtFacts(home, signal)])
    const ports = await portFacts(home, isRunning, dht === null ? null : dht.reached > 0)
    return { nowMs, machine, home: found, servers, ports, dht }
  } catch (error) {
    if (signal.aborted) throw error
    return { nowMs, machine, home: faultOf(error), ...nothing }
  }
}
