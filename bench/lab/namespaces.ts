/**
 * Names of the network namespaces of a lab: they carry the process id, so that two labs never clash and the leftovers of one that was killed can be told
 * from those of one that runs.
 */
import { isRunning } from "#store/process.ts"
import { run } from "./command.ts"

const PREFIX = "imagegrid-lab"
const FORM = new RegExp(`^${PREFIX}-(\\d{1,10})-`)

/** The namespace that holds the bridge and nothing else. */
export function bridgeNamespace(pid: number): string {
  return `${PREFIX}-${pid}-bridge`
}

export function hostNamespace(pid: number, number: number): string {
  return `${PREFIX}-${pid}-${number}`
}

/** Those of labs whose process is gone. */
export function deadNamespaces(names: readonly string[], running: (pid: number) => boolean = isRunning): string[] {
  return names.filter((name) => {
    const pid = FORM.exec(name)?.[1]
    return pid !== undefined && !running(Number(pid))
  })
}

/** Those of one lab, or of none. */
export function namespacesOf(names: readonly string[], pid: number): string[] {
  return names.filter((name) => FORM.exec(name)?.[1] === String(pid))
}

/** Every named network namespace of this machine. */
export async function listNamespaces(): Promise<string[]> {
  const listing = await run("ip", ["netns", "list"])
  return listing.split("\n").flatMap((line) => line.split(" ")[0] || [])
}

/** Ends what still runs in them and removes them, their links and their routes. */
export async function removeNamespaces(names: readonly string[]): Promise<void> {
  for (const name of names) {
    const pids = (await run("ip", ["netns", "pids", name])).split("\n").filter((line) => line !== "")
    for (const pid of pids) killQuietly(Number(pid))
  }
  if (names.length > 0) await run("ip", ["-batch", "-"], names.map((name) => `netns delete ${name}\n`).join(""))
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL")
  } catch {
    // It ended by itself.
  }
}
