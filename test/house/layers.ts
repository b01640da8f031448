/**
 * The direction of imports, over a map of the source files: path from the root, with "/", to text. Text is searched for the forms of import that
 * oxfmt leaves; what it can't resolve is a violation, so that a new form fails instead of passing unseen.
 */
import { posix } from "node:path"

/** Lowest first. A room imports itself and the rooms below; those of one level don't import one another. */
const LEVELS = [["core"], ["crypto"], ["trust", "image", "store", "swarm"], ["grid", "member"], ["nodes", "client"], ["cli"]] as const
export const rooms: readonly string[] = LEVELS.flat()
/** They may import anything; nothing else imports them. */
const OUTSIDE = new Set(["test", "bench", "scripts"])

/** What core may import besides itself. */
const CORE_PACKAGES = new Set(["node:crypto", "bencode", "typebox", "typebox/compile"])
/** Folders that decide and do no I/O, with the only modules of Node that they may use. */
const PURE = ["crypto/", "trust/", "swarm/core/", "grid/core/"]
const PURE_NODE_MODULES = new Set(["node:crypto", "node:buffer", "node:util", "node:events", "node:path/posix"])
/** Making a context for TLS reads nothing; the sockets are opened in swarm/, member/ and nodes/. */
const PURE_EXCEPTIONS = new Map([["crypto/admission.ts", "node:tls"]])
const IMPURE_WORDS =
  /\b(?:process\s*\.\s*(?:env|argv|cwd|hrtime|stdout|stderr)|Date\s*\.\s*now|new Date\(\)|performance\s*\.\s*now|Math\s*\.\s*random|console\s*\.|fetch\s*\(|setTimeout\s*\(|setInterval\s*\()/g

/** `import ... from`, `export ... from`, `import "..."`, with or without `type`. */
const STATEMENT =
  /(?:^|[;}])\s*(?:import\s+(?:type\s+)?(?:[\w$]+\s*,?\s*)?(?:\*\s+as\s+[\w$]+\s*|\{[^}]*\}\s*)?from\s*|import\s*|export\s+(?:type\s+)?(?:\*(?:\s+as\s+[\w$]+)?|\{[^}]*\})\s*from\s*)(["'])([^"'\n]+)\1/gm
/** `import("...")` as an expression or as a type, and `require("...")`. */
const CALL = /\b(?:import|require)\s*\(\s*([^)]{0,300})/g
/** A call's argument when it is one plain string, perhaps with options after it. */
const LITERAL = /^(["'`])([^"'`$\n]+)\1\s*(?:,|$)/

/** Each violation as a sentence; none when the house is in order. */
export function layerViolations(files: ReadonlyMap<string, string>): string[] {
  const violations: string[] = []
  for (const room of rooms)
    if (![...files.keys()].some((path) => path.startsWith(`${room}/`)))
      violations.push(`${room}/ has no files: the check sees nothing there`)
  for (const [path, text] of files) {
    const room = roomOf(path)
    if (!rooms.includes(room) && !OUTSIDE.has(room)) violations.push(`${path} is in no room`)
    if (OUTSIDE.has(room)) continue
    const code = withoutComments(text)
    for (const specifier of importsOf(code)) {
      const fault = importFault(path, specifier, files)
      if (fault !== null) violations.push(`${path} ${fault}`)
    }
    if (PURE.some((folder) => path.startsWith(folder)))
      for (const [word] of code.matchAll(IMPURE_WORDS)) violations.push(`${path} is to do no I/O and has no clock, but uses ${word}`)
  }
  return violations
}

function importFault(path: string, specifier: string | null, files: ReadonlyMap<string, string>): string | null {
  if (specifier === null) return "imports a name that it computes"
  const target = targetOf(path, specifier)
  if (target === null) return packageFault(path, specifier)
  if (target === "package.json" && path.startsWith("cli/")) return null
  if (!files.has(target)) return `imports ${specifier}, which is no file of this house`
  const [from, to] = [roomOf(path), roomOf(target)]
  if (OUTSIDE.has(to)) return `imports ${target}: the program does not depend on ${to}/`
  if (from !== to && levelOf(to) >= levelOf(from)) return `imports ${target}: ${from}/ does not stand above ${to}/`
  if (path.startsWith("swarm/core/") && to === "swarm" && !target.startsWith("swarm/core/"))
    return `imports ${target}: the core of the swarm does not know its shell`
  return null
}

function packageFault(path: string, specifier: string): string | null {
  if (roomOf(path) === "core")
    return CORE_PACKAGES.has(specifier) ? null : `imports ${specifier}: core takes only ${[...CORE_PACKAGES].join(", ")}`
  const pure = PURE.some((folder) => path.startsWith(folder))
  const builtin = specifier.startsWith("node:") || BARE_BUILTINS.has(specifier.split("/")[0] ?? "")
  if (!pure || !builtin || PURE_NODE_MODULES.has(specifier) || PURE_EXCEPTIONS.get(path) === specifier) return null
  return `is to do no I/O, but imports ${specifier}`
}

/** Modules of Node that would do I/O, by their names without `node:`. */
const BARE_BUILTINS = new Set([
  "fs",
  "net",
  "tls",
  "dgram",
  "dns",
  "http",
  "https",
  "http2",
  "child_process",
  "worker_threads",
  "cluster",
  "os",
  "process",
])

/** The file that is meant, or null for a package. */
function targetOf(path: string, specifier: string): string | null {
  if (specifier.startsWith("#")) return posix.normalize(specifier.slice(1))
  if (specifier.startsWith(".")) return posix.join(posix.dirname(path), specifier)
  return null
}

/** Every specifier; null stands for one that is computed. */
function importsOf(code: string): (string | null)[] {
  const statements = [...code.matchAll(STATEMENT)].map(([, , specifier]) => specifier ?? null)
  const calls = [...code.matchAll(CALL)].map(([, argument]) => LITERAL.exec((argument ?? "").trim())?.[2] ?? null)
  return [...statements, ...calls]
}

/** Comments go; a string that looks like the start of one stays, as comments follow a blank or begin a line. */
function withoutComments(text: string): string {
  return text.replaceAll(/(^|\s)\/\*[\s\S]*?\*\//g, "$1").replaceAll(/(^|\s)\/\/.*$/gm, "$1")
}

function roomOf(path: string): string {
  return path.split("/")[0] ?? ""
}

function levelOf(room: string): number {
  return LEVELS.findIndex((level) => (level as readonly string[]).includes(room))
}
