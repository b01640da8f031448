/**
 * Replaces the keys with which people sign: of the root, of targets, or of a publisher. Each that this home holds gets a successor in a file of
 * its own, durable before the change is made. The old file stays until the change is in force, because until then it is the one that counts.
 */
import { readdir } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import type { CatalogFiles } from "#trust/catalog-file.ts"
import type { Edits } from "#trust/change.ts"
import { newestRoot, targetsOf } from "#trust/files.ts"
import { keyIdOfSeed, tufKeyOf, type SignedBody } from "#trust/metadata.ts"
import { GridError } from "#core/errors.ts"
import { keysDirectory } from "#member/home.ts"
import { createKeyFile, isProtected, retireKeyFile, type AskPassphrase } from "./key-ring.ts"
import { makeChange, type MadeChange } from "./make-change.ts"
import { currentCatalog } from "./own-server.ts"
import type { RotateParts } from "./rotate.ts"

export type SigningRole = { readonly kind: "root" | "targets" } | { readonly kind: "publisher"; readonly name: string }

export type RotateSigningParts = RotateParts & {
  /** Asked for the passphrase of a new key file, where the old one has a passphrase. */
  readonly newPassphrase: AskPassphrase
}

/** Files of the home's `keys/`. */
export type Succession = { readonly old: string; readonly new: string }

type Successor = Succession & { readonly oldId: string; readonly seed: Buffer }

/**
 * Replaces all keys of the role that this home holds, one for one; the others of the role, and its threshold, stay as they are.
 * @throws {GridError} KEY_MISSING where this home holds none; KEY_LOCKED; as makeChange
 */
export async function rotateSigningKeys(
  parts: RotateSigningParts,
  role: SigningRole,
): Promise<MadeChange & { readonly keyFiles: readonly Succession[] }> {
  const { files } = await currentCatalog(parts)
  const keyIds = keyIdsOf(files, role)
  const directory = keysDirectory(parts.home.directory)
  const held = parts.keys.places(keyIds).filter(({ path }) => dirname(path) === directory)
  if (held.length === 0)
    throw new GridError("KEY_MISSING", `${directory} holds no key of ${wordsOf(role)}; use the home of a holder, who alone can replace it`)
  // Opened before anything is made: whoever mistypes a passphrase learns it now.
  await parts.keys.seeds(held.map(({ keyId }) => keyId))
  const successors: Successor[] = []
  for (const { path, keyId } of held) {
    const seed = Buffer.from(parts.random(32))
    const successor = await freeName(path)
    await createKeyFile(successor, seed, (await isProtected(path)) ? await parts.newPassphrase(successor) : null)
    successors.push({ old: path, new: successor, oldId: keyId, seed })
  }
  const keys = parts.keys.with(successors.map((successor) => ({ path: successor.new, seed: successor.seed })))
  try {
    const made = await makeChange({ ...parts, keys }, () => editsFor(role, successors))
    if (made.applied) for (const { old } of successors) await retireKeyFile(old)
    return { ...made, keyFiles: successors.map((successor) => ({ old: successor.old, new: successor.new })) }
  } catch (error) {
    if (!(error instanceof GridError)) throw error
    // The server may have taken the change and its answer be lost: then the new file is the key.
    const kept = successors.map((successor) => successor.new).join(", ")
    throw new GridError(error.code, `${error.detail}. ${kept} stays; remove it if the site does not name its key`, { cause: error })
  }
}

function keyIdsOf(files: CatalogFiles, role: SigningRole): readonly string[] {
  if (role.kind !== "publisher") return newestRoot(files).roles[role.kind].keyids
  const { roles } = targetsOf(files).delegations
  const delegation = roles.find(({ name }) => name === role.name)
  if (delegation !== undefined) return delegation.keyids
  throw new GridError("USAGE", `the site has no publisher ${role.name}; it has ${roles.map(({ name }) => name).join(", ") || "none"}`)
}

function editsFor(role: SigningRole, successors: readonly Successor[]): Edits {
  const idOf = new Map(successors.map(({ oldId, seed }) => [oldId, keyIdOfSeed(seed)]))
  const keys = Object.fromEntries(successors.map(({ seed }) => [keyIdOfSeed(seed), tufKeyOf(seed)]))
  const renamed = (keyids: readonly string[]): string[] => keyids.map((id) => idOf.get(id) ?? id)
  if (role.kind === "publisher")
    return {
      delegations: (before) => ({
        keys: { ...before.keys, ...keys },
        roles: before.roles.map((one) => (one.name === role.name ? { ...one, keyids: renamed(one.keyids) } : one)),
      }),
    }
  const { kind } = role
  return {
    root: (before: SignedBody<"root">) => ({
      ...before,
      keys: { ...before.keys, ...keys },
      roles: { ...before.roles, [kind]: { ...before.roles[kind], keyids: renamed(before.roles[kind].keyids) } },
    }),
  }
}

/** `root.key` is followed by `root-2.key`, and that by `root-3.key`. */
async function freeName(path: string): Promise<string> {
  const names = new Set((await readdir(dirname(path))).map((name) => name.replace(/\.retired$/, "")))
  const stem = basename(path, ".key").replace(/-\d+$/, "")
  for (let number = 2; ; number++)
    if (!names.has(`${stem}-${number}.key`) && !names.has(`${stem}-${number}.pub`)) return join(dirname(path), `${stem}-${number}.key`)
}

function wordsOf(role: SigningRole): string {
  return role.kind === "publisher" ? `publisher ${role.name}` : role.kind
}
