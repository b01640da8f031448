import assert from "node:assert/strict"
import { test } from "node:test"
import { ROOT_PATH } from "#trust/catalog-file.ts"
import { draftChange, requirementsOf } from "#trust/change.ts"
import { newestRoot, targetsOf } from "#trust/files.ts"
import { keyIdOf, keyIdOfSeed, tufKeyOf } from "#trust/metadata.ts"
import { renewalOf, roleEdits, type RoleEdit } from "#trust/role-edits.ts"
import { changed, rekeyed } from "./administrators.ts"
import { keys, newRepository, refusedWith, seedOf, startMs } from "./repositories.ts"

const [anna, ben, carla] = [seedOf("anna"), seedOf("ben"), seedOf("carla")]
const publicOf = (seed: Uint8Array): string => tufKeyOf(seed).keyval.public
const idsOf = (...seeds: readonly Uint8Array[]): string[] => seeds.map(keyIdOfSeed)
const base = changed(newRepository(), { root: rekeyed({ root: { seeds: [keys.root, anna], threshold: 2 } }) }, { seeds: [keys.root, anna] })
const edit = (parts: Partial<RoleEdit>): RoleEdit => ({ role: "root", addKeys: [], removeKeys: [], threshold: null, ...parts })
const refuses = (parts: Partial<RoleEdit>, message: RegExp): void =>
  assert.throws(() => roleEdits(base, edit(parts)), refusedWith("USAGE", message))

test("a replaced root key needs signatures of the root before and of the new one", () => {
  const removed = keyIdOfSeed(keys.root).slice(0, 8)
  const change = draftChange(base, roleEdits(base, edit({ addKeys: [publicOf(ben)], removeKeys: [removed] })), startMs)
  assert.deepEqual([...change.keys()], [ROOT_PATH(3)])
  const after = newestRoot(new Map([...base, ...change]))
  assert.deepEqual([after.roles.root.keyids, after.roles.root.threshold], [idsOf(anna, ben), 2])
  assert.equal(after.keys[keyIdOfSeed(keys.root)], undefined, "nobody lists the key any more")
  assert.equal(keyIdOf(after.keys[keyIdOfSeed(ben)]?.keyval.public ?? ""), keyIdOfSeed(ben))
  assert.deepEqual(
    requirementsOf(base, change).map(({ role, by, threshold, keyIds }) => [role, by, threshold, keyIds]),
    [
      ["root", "former root", 2, idsOf(keys.root, anna)],
      ["root", "role", 2, idsOf(anna, ben)],
    ],
  )
})

test("another targets key is a change of the root and a new signature of targets; a publisher's is one of targets", () => {
  const targets = draftChange(base, roleEdits(base, edit({ role: "targets", addKeys: [publicOf(ben)] })), startMs)
  assert.deepEqual([...targets.keys()], [ROOT_PATH(3), "metadata/targets.json"])
  const change = draftChange(base, roleEdits(base, edit({ role: "publisher", addKeys: [publicOf(ben)], threshold: 2 })), startMs)
  assert.deepEqual([...change.keys()], ["metadata/targets.json", "metadata/publisher.json"])
  const [role] = targetsOf(new Map([...base, ...change])).delegations.roles
  assert.deepEqual([role?.keyids, role?.threshold, role?.terminating], [idsOf(keys.publisher, ben), 2, true])
})

test("a renewal writes the role's own file and no other", () => {
  for (const [role, path] of [
    ["root", ROOT_PATH(3)],
    ["targets", "metadata/targets.json"],
    ["publisher", "metadata/publisher.json"],
  ] as const)
    assert.deepEqual([...draftChange(base, renewalOf(base, role), startMs).keys()], [path])
})

test("fewer keys than must sign are refused", () => {
  refuses({ removeKeys: idsOf(anna) }, /root would have 1 key, and 2 must sign/)
  refuses({ threshold: 3 }, /root would have 2 keys, and 3 must sign/)
  assert.ok(roleEdits(base, edit({ removeKeys: idsOf(anna), threshold: 1 })))
  refuses({ role: "publisher", removeKeys: idsOf(keys.publisher) }, /publisher would have 0 keys/)
})

test("a key to be removed is one of the role's, by 8 digits or more that name it alone", () => {
  const id = keyIdOfSeed(anna)
  for (const given of [id.slice(0, 7), keyIdOfSeed(carla), id.toUpperCase(), `${id}0`, "", "zzzzzzzz"])
    refuses({ removeKeys: [given], threshold: 1 }, /names no key of root|names 2 keys of root/)
  assert.ok(roleEdits(base, edit({ removeKeys: [id.slice(0, 8)], threshold: 1 })))
})

test("a key that is there can't be added, nor one twice", () => {
  refuses({ addKeys: [publicOf(anna)] }, /root has key [0-9a-f]{64} already/)
  refuses({ addKeys: [publicOf(ben), publicOf(ben)] }, /root has key [0-9a-f]{64} already/)
})

test("an unknown role, one that servers sign for, and a change of nothing are refused", () => {
  refuses({ role: "nobody" }, /the site has root, targets, publisher/)
  for (const role of ["snapshot", "timestamp"]) refuses({ role, threshold: 2 }, /servers sign it by themselves/)
  refuses({}, /root is so already; .*--renew/)
  refuses({ threshold: 2 }, /root is so already/)
  assert.throws(() => renewalOf(base, "nobody"), refusedWith("USAGE", /the site has root/))
})
