/** Manual pages (man-pages(7), roff) from the same declarations as `--help`: one of the program, one of each command. Pure. */
import { exitCodes, refusals } from "#core/errors.ts"
import type { CommandSpec } from "./command.ts"

export type ManPage = { readonly file: string; readonly text: string }

const exitWords: Readonly<Record<keyof typeof exitCodes, string>> = {
  internal: "A defect of the program.",
  usage: "The command line is wrong.",
  data: "Data that was given or received is wrong.",
  input: "A named input does not exist or can't be read.",
  unavailable: "Nobody who could serve this was reachable.",
  output: "The output can't be made: it exists, or is not empty.",
  io: "The operating system failed at reading or writing.",
  retry: "Passing: the same command may work later.",
  permission: "Not permitted to this member.",
  configuration: "The home or the machine is set up wrongly.",
  interrupted: "Ended by SIGINT or SIGTERM.",
}

export function manPages(specs: readonly CommandSpec[], version: string): ManPage[] {
  return [programPage(specs, version), ...specs.map((spec) => commandPage(spec, version))]
}

/** `imagegrid-site-create.1`. */
export function manFile(name: string): string {
  return `imagegrid-${name.replaceAll(" ", "-")}.1`
}

function programPage(specs: readonly CommandSpec[], version: string): ManPage {
  const groups = [...new Set(specs.map(({ group }) => group))]
  const text = [
    head("imagegrid", version),
    section("NAME", "imagegrid \\- deploys operating-system images to many machines from many servers, peer to peer, signed and sealed"),
    section("SYNOPSIS", "\\fBimagegrid\\fR \\fICOMMAND\\fR [arguments] [options]"),
    section(
      "COMMANDS",
      groups
        .map(
          (group) =>
            `.SS ${escaped(group)}\n${specs
              .filter((spec) => spec.group === group)
              .map(entryOf)
              .join("\n")}`,
        )
        .join("\n"),
    ),
    section(
      "OPTIONS",
      [
        tagged("\\fB\\-\\-json\\fR", "print one JSON object a line on standard output, and nothing else there; for programs"),
        tagged("\\fB\\-\\-home\\fR \\fIDIR\\fR", "the member's directory"),
        tagged("\\fB\\-\\-help\\fR", "of a command: its arguments, options and examples"),
        tagged("\\fB\\-\\-version\\fR", "print the version"),
      ].join("\n"),
    ),
    exitStatus(),
    environment(),
    section(
      "FILES",
      tagged("\\fI/var/lib/imagegrid\\fR", "the home of a server that was installed as a package") +
        "\n" +
        tagged("\\fI/usr/share/doc/imagegrid/operating.md\\fR", "how a site is run: homes, keys, groups, versions, what happens when"),
    ),
    section("SEE ALSO", specs.map(({ name }) => `\\fB${manFile(name).slice(0, -2)}\\fR(1)`).join(",\n")),
  ]
  return { file: "imagegrid.1", text: text.join("") }
}

function entryOf({ name, summary }: CommandSpec): string {
  return tagged(`\\fBimagegrid ${escaped(name)}\\fR`, escaped(summary))
}

function commandPage(spec: CommandSpec, version: string): ManPage {
  const { name, summary, options, examples, exitNotes, home } = spec
  const title = manFile(name).slice(0, -2)
  const synopsis = spec.arguments
    .map((argument) => (argument.required ? `\\fI${escaped(argument.name)}\\fR` : `[\\fI${escaped(argument.name)}\\fR]`))
    .join(" ")
  const homeOption =
    home === "none" ? [] : [tagged("\\fB\\-\\-home\\fR \\fIDIR\\fR", "the member's directory; IMAGEGRID_HOME stands for it")]
  const text = [
    head(title, version),
    section("NAME", `${title} \\- ${escaped(summary)}`),
    section("SYNOPSIS", `\\fBimagegrid ${escaped(name)}\\fR ${synopsis} [options]`),
    spec.arguments.length === 0
      ? ""
      : section(
          "ARGUMENTS",
          spec.arguments.map((argument) => tagged(`\\fI${escaped(argument.name)}\\fR`, escaped(argument.description))).join("\n"),
        ),
    section(
      "OPTIONS",
      [
        ...options.map(({ flags, description, default: known }) =>
          tagged(`\\fB${escaped(flags)}\\fR`, escaped(description + (known === undefined ? "" : ` (default: ${known})`))),
        ),
        ...homeOption,
        tagged("\\fB\\-\\-json\\fR", "print one JSON object a line, for programs"),
      ].join("\n"),
    ),
    section("EXAMPLES", examples.map((example) => `.PP\n.EX\n${escaped(example)}\n.EE`).join("\n")),
    exitStatus(exitNotes),
    environment(),
    section("SEE ALSO", "\\fBimagegrid\\fR(1)"),
  ]
  return { file: manFile(name), text: text.join("") }
}

function head(title: string, version: string): string {
  return `.TH ${title.toUpperCase().replaceAll("-", "\\-")} 1 "" "imagegrid ${escaped(version)}" "imagegrid"\n`
}

function section(title: string, body: string): string {
  return `.SH ${title}\n${body}\n`
}

function tagged(tag: string, body: string): string {
  return `.TP\n${tag}\n${body}`
}

function exitStatus(notes?: string): string {
  const codes = Object.entries(exitCodes).map(([kind, code]) => {
    const named = Object.entries(refusals)
      .filter(([, refusal]) => refusal.exit === kind)
      .map(([name]) => name)
    return tagged(
      `\\fB${code}\\fR`,
      escaped(`${exitWords[kind as keyof typeof exitCodes]}${named.length === 0 ? "" : ` ${named.join(", ")}.`}`),
    )
  })
  return section("EXIT STATUS", [...(notes === undefined ? [] : [escaped(notes)]), tagged("\\fB0\\fR", "Success."), ...codes].join("\n"))
}

function environment(): string {
  return section("ENVIRONMENT", tagged("\\fBIMAGEGRID_HOME\\fR", "the member's directory, where \\-\\-home is not given"))
}

/** Nothing of it is taken for a request or an escape of roff. */
function escaped(text: string): string {
  const plain = text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("'", "\\(aq")
    .replaceAll("`", "\\(ga")
    .replaceAll("^", "\\(ha")
    .replaceAll("~", "\\(ti")
  return plain.startsWith(".") ? `\\&${plain}` : plain
}
