/** The steps of an update, as a file that a run which goes on with it reads. */
import { readFile } from "node:fs/promises"
import { Type, type Static } from "typebox"
import { WholeNumber } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { parseJson, reader } from "#core/schema.ts"
import { escapeBytes, unescapeBytes } from "#image/byte-string.ts"
import type { Step } from "#image/update-plan.ts"
import { writeFileDurably } from "#store/atomic-file.ts"

const strict = { additionalProperties: false } as const
const Path = Type.String({ maxLength: 16 * 1024 })
const StepLine = Type.Union([
  Type.Object(
    { is: Type.Union([Type.Literal("take"), Type.Literal("place"), Type.Literal("reseat")]), path: Path, number: WholeNumber },
    strict,
  ),
  Type.Object(
    {
      is: Type.Literal("attributes"),
      path: Path,
      mode: Type.Integer({ minimum: 0, maximum: 0o7777 }),
      uid: WholeNumber,
      gid: WholeNumber,
      mtimeNs: Type.String({ pattern: "^-?\\d{1,29}$" }),
    },
    strict,
  ),
])
const readLine = reader(StepLine, "STATE_DAMAGED", "step of an update")
const readEnd = reader(Type.Object({ steps: WholeNumber }, strict), "STATE_DAMAGED", "end of the steps of an update")
const LINE_BYTES_MAX = 64 * 1024

/** A line of JSON for each, and one that counts them. */
export async function writeSteps(path: string, steps: readonly Step[]): Promise<void> {
  const lines = steps.map((step) => JSON.stringify(bareStep(step)))
  await writeFileDurably(path, `${[...lines, JSON.stringify({ steps: steps.length })].join("\n")}\n`, { mode: 0o600 })
}

function bareStep(step: Step): Static<typeof StepLine> {
  const path = escapeBytes(step.path)
  if (step.is !== "attributes") return { is: step.is, path, number: step.number }
  const { mode, uid, gid, mtimeNs } = step
  return { is: step.is, path, mode, uid, gid, mtimeNs: String(mtimeNs) }
}

/** @throws {GridError} STATE_DAMAGED */
export async function readSteps(path: string): Promise<Step[]> {
  const damaged = (): never => {
    throw new GridError("STATE_DAMAGED", `${path} is damaged or gone; deploy the image anew to an empty directory`)
  }
  const lines = (await readFile(path, "latin1").catch(damaged)).trimEnd().split("\n")
  const json = (line: string) => parseJson(line, LINE_BYTES_MAX, "STATE_DAMAGED", path)
  const { steps: count } = readEnd(json(lines.pop() ?? ""))
  if (count !== lines.length) return damaged()
  const steps: Step[] = []
  for (const line of lines) {
    const bare = readLine(json(line))
    const at = unescapeBytes(bare.path)
    if (at === null) return damaged()
    if (bare.is !== "attributes") steps.push({ is: bare.is, path: at, number: bare.number })
    else {
      const { mode, uid, gid, mtimeNs } = bare
      steps.push({ is: bare.is, path: at, mode, uid, gid, mtimeNs: BigInt(mtimeNs) })
    }
  }
  return steps
}
