/**
 * An administrator's change of the site, from the wish to the newest catalog: drafted against the current one, signed with the keys at hand, and
 * applied if that is enough. If not, it is for the caller to write down for the holders of the other keys.
 */
import { draftChange, isComplete, requirementsOf, signChange, type Change, type Edits, type Requirement } from "#trust/change.ts"
import type { CatalogFiles } from "#trust/catalog-file.ts"
import { GridError } from "#core/errors.ts"
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
export function makeChange(parts: MakeChangeParts, edits: (files: CatalogFiles) => Edits): Promise<MadeChange> {
  return unlessOvertaken(async () => {
    const { files } = await currentCatalog(parts)
    const draft = draftChange(files, edits(files), parts.clock.nowMs())
    return finishChange(parts, files, draft)
  })
}

/** How often a change is drafted anew because another one came first. */
const DRAFTS_MAX = 5

/** Does it again, from the catalog of then, where another change came between reading the catalog and submitting. @throws what `make` throws last */
export async function unlessOvertaken<Made>(make: () => Promise<Made>): Promise<Made> {
  for (let drafts = 1; ; drafts++)
    try {
      return await make()
    } catch (error) {
      if (!(error instanceof GridError) || error.code !== "CATALOG_ROLLBACK" || drafts === DRAFTS_MAX) throw error
    }
}

/** As `makeChange`, and applies nothing. */
export async function proposeChange(parts: MakeChangeParts, edits: (files: CatalogFiles) => Edits): Promise<SignedChange> {
  const { files } = await currentCatalog(parts)
  return signWith(parts.keys, { files, change: draftChange(files, edits(files), parts.clock.nowMs()) })
}

/** Signs a change with the keys at hand and applies it where it is complete then. */
export async function finishChange(parts: MakeChangeParts, files: CatalogFiles, draft: Change): Promise<MadeChange> {
  const signed = await signWith(parts.keys, { files, change: draft })
  const applied = isComplete(signed.requirements)
  if (applied) await submitChange(parts, signed.change)
  return { applied, ...signed }
}

export type SignedChange = Omit<MadeChange, "applied">

/** Adds a signature of each key at hand that is asked for, and opens no other. @throws {GridError} KEY_LOCKED, KEY_INVALID */
export async function signWith(keys: KeyRing, { files, change }: Pick<SignedChange, "files" | "change">): Promise<SignedChange> {
  const asked = requirementsOf(files, change).flatMap(({ keyIds }) => keyIds)
  const signed = signChange(files, change, await keys.seeds(asked))
  return { change: signed, files, requirements: requirementsOf(files, signed) }
}
