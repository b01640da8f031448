/** How many copies of which images there are to be, on how many sites, and which servers hold more or less than others. Rules of the site's document. */
import type { SiteDocument } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import type { MemberId } from "#core/identifiers.ts"
import { namePattern } from "#core/name-patterns.ts"
import { makeChange, type MadeChange, type MakeChangeParts } from "./make-change.ts"

export type PlacementRule = Omit<SiteDocument["placement"][number], "names">

/** Sets or, with null, takes away the rule for these names, before all others. @throws {GridError} NAME_INVALID, USAGE; as makeChange */
export function setPlacement(parts: MakeChangeParts, names: readonly string[], rule: PlacementRule | null): Promise<MadeChange> {
  for (const pattern of names) namePattern(pattern)
  const both = rule?.pins.find((memberId) => rule.refuse.includes(memberId))
  if (both !== undefined) throw new GridError("USAGE", `${both} is both to hold them and not to`)
  if (rule !== null && rule.sites > rule.copies)
    throw new GridError("USAGE", `${rule.copies} copies can't be on ${rule.sites} sites; ask for as many copies at least`)
  return makeChange(parts, () => ({
    site: (document) => {
      const others = document.placement
        .map((one) => ({ ...one, names: one.names.filter((pattern) => !names.includes(pattern)) }))
        .filter((one) => one.names.length > 0)
      return { ...document, placement: rule === null ? others : [{ names: [...names], ...rule }, ...others] }
    },
  }))
}

/** A server's share of the copies beside others, whose weight is 1 unless it was set. @throws as makeChange */
export function setWeight(parts: MakeChangeParts, memberId: MemberId, weight: number): Promise<MadeChange> {
  return makeChange(parts, () => ({
    site: (document) => {
      const others = document.weights.filter((one) => one.memberId !== memberId)
      return { ...document, weights: weight === 1 ? others : [...others, { memberId, weight }] }
    },
  }))
}
