/**
 * Secrets must stay where they are kept. Test helpers read them from every home that a test made, look for them where they must never be, and
 * register them with scripts/test.ts, which looks for them in everything that the whole suite printed.
 *
 * Invariant: no message made here holds any part of a secret; it says which one, by its place in its home.
 */
import { randomUUID } from "node:crypto"
import { appendFileSync, globSync, readdirSync, readFileSync, statSync } from "node:fs"
import { basename, join, relative } from "node:path"

/** `what`: the file, and the place in it, that holds the secret. */
export type Secret = { readonly what: string; readonly bytes: Buffer }
export type Leak = { readonly what: string; readonly form: string; readonly where: string }

/** Names the directory in which secrets are registered, one file for each process. */
export const SECRETS_VARIABLE = "IMAGEGRID_TEST_SECRETS"
/** Of a home's files, larger ones are sealed layers. */
const SEARCHED_BYTES_MAX = 16 * 1024 * 1024
const registration = `${process.pid}-${randomUUID()}`

/** All secrets in a home's `keys/`: every file of 64 hex digits, and every such string in secrets.json. */
export function secretsOf(home: string): Secret[] {
  const keys = join(home, "keys")
  const secrets: Secret[] = []
  for (const name of readdirSync(keys)) {
    const text = name.endsWith(".key") || name.endsWith(".json") ? readFileSync(join(keys, name), "latin1") : ""
    for (const [position, [hex]] of [...text.matchAll(/\b[0-9a-f]{64}\b/g)].entries())
      secrets.push({ what: `${basename(home)}/keys/${name} #${position + 1}`, bytes: Buffer.from(hex, "hex") })
  }
  return secrets
}

/** The homes below a directory. */
export function homesIn(directory: string): string[] {
  return globSync(join(directory, "**", "keys", "secrets.json")).map((file) => join(file, "..", ".."))
}

/** Every secret that is found, with the form that it was found in. */
export function leaksIn(haystack: Buffer, secrets: readonly Secret[], where: string): Leak[] {
  return secrets.flatMap(({ what, bytes }) => {
    const found = formsOf(bytes).find(([, needle]) => haystack.includes(needle))
    return found === undefined ? [] : [{ what, form: found[0], where }]
  })
}

/** In the files of a home, those left out in which the secrets are at home. */
export function leaksInHome(home: string, secrets: readonly Secret[]): Leak[] {
  return readdirSync(home, { recursive: true, withFileTypes: true }).flatMap((entry) => {
    const path = join(entry.parentPath, entry.name)
    const inHome = relative(home, path)
    if (!entry.isFile() || inHome.startsWith("keys/") || statSync(path).size > SEARCHED_BYTES_MAX) return []
    return leaksIn(readFileSync(path), secrets, `${basename(home)}/${inHome}`)
  })
}

/** In what `ps` shows of a process; nothing when it has ended. */
export function leaksInTitle(pid: number, secrets: readonly Secret[]): Leak[] {
  try {
    return leaksIn(readFileSync(`/proc/${pid}/cmdline`), secrets, "the process title")
  } catch {
    return []
  }
}

/** Tells scripts/test.ts, when that runs this, what to look for. */
export function registerSecrets(secrets: readonly Secret[]): void {
  const directory = process.env[SECRETS_VARIABLE]
  if (directory === undefined) return
  const lines = secrets.map(({ what, bytes }) => `${bytes.toString("hex")} ${what}\n`).join("")
  appendFileSync(join(directory, registration), lines, { mode: 0o600 })
}

export function registeredSecrets(directory: string): Secret[] {
  const byHex = new Map<string, Secret>()
  for (const name of readdirSync(directory))
    for (const line of readFileSync(join(directory, name), "utf8").split("\n"))
      if (line !== "") byHex.set(line.slice(0, 64), { what: line.slice(65), bytes: Buffer.from(line.slice(0, 64), "hex") })
  return [...byHex.values()]
}

export function describeLeaks(leaks: readonly Leak[]): string {
  const each = leaks.map(({ what, form, where }) => `${what} stands in ${where} (${form})`)
  return `leaked secrets (${leaks.length}): ${each.join("; ")}`
}

/** @throws {Error} that names each leak */
export function requireNoLeak(leaks: readonly Leak[]): void {
  if (leaks.length > 0) throw new Error(describeLeaks(leaks))
}

/** The ways in which bytes stand in text and files. Base64 of longer data holds them at one of three places within a group of letters. */
function formsOf(bytes: Buffer): [form: string, needle: Buffer][] {
  const hex = bytes.toString("hex")
  const forms: [string, Buffer][] = [
    ["raw bytes", bytes],
    ["hex", Buffer.from(hex)],
    ["upper-case hex", Buffer.from(hex.toUpperCase())],
    ["JSON of a Buffer", Buffer.from([...bytes].join(","))],
  ]
  for (const encoding of ["base64", "base64url"] as const)
    for (const before of [0, 1, 2]) {
      const padded = Buffer.concat([Buffer.alloc(before), bytes])
      const letters = padded.toString(encoding).replaceAll("=", "")
      // The letters that no neighbouring byte has a part in.
      const core = letters.slice(Math.ceil((before * 8) / 6), Math.floor((padded.length * 8) / 6))
      forms.push([`${encoding} at ${before}`, Buffer.from(core)])
    }
  return forms
}
