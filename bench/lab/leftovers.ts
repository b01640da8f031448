/**
 * Whatever a lab makes outside its own process bears the lab's process id in its name, so that two labs never clash and what one left behind that was killed can be told from what
 * one that runs still needs. A lab clears away the former when it starts.
 */
import { readdir, rm } from "node:fs/promises"
import { join } from "node:path"
import { isRunning } from "#store/process.ts"
import { batch, run } from "./command.ts"

const FORM = /^imagegrid-lab-(\d{1,10})-/

export function labName(pid: number, what: string | number): string {
  return `imagegrid-lab-${pid}-${what}`
}

/** Those of one lab. */
export function ownNames(names: readonly string[], pid: number): string[] {
  return names.filter((name) => ownerOf(name) === pid)
}

/** Those of labs whose process is gone. */
export function deadNames(names: readonly string[], running: (pid: number) => boolean = isRunning): string[] {
  return names.filter((name) => {
    const pid = ownerOf(name)
    return pid !== null && !running(pid)
  })
}

function ownerOf(name: string): number | null {
  const match = FORM.exec(name)
  return match === null ? null : Number(match[1])
}

/** Clears away what killed labs left: processes, namespaces, and files in `directory`. */
export async function clearLeftovers(directory: string): Promise<void> {
  await removeNamespaces(deadNames(await listNamespaces()))
  for (const name of deadNames(await readdir(directory))) await rm(join(directory, name), { recursive: true, force: true })
}

/** Every named network namespace of this machine. */
export async function listNamespaces(): Promise<string[]> {
  const listing = await run("ip", ["netns", "list"])
  return listing.split("\n").flatMap((line) => line.split(" ")[0] || [])
}

/** Ends what still runs in them and removes them, their links and their routes. */
export async function removeNamespaces(names: readonly string[]): Promise<void> {
  if (names.length === 0) return
  const listings = await batch(
    "ip",
    null,
    names.map((name) => `netns pids ${name}`),
  )
  for (const pid of listings.split("\n").filter((line) => /^\d+$/.test(line))) killQuietly(Number(pid))
  await batch(
    "ip",
    null,
    names.map((name) => `netns delete ${name}`),
  )
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL")
  } catch {
    // It ended by itself.
  }
}
