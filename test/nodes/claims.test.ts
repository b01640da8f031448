import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { decideClaim, type KnownClaim } from "../../nodes/claims.ts"

test("a member that claims again keeps its one use", () => {
  assert.deepEqual(decideClaim([{ memberId: "aa", issued: true }], { memberId: "aa", uses: 1 }), { kind: "accepted", displaces: null })
})

test("an issued claim is never displaced", () => {
  assert.deepEqual(decideClaim([{ memberId: "bb", issued: true }], { memberId: "aa", uses: 1 }), { kind: "used" })
})

test("of two claims that cross, the lower member id stands wherever they meet", () => {
  assert.deepEqual(decideClaim([{ memberId: "bb", issued: false }], { memberId: "aa", uses: 1 }), { kind: "accepted", displaces: "bb" })
  assert.deepEqual(decideClaim([{ memberId: "aa", issued: false }], { memberId: "bb", uses: 1 }), { kind: "used" })
})

test("no order of claims makes more of them stand than the invite has uses", () => {
  const memberIds = fc.uniqueArray(fc.stringMatching(/^[0-9a-f]{2,4}$/), { minLength: 1, maxLength: 12 })
  fc.assert(
    fc.property(
      memberIds,
      fc.integer({ min: 1, max: 5 }),
      fc.array(fc.boolean(), { minLength: 12, maxLength: 12 }),
      (ids, uses, issuing) => {
        let claims: KnownClaim[] = []
        for (const [index, memberId] of ids.entries()) {
          const decision = decideClaim(claims, { memberId, uses })
          if (decision.kind === "used") continue
          claims = claims.filter((claim) => claim.memberId !== decision.displaces)
          claims.push({ memberId, issued: issuing[index] === true })
          assert.ok(claims.length <= uses)
        }
        assert.ok(claims.length === Math.min(uses, ids.length))
      },
    ),
  )
})
