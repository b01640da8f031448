import assert from "node:assert/strict"
import { test } from "node:test"
import { groupsOf } from "../../core/groups.ts"

const [memberId, other] = ["aa".repeat(16), "bb".repeat(16)]
const group = (name: string, said: { readonly added?: string[]; readonly removed?: string[] } = {}) => ({
  name,
  generation: 1,
  publicKey: "00".repeat(32),
  added: said.added ?? [],
  removed: said.removed ?? [],
})
const member = (groups: readonly string[]) => ({ memberId, role: "client" as const, groups })

test("a member is in the groups of its certificate that the site has", () => {
  assert.deepEqual(groupsOf({ groups: [group("a"), group("b")] }, member(["gone", "b"])), ["b"])
})

test("the site adds a member to a group and removes it, and removing counts more", () => {
  const groups = [group("a", { added: [memberId, other] }), group("b", { removed: [memberId] }), group("c", { removed: [other] })]
  assert.deepEqual(groupsOf({ groups }, member(["b", "c"])), ["a", "c"])
  assert.deepEqual(groupsOf({ groups: [group("a", { added: [memberId], removed: [memberId] })] }, member(["a"])), [])
})

test("a mirror is in no group, whatever its certificate and the site say", () => {
  assert.deepEqual(
    groupsOf({ groups: [group("a", { added: [memberId] }), group("b")] }, { memberId, role: "mirror", groups: ["a", "b"] }),
    [],
  )
})
