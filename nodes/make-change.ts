/**
 * An administrator's change of the site, from the wish to the newest catalog: drafted against the current one, signed with the keys at hand, and
 * applied if that is enough. If not, it is for the caller to write down for the holders of the other keys.
 */
import { draftChange, isComplete, requirementsOf, signChange, type Change, type Edits, type Requirement } from "#trust/change.ts"
import type { CatalogFiles } from "#trust/catalog-file.ts"
import type { KeyRing } from "./key-ring.ts"
import { currentCatalog, submitChange, type OwnServerParts } from "./own-server.ts"

export type MakeChangeParts = OwnServerParts & { readonly keys: KeyRing }

export type MadeChange = {
  /** Whether the site's catalog has it now. */
  readonly applied: boolean
  readonly change: Change
  /** What the change follows. */
  readonly files: CatalogFiles
  readonly requirements: readonly Requirement[]
}

/**
 * @param edits from the current catalog's files
 * @throws {GridError} as draftChange and applyChange; KEY_LOCKED
 */
export async function makeChange(parts: MakeChangeParts, edits: (files: CatalogFiles) => Edits): Promise<MadeChange> {
  const { files } = await currentCatalog(parts)
  const draft = draftChange(files, edits(files), parts.clock.nowMs())
  return finishChange(parts, files, draft)
}

/** Signs a change with the keys at hand and applies it where it is complete then. */
export async function finishChange(parts: MakeChangeParts, files: CatalogFiles, draft: Change): Promise<MadeChange> {
  const asked = requirementsOf(files, draft).flatMap(({ keyIds }) => keyIds)
  const change = signChange(files, draft, await parts.keys.seeds(asked))
  const requirements = requirementsOf(files, change)
  const applied = isComplete(requirements)
  if (applied) await submitChange(parts, change)
  return { applied, change, files, requirements }
}
