/** Who may use an invite, when several servers are asked at once. Pure. */
import type { ClaimRequest } from "#core/wire.ts"

/** `issued` once a certificate was made out for it: from then on the claim is never given up. */
export type KnownClaim = { readonly memberId: string; readonly issued: boolean }

/**
 * Whether one more use of an invite may be claimed, given the claims known here. Two servers that are asked at once decide alike:
 * while neither claim is issued, the lower member id stands and displaces the other.
 */
export function decideClaim(
  known: readonly KnownClaim[],
  wanted: Pick<ClaimRequest, "memberId" | "uses">,
): { readonly kind: "accepted"; readonly displaces: string | null } | { readonly kind: "used" } {
  if (known.some((claim) => claim.memberId === wanted.memberId)) return { kind: "accepted", displaces: null }
  if (known.length < wanted.uses) return { kind: "accepted", displaces: null }
  const weakest = known
    .filter((claim) => !claim.issued && claim.memberId > wanted.memberId)
    .map((claim) => claim.memberId)
    .sort()
    .at(-1)
  return weakest === undefined ? { kind: "used" } : { kind: "accepted", displaces: weakest }
}
