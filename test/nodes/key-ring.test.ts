import assert from "node:assert/strict"
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { GridError } from "../../core/errors.ts"
import { encodeKey, lockKey } from "../../crypto/key-file.ts"
import { signingKeyFromSeed } from "../../crypto/identity.ts"
import { createKeyFile, KeyRing, readPublicKey, saveKeyFile } from "../../nodes/key-ring.ts"
import { keyIdOfSeed } from "../../trust/metadata.ts"
import { seedOf } from "../trust/repositories.ts"

const directory = mkdtempSync(join(tmpdir(), "imagegrid-keys-"))
after(() => rmSync(directory, { recursive: true }))
const [anna, ben, carla] = [seedOf("anna"), seedOf("ben"), seedOf("carla")]
const CHEAP = 10

/** A home's keys: anna's with a passphrase, ben's with another, a plain one, and the member's own. */
const homeKeys = join(directory, "keys")
mkdirSync(homeKeys)
const put = async (name: string, seed: Buffer, passphrase: string | null): Promise<string> => {
  const path = join(homeKeys, `${name}.key`)
  await saveKeyFile(path, seed, null)
  if (passphrase !== null) writeFileSync(path, await lockKey(seed, passphrase, CHEAP))
  return path
}
await put("anna", anna, "anna's")
await put("ben", ben, "ben's")
await put("carla", carla, null)
writeFileSync(join(homeKeys, "member.key"), "no administrator's", { mode: 0o600 })

/** Answers from these, and keeps who was asked for. */
function asking(answers: Readonly<Record<string, string>>) {
  const asked: string[] = []
  const ask = async (path: string): Promise<string> => {
    const name = path.replace(/^.*\/(.+)\.key$/, "$1")
    asked.push(name)
    return answers[name] ?? assert.fail(`nobody was to be asked for ${name}`)
  }
  return { asked, ask }
}

test("a passphrase is asked for only for keys that sign, and once", async () => {
  const { asked, ask } = asking({ anna: "anna's" })
  const ring = await KeyRing.open({ homeKeys, files: [] }, ask)
  assert.deepEqual([...ring.keyIds].sort(), [anna, ben, carla].map(keyIdOfSeed).sort())
  assert.deepEqual(asked, [])
  assert.deepEqual(await ring.seeds([keyIdOfSeed(carla), keyIdOfSeed(seedOf("nobody"))]), [carla])
  assert.deepEqual(asked, [])
  assert.deepEqual(await ring.seeds([keyIdOfSeed(anna)]), [anna])
  assert.deepEqual(await ring.seeds([keyIdOfSeed(carla), keyIdOfSeed(anna)]), [anna, carla])
  assert.deepEqual(asked, ["anna"])
})

test("a file without its public half is opened at once, and one that is named twice signs once", async () => {
  const alone = join(directory, "alone.key")
  writeFileSync(alone, await lockKey(ben, "ben's", CHEAP), { mode: 0o600 })
  const { asked, ask } = asking({ alone: "ben's" })
  const ring = await KeyRing.open({ homeKeys: null, files: [alone, alone] }, ask)
  assert.deepEqual(asked, ["alone", "alone"])
  assert.deepEqual(await ring.seeds([keyIdOfSeed(ben)]), [ben])
})

test("a wrong passphrase is KEY_LOCKED, and the ring signs with the right one afterwards", async () => {
  const answers = { ben: "anna's" }
  const { ask } = asking(answers)
  const ring = await KeyRing.open({ homeKeys, files: [] }, ask)
  await assert.rejects(ring.seeds([keyIdOfSeed(ben)]), { code: "KEY_LOCKED" })
  answers.ben = "ben's"
  assert.deepEqual(await ring.seeds([keyIdOfSeed(ben)]), [ben])
})

test("a key that is not the one its .pub says does not sign", async () => {
  const path = join(directory, "swapped.key")
  await saveKeyFile(path, anna, null)
  writeFileSync(path, encodeKey(ben))
  const ring = await KeyRing.open({ homeKeys: null, files: [path] }, asking({}).ask)
  await assert.rejects(ring.seeds([keyIdOfSeed(anna)]), { code: "KEY_INVALID", message: /holds another key/ })
})

test("a key file that others may read is refused, and so is a link in its place", async () => {
  const path = join(directory, "loose.key")
  await saveKeyFile(path, anna, null)
  const seeds = async (file: string) => (await KeyRing.open({ homeKeys: null, files: [file] }, asking({}).ask)).seeds([keyIdOfSeed(anna)])
  for (const mode of [0o640, 0o604, 0o620]) {
    chmodSync(path, mode)
    await assert.rejects(seeds(path), { code: "KEY_INVALID", message: /chmod 600/ })
  }
  chmodSync(path, 0o400)
  assert.deepEqual(await seeds(path), [anna])
  symlinkSync(path, join(directory, "link.key"))
  await assert.rejects(seeds(join(directory, "link.key")), { code: "KEY_INVALID", message: /symbolic link/ })
  unlinkSync(path)
  await assert.rejects(seeds(path), { code: "KEY_MISSING", message: /no key file/ })
})

test("a new key's file has mode 0600, its public half lies beside it, and neither is ever written over", async () => {
  const path = join(directory, "new.key")
  const { publicKey } = await createKeyFile(path, carla, null)
  assert.equal(publicKey, signingKeyFromSeed(carla).publicKeyHex)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.equal(await readPublicKey(join(directory, "new.pub")), publicKey)
  await assert.rejects(createKeyFile(path, anna, null), { code: "OUTPUT_EXISTS" })
  unlinkSync(path)
  await assert.rejects(createKeyFile(path, anna, null), { code: "OUTPUT_EXISTS", message: /new\.pub/ })
  assert.equal(readFileSync(join(directory, "new.pub"), "utf8"), `${publicKey}\n`)
  await assert.rejects(createKeyFile(join(directory, "nowhere", "a.key"), anna, null), { code: "USAGE", message: /no directory/ })
})

test("the file of an unprotected secret key, which looks like a public one, is not taken for it", async () => {
  const error = await readPublicKey(join(homeKeys, "carla.key")).catch((thrown: unknown) => thrown)
  assert.ok(error instanceof GridError && error.code === "KEY_INVALID")
  assert.ok(!error.message.includes(carla.toString("hex")))
})

test("a public key is taken as digits or as a file, and nothing else is", async () => {
  const digits = signingKeyFromSeed(anna).publicKeyHex
  assert.equal(await readPublicKey(digits), digits)
  for (const wrong of [digits.slice(1), join(directory, "none.pub"), join(homeKeys, "member.key")])
    await assert.rejects(readPublicKey(wrong), { code: "KEY_INVALID" })
})
