/** Indexes of trees that this client keeps beside the sealed ones: of what a tree is after an update, and was before it. */
import { hash } from "node:crypto"
import { mkdir, readdir, rm } from "node:fs/promises"
import { GridError, systemErrorCode } from "#core/errors.ts"
import type { Sha256 } from "#core/identifiers.ts"
import { decodeIndex, type TreeIndex } from "#image/tree-index.ts"
import type { Home } from "#member/home.ts"
import { readBounded, writeFileDurably } from "#store/atomic-file.ts"
import { listDeployments } from "./deployment-record.ts"

const DIRECTORY = "indexes"
const INDEX_BYTES_MAX = 2 ** 30

/** Durable when it resolves, to the digest that names it. */
export async function holdIndex(home: Home, bytes: Uint8Array): Promise<Sha256> {
  const digest = hash("sha256", bytes) as Sha256
  await mkdir(home.path(DIRECTORY), { recursive: true, mode: 0o700 })
  await writeFileDurably(home.path(DIRECTORY, digest), bytes, { mode: 0o600 })
  return digest
}

/** Null when it is not held. @throws {GridError} STATE_DAMAGED */
export async function heldIndex(home: Home, digest: string): Promise<TreeIndex | null> {
  try {
    const bytes = await readBounded(home.path(DIRECTORY, digest), INDEX_BYTES_MAX)
    if (hash("sha256", bytes) !== digest)
      throw new GridError("STATE_DAMAGED", `${home.path(DIRECTORY, digest)} is damaged; remove it and deploy the image anew`)
    return decodeIndex(bytes)
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null
    throw error
  }
}

/** Of a tree as it was at `version`. @throws {GridError} STATE_DAMAGED */
export async function requireIndex(home: Home, digest: string, version: string): Promise<TreeIndex> {
  const index = await heldIndex(home, digest)
  if (index !== null) return index
  throw new GridError("STATE_DAMAGED", `${home.directory} has lost the index of the tree as it was at ${version}; deploy it anew`)
}

/** Removes those that no record names. */
export async function forgetIndexes(home: Home): Promise<void> {
  const named = new Set<string>()
  for (const record of await listDeployments(home))
    for (const digest of [record, record.update].flatMap((one) => [one?.indexSha256, one?.laidSha256, one?.expectedSha256]))
      if (digest !== undefined) named.add(digest)
  for (const name of await readdir(home.path(DIRECTORY)).catch(() => [])) if (!named.has(name)) await rm(home.path(DIRECTORY, name))
}
