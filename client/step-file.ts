/** The steps of an update, as a file that a run which goes on with it reads. */
import { readFile } from "node:fs/promises"
import { GridError } from "#core/errors.ts"
import { parseJson } from "#core/schema.ts"
import { escapeBytes, unescapeBytes } from "#image/byte-string.ts"
import type { Step } from "#image/update-plan.ts"
import { writeFileDurably } from "#store/atomic-file.ts"

const LINE_BYTES_MAX = 64 * 1024

/** A line of JSON for each, and one that counts them. */
export async function writeSteps(path: string, steps: readonly Step[]): Promise<void> {
  const lines = steps.map((step) =>
    JSON.stringify({ ...step, path: escapeBytes(step.path), ...(step.is === "attributes" && { mtimeNs: String(step.mtimeNs) }) }),
  )
  await writeFileDurably(path, `${[...lines, JSON.stringify({ steps: steps.length })].join("\n")}\n`, { mode: 0o600 })
}

/** @throws {GridError} STATE_DAMAGED */
export async function readSteps(path: string): Promise<Step[]> {
  const damaged = (): never => {
    throw new GridError("STATE_DAMAGED", `${path} is damaged or gone; deploy the image anew to an empty directory`)
  }
  const text = await readFile(path, "latin1").catch(damaged)
  const values = text
    .trimEnd()
    .split("\n")
    .map((line) => parseJson(line, LINE_BYTES_MAX, "STATE_DAMAGED", path) as Record<string, unknown>)
  const last = values.pop()
  if (last?.["steps"] !== values.length) return damaged()
  return values.map((value): Step => {
    const at = typeof value["path"] === "string" ? unescapeBytes(value["path"]) : null
    if (at === null) return damaged()
    if (value["is"] === "attributes")
      return { ...(value as Step & { is: "attributes" }), path: at, mtimeNs: BigInt(String(value["mtimeNs"])) }
    return { ...(value as Step & { is: "take" }), path: at }
  })
}
