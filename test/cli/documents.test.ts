import assert from "node:assert/strict"
import { globSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { test } from "node:test"
import { CommanderError } from "commander"
import { commands } from "../../cli/commands.ts"
import { runProgram } from "../../cli/program.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
/** `isWhole`: to be typed as it stands; in running text a command is spoken of without all that it needs. */
type Line = { readonly where: string; readonly text: string; readonly isWhole: boolean }
/** What begins with the program's name there are labels of keys and signatures. */
const WITHOUT_SPANS = ["docs/protocol.md", "docs/api.md"]

/** Command lines of the program in fenced blocks and in spans of code, of one document. */
function commandLines(path: string): Line[] {
  const found: Line[] = []
  let fenced = false
  for (const [index, line] of readFileSync(path, "utf8").split("\n").entries()) {
    const where = `${path.slice(root.length)}:${index + 1}`
    if (line.startsWith("```")) fenced = !fenced
    else if (fenced) {
      const command = /^(?:[a-z0-9]+[$#] )?(?:\.\/)?imagegrid (.*)$/.exec(line)?.[1]
      // What the program itself says begins with its name as well.
      if (command !== undefined && !command.startsWith(": ")) found.push({ where, text: command, isWhole: true })
    } else if (!WITHOUT_SPANS.some((document) => path.endsWith(document)))
      for (const [, text = ""] of line.matchAll(/`(?:\.\/)?imagegrid ([^`]*)`/g)) found.push({ where, text, isWhole: false })
  }
  return found
}

/** As a shell splits them: quotes are taken off, a comment or an input from elsewhere ends the line. */
function wordsOf(text: string): string[] {
  const words: string[] = []
  for (const [, single, double, plain] of text.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)) {
    if (plain?.startsWith("#") === true || plain === "<") break
    words.push(single ?? double ?? plain ?? "")
  }
  return words
}

/** The name of the command that a line asks for. @throws when there is no such command, option or form of it */
async function parsed(text: string): Promise<string> {
  let name = ""
  const ignore = () => {}
  const run = async ({ spec }: { readonly spec: { readonly name: string } }) => void (name = spec.name)
  await runProgram({ version: "0", specs: commands, print: ignore, printAside: ignore, run }, wordsOf(text))
  return name
}

const lines = [
  ...[`${root}README.md`, ...globSync(`${root}docs/*.md`)].flatMap(commandLines),
  ...commands.flatMap(({ name, examples }) =>
    examples.map((example) => ({ where: `help of ${name}`, text: example.replace(/^(\.\/)?imagegrid /, ""), isWhole: true })),
  ),
]
test("every command line in the documents and in the helps is one that the program takes", async () => {
  assert.ok(lines.length > 150, `only ${lines.length} were found`)
  const wrong: string[] = []
  for (const { where, text, isWhole } of lines)
    try {
      await parsed(text)
    } catch (error) {
      if (error instanceof CommanderError && (error.exitCode === 0 || (!isWhole && error.code === "commander.missingArgument"))) continue
      // A group of commands, such as `imagegrid trust`, shows its help.
      if (error instanceof CommanderError && !isWhole && error.code === "commander.help") continue
      wrong.push(`${where}: imagegrid ${text}: ${error instanceof Error ? error.message : String(error)}`)
    }
  assert.deepEqual(wrong, [])
})

test("every command is shown in the README or in docs/operating.md", async () => {
  const shown = new Set<string>()
  for (const { where, text } of lines)
    if (!where.startsWith("help of")) {
      const name = await parsed(text).catch(() => text)
      shown.add(name)
    }
  const documents = ["README.md", "docs/operating.md"].map((path) => readFileSync(`${root}${path}`, "utf8")).join("\n")
  for (const { name } of commands) {
    const last = name.split(" ").at(-1) ?? name
    assert.ok(
      shown.has(name) || documents.includes(`\`${last}\``) || new RegExp(`[:,] (?:[a-z]+, )*${last}\\b`).test(documents),
      `no document shows 'imagegrid ${name}'`,
    )
  }
})

test("a line with an option, a command or an argument that is not there is found", async () => {
  for (const text of ["deploy debian --targt /mnt", "deploi debian", "site crate lab", "status extra", "grant"])
    await assert.rejects(parsed(text), text)
})
