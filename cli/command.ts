/** What a command is: a declaration that help and parsing are made from, and a function that is loaded when the command is used. */
import type { Output } from "./output.ts"

export type CommandContext = {
  readonly output: Output
  /** Aborted by SIGINT and SIGTERM, and when nobody reads the output any more. */
  readonly signal: AbortSignal
  readonly env: Readonly<Record<string, string | undefined>>
  /** The member's directory: `--home`, else IMAGEGRID_HOME. @throws {GridError} USAGE when neither is given */
  readonly home: () => string
  /** The same where a command goes without: null when neither is given. */
  readonly homeIfGiven: () => string | null
}

/** Each command knows its own options' shape; commander fills it from the declaration. */
export type CommandRun<Options = never> = (context: CommandContext, args: readonly string[], options: Options) => Promise<void>

export type CommandArgument = { readonly name: string; readonly description: string; readonly required: boolean }

export type CommandOption = {
  /** As commander reads them: `--expires <TIME>`. */
  readonly flags: string
  readonly description: string
  /** Shown in the help; the command itself applies it. */
  readonly default?: string
}

export type CommandSpec = {
  /** One word, or two for a command inside another: `site create`. */
  readonly name: string
  readonly group: string
  readonly summary: string
  readonly arguments: readonly CommandArgument[]
  readonly options: readonly CommandOption[]
  /** At least one, whole command lines; the first stands in the list of commands. */
  readonly examples: readonly string[]
  /** What a person should know of exit codes beyond the table of refusals. */
  readonly exitNotes?: string
  /** `none`: the command takes no --home. */
  readonly home: "needed" | "optional" | "none"
  readonly load: () => Promise<{ readonly default: CommandRun }>
}
