import assert from "node:assert/strict"
import { test } from "node:test"
import { decodeKey, encodeKey, isLocked, lockKey, unlockKey } from "#crypto/key-file.ts"
import { GridError } from "#core/errors.ts"

const seed = Buffer.from("5eed".repeat(16), "hex")
const passphrase = "correct horse battery staple"
/** 1 KiB of memory and no time: a test guesses nothing. */
const CHEAP = 10
const locked = await lockKey(seed, passphrase, CHEAP)

/** Refused with this code, in words that give away neither the key nor what was typed. */
async function refused(code: string, act: () => Promise<unknown>, ...secrets: readonly string[]): Promise<void> {
  await assert.rejects(act, (error: unknown) => {
    assert.ok(error instanceof GridError)
    assert.equal(error.code, code)
    const said = `${error.message} ${error.stack} ${String(error.cause)}`
    for (const secret of [seed.toString("hex"), passphrase, ...secrets]) assert.ok(!said.includes(secret), said)
    assert.match(error.message, /anna\.key/)
    return true
  })
}

test("a key comes back from its file, plain and with its passphrase", async () => {
  assert.deepEqual(decodeKey(encodeKey(seed), "anna.key"), seed)
  assert.deepEqual(await unlockKey(locked, passphrase, "anna.key"), seed)
  assert.deepEqual([isLocked(encodeKey(seed)), isLocked(locked)], [false, true])
})

test("a protected key is an age file whose header asks for scrypt with the work that it was made with", async () => {
  assert.match(locked.toString("latin1"), /^age-encryption\.org\/v1\n-> scrypt [A-Za-z0-9+/]{22} 10\n/)
  assert.ok(!locked.includes(seed) && !locked.includes(seed.toString("hex")))
  assert.notDeepEqual(await lockKey(seed, passphrase, CHEAP), locked, "each has a salt of its own")
})

test("without a word about it, the work is what age uses", async () => {
  assert.match((await lockKey(seed, passphrase)).toString("latin1"), /^age-encryption\.org\/v1\n-> scrypt [^ ]+ 18\n/)
})

test("a wrong passphrase is KEY_LOCKED, and so is an empty one", async () => {
  await refused("KEY_LOCKED", () => unlockKey(locked, "Correct horse", "anna.key"), "Correct horse")
  await refused("KEY_LOCKED", () => unlockKey(locked, "", "anna.key"))
})

test("a protected file that was damaged anywhere does not open", async () => {
  for (const at of [25, 60, locked.length - 1]) {
    const damaged = Buffer.from(locked)
    damaged[at] = (damaged[at] ?? 0) ^ 1
    await refused("KEY_LOCKED", () => unlockKey(damaged, passphrase, "anna.key"))
  }
  await refused("KEY_LOCKED", () => unlockKey(locked.subarray(0, -1), passphrase, "anna.key"))
})

test("a plain file that is no key is refused without being quoted", async () => {
  for (const text of ["", seed.toString("hex").slice(1), `${seed.toString("hex")}00`, `x${seed.toString("hex").slice(1)}`])
    await refused("KEY_INVALID", async () => decodeKey(Buffer.from(text), "anna.key"), text === "" ? "\u0000" : text)
})

test("an age file that holds something else than a key is KEY_INVALID", async () => {
  const { Encrypter } = await import("age-encryption")
  const encrypter = new Encrypter()
  encrypter.setPassphrase(passphrase)
  encrypter.setScryptWorkFactor(CHEAP)
  const other = Buffer.from(await encrypter.encrypt("not a key but a secret diary"))
  await refused("KEY_INVALID", () => unlockKey(other, passphrase, "anna.key"), "diary")
})

test("a seed that is too short is never written", () => {
  assert.throws(() => encodeKey(seed.subarray(1)), RangeError)
})
