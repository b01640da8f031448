/** The declared commands as a parser, with a help that shows each by an example. */
import { Command } from "commander"
import { GridError } from "#core/errors.ts"
import type { CommandContext, CommandSpec } from "./command.ts"

/** What a parsed command line asks for. */
export type Invocation = {
  readonly spec: CommandSpec
  readonly args: readonly string[]
  readonly options: Readonly<Record<string, unknown>>
}

export type ProgramParts = {
  readonly version: string
  readonly specs: readonly CommandSpec[]
  /** Help that was asked for. */
  readonly print: (text: string) => void
  /** Help that was not. */
  readonly printAside: (text: string) => void
  readonly run: (invocation: Invocation) => Promise<void>
}

/**
 * Parses and runs one command line. Help and version are printed and are a success.
 * @throws {CommanderError} for a command line that is wrong; and whatever the command throws
 */
export async function runProgram(parts: ProgramParts, words: readonly string[]): Promise<void> {
  const root = new Command("imagegrid").version(`imagegrid ${parts.version}`).exitOverride()
  root.configureOutput({ writeOut: parts.print, writeErr: parts.printAside, outputError: () => {} }).showSuggestionAfterError()
  root.helpInformation = () => rootHelp(parts.specs)
  for (const spec of parts.specs) addCommand(root, spec, parts)
  await root.parseAsync(words, { from: "user" })
}

function addCommand(root: Command, spec: CommandSpec, parts: ProgramParts): void {
  const words = spec.name.split(" ")
  const last = words.pop() ?? ""
  const command = new Command(last).description(`${spec.summary[0]?.toUpperCase()}${spec.summary.slice(1)}.`)
  parentOf(root, words, parts.specs).addCommand(command.copyInheritedSettings(root))
  for (const { name, description, required } of spec.arguments) command.argument(required ? `<${name}>` : `[${name}]`, description)
  for (const option of spec.options) {
    const known = option.default === undefined ? "" : ` (default: ${option.default})`
    command.option(option.flags, option.description + known)
  }
  if (spec.home !== "none") command.option("--home <DIR>", "the member's directory (or set IMAGEGRID_HOME)")
  command.option("--json", "print one JSON object a line, for programs")
  command.addHelpText("after", helpAfter(spec))
  command.action(async () => {
    const given = command.processedArgs.flat().filter((value: unknown) => typeof value === "string")
    await parts.run({ spec, args: given, options: command.opts() })
  })
}

/** `site` of `site create`: made when the first of its commands is added. */
function parentOf(root: Command, words: readonly string[], specs: readonly CommandSpec[]): Command {
  let parent = root
  for (const word of words) {
    let next = parent.commands.find((command) => command.name() === word)
    if (next === undefined) {
      const names = specs.map((spec) => spec.name).filter((name) => name.startsWith(`${word} `))
      next = parent.command(word).description(names.map((name) => `imagegrid ${name}`).join(", "))
    }
    parent = next
  }
  return parent
}

function rootHelp(specs: readonly CommandSpec[]): string {
  const lines = ["Usage: imagegrid COMMAND [arguments] [options]", ""]
  for (const group of new Set(specs.map((spec) => spec.group))) {
    lines.push(`${group}:`)
    for (const spec of specs)
      if (spec.group === group) lines.push(`  ${spec.name.padEnd(14)} ${spec.summary}`, `      ${spec.examples[0] ?? ""}`)
    lines.push("")
  }
  lines.push(
    "Every command takes --json (one JSON object a line, for programs) and --help.",
    "--home DIR names the member's directory; IMAGEGRID_HOME does so for all commands.",
    "imagegrid --version prints the version.",
    "",
  )
  return lines.join("\n")
}

function helpAfter(spec: CommandSpec): string {
  const examples = spec.examples.map((example) => `  ${example}`).join("\n")
  const notes = spec.exitNotes === undefined ? "" : `\n\n${spec.exitNotes}`
  return `\nExample${spec.examples.length === 1 ? "" : "s"}:\n${examples}${notes}`
}

/** `--home`, else IMAGEGRID_HOME. @throws {GridError} USAGE */
export function homeOf(options: Readonly<Record<string, unknown>>, env: CommandContext["env"]): string {
  const given = homeIfGiven(options, env)
  if (given !== null) return given
  throw new GridError("USAGE", "name the member's directory: --home DIR, or set IMAGEGRID_HOME")
}

export function homeIfGiven(options: Readonly<Record<string, unknown>>, env: CommandContext["env"]): string | null {
  const given = options["home"] ?? env["IMAGEGRID_HOME"]
  return typeof given === "string" && given !== "" ? given : null
}
