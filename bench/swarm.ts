/** `npm run bench:swarm`: the lab. Gives one file to many hosts over shaped links, by several transports, and tells how long each took. `--help` lists the options. */
import { mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { exitCodes, GridError } from "#core/errors.ts"
import { playLab } from "./lab/lab.ts"
import { labHelp, readLabOptions } from "./lab/options.ts"
import { programPath } from "./lab/command.ts"

/** Without these there is no lab. */
const TOOLS = { ip: "iproute2", tc: "iproute2", nsenter: "util-linux" }

async function main(words: readonly string[], signal: AbortSignal): Promise<void> {
  const options = readLabOptions(words)
  if (options === null) return console.log(labHelp)
  if (process.getuid?.() !== 0)
    throw new GridError(
      "NOT_PERMITTED",
      "the lab makes network namespaces and shapes their links; run it as root: sudo npm run bench:swarm",
    )
  for (const [tool, debianPackage] of Object.entries(TOOLS))
    if (programPath(tool) === null) throw new GridError("TOOL_MISSING", `${tool}; on Debian: apt install ${debianPackage}`)
  const result = await playLab(options, (text) => console.log(text), signal)
  if (result.failures.length > 0) process.exitCode = 1
  if (options.jsonPath !== null) await writeFile(options.jsonPath, `${JSON.stringify(result)}\n`)
  if (options.figuresDirectory === null) return
  // Drawing takes a large package: it is loaded when there is something to draw.
  const { labFigures } = await import("./lab/figures.ts")
  await mkdir(options.figuresDirectory, { recursive: true })
  for (const { name, svg } of labFigures(result)) await writeFile(join(options.figuresDirectory, name), svg)
}

const ending = new AbortController()
// Once is enough: what has begun to be cleared away is cleared away to its end.
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => ending.abort(new GridError("INTERRUPTED", name)))
try {
  await main(process.argv.slice(2), ending.signal)
} catch (error) {
  const mistaken = error instanceof RangeError || error instanceof TypeError
  if (error instanceof GridError || mistaken) console.error(`bench:swarm: ${error.message}`)
  else console.error(error)
  process.exitCode = error instanceof GridError ? error.exitCode : mistaken ? exitCodes.usage : exitCodes.internal
}
