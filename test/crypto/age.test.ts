import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { AgeOpener, AgeSealer, newImageIdentity } from "#crypto/age.ts"
import { GridError } from "#core/errors.ts"

/** Around every border of a chunk, which is 64 KiB. */
const LENGTHS = [0, 1, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 1_000_000]
const noAge = spawnSync("age", ["--version"]).status === 0 ? false : "age is not installed"

/** Pseudo-random bytes, the same each time. */
function content(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0, state = length + 1; at < length; at += 1) bytes[at] = state = (state * 1_103_515_245 + 12_345) & 0x7fff_ffff
  return bytes
}

function* pushes(bytes: Buffer, step: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step)
}

async function seal(plain: Buffer, recipient: string, step = 50_000): Promise<Buffer> {
  const sealer = await AgeSealer.create(recipient)
  const sealed: Buffer[] = []
  for (const part of pushes(plain, step)) sealed.push(...sealer.update(part))
  sealed.push(...sealer.final())
  return Buffer.concat(sealed)
}

async function open(sealed: Buffer, identity: string, step = 50_000): Promise<Buffer> {
  const opener = new AgeOpener(identity)
  const plain: Buffer[] = []
  for (const part of pushes(sealed, step)) plain.push(...(await opener.update(part)))
  plain.push(...opener.final())
  return Buffer.concat(plain)
}

const isCode = (code: string) => (error: unknown) => error instanceof GridError && error.code === code

test("what was sealed opens again, at every border of a chunk and with pushes of any size", async () => {
  const { identity, recipient } = await newImageIdentity()
  for (const length of LENGTHS)
    for (const step of [997, 65_536, 65_552, 200_000]) {
      const plain = content(length)
      const sealed = await seal(plain, recipient, step)
      assert.ok((await open(sealed, identity, 201_000 - step)).equals(plain), `${length} bytes in pushes of ${step}`)
    }
})

test("the age program opens what AgeSealer sealed", { skip: noAge }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "imagegrid-age-"))
  t.after(() => rmSync(directory, { recursive: true }))
  const { identity, recipient } = await newImageIdentity()
  writeFileSync(join(directory, "key"), identity)
  for (const length of LENGTHS) {
    const plain = content(length)
    const run = spawnSync("age", ["-d", "-i", join(directory, "key")], { input: await seal(plain, recipient), maxBuffer: 2_000_000 })
    assert.equal(run.status, 0, run.stderr.toString())
    assert.ok(run.stdout.equals(plain), `${length} bytes`)
  }
})

test("AgeOpener opens what the age program sealed", { skip: noAge }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "imagegrid-age-"))
  t.after(() => rmSync(directory, { recursive: true }))
  const { identity, recipient } = await newImageIdentity()
  for (const length of LENGTHS) {
    const plain = content(length)
    assert.equal(spawnSync("age", ["-r", recipient, "-o", join(directory, "sealed")], { input: plain }).status, 0)
    assert.ok((await open(readFileSync(join(directory, "sealed")), identity)).equals(plain), `${length} bytes`)
  }
})

test("a file cut short anywhere is refused", async () => {
  const { identity, recipient } = await newImageIdentity()
  const sealed = await seal(content(131_072), recipient)
  const header = sealed.indexOf("\n---") + 1
  const payload = sealed.indexOf("\n", header) + 1 + 16
  const cuts = [0, 1, 21, 22, 60, header, header + 3, header + 30, payload - 16, payload - 1, payload, payload + 15, payload + 16]
  // At the very border of a chunk, where what is left looks whole.
  cuts.push(payload + 65_551, payload + 65_552, payload + 65_553, sealed.length - 16, sealed.length - 1)
  for (const cut of cuts)
    await assert.rejects(open(sealed.subarray(0, cut), identity), isCode("SEALED_INVALID"), `cut at ${cut} of ${sealed.length}`)
})

test("a changed bit anywhere is refused", async () => {
  const { identity, recipient } = await newImageIdentity()
  const sealed = await seal(content(70_000), recipient)
  const positions = Array.from({ length: 240 }, (_, at) => at).filter((at) => at < sealed.length)
  for (let at = 240; at < sealed.length; at += 4_999) positions.push(at)
  for (const at of [...positions, sealed.length - 1]) {
    const damaged = Buffer.from(sealed)
    damaged[at] = (damaged[at] ?? 0) ^ 1
    await assert.rejects(open(damaged, identity), isCode("SEALED_INVALID"), `bit 0 of byte ${at}`)
  }
})

test("chunks in another order, twice, or followed by anything are refused", async () => {
  const { identity, recipient } = await newImageIdentity()
  const sealed = await seal(content(3 * 65_536), recipient)
  const payload = sealed.length - 3 * 65_552
  const chunk = (number: number) => sealed.subarray(payload + number * 65_552, payload + (number + 1) * 65_552)
  const start = sealed.subarray(0, payload)
  for (const parts of [
    [chunk(1), chunk(0), chunk(2)],
    [chunk(0), chunk(0), chunk(1), chunk(2)],
    [chunk(0), chunk(2)],
    [chunk(0), chunk(1), chunk(2), Buffer.from("x")],
    [chunk(0), chunk(1), chunk(2), chunk(2)],
  ])
    await assert.rejects(open(Buffer.concat([start, ...parts]), identity), isCode("SEALED_INVALID"))
})

test("a header without end is given up after 8 KiB", async () => {
  const { identity } = await newImageIdentity()
  const endless = Buffer.from(`age-encryption.org/v1\n${"-> X25519 aaaa\naaaa\n".repeat(10_000)}`)
  const opener = new AgeOpener(identity)
  let taken = 0
  await assert.rejects(async () => {
    for (const part of pushes(endless, 100)) {
      taken += part.length
      await opener.update(part)
    }
  }, isCode("SEALED_INVALID"))
  assert.ok(taken <= 8 * 1024 + 200, `${taken} bytes were taken`)
})

test("another identity opens nothing", async () => {
  const { recipient } = await newImageIdentity()
  const other = await newImageIdentity()
  await assert.rejects(open(await seal(content(10), recipient), other.identity), isCode("SEALED_INVALID"))
})

test("a key out of form is refused with KEY_INVALID, and the message does not repeat an identity", async () => {
  const { identity, recipient } = await newImageIdentity()
  for (const wrong of ["", "age1", recipient.slice(0, -1), recipient.toUpperCase(), identity, `age1pq1${recipient.slice(4)}`, `age1tag1x`])
    await assert.rejects(AgeSealer.create(wrong), isCode("KEY_INVALID"), wrong)
  for (const wrong of ["", recipient, identity.slice(0, -1), `${identity}X`, identity.replace("-1", "-2")])
    assert.throws(
      () => new AgeOpener(wrong),
      (error) => error instanceof GridError && error.code === "KEY_INVALID" && !error.stack?.includes(identity.slice(20, 50)),
    )
})

test("each image identity is new", async () => {
  const [first, second] = [await newImageIdentity(), await newImageIdentity()]
  assert.match(first.identity, /^AGE-SECRET-KEY-1[0-9A-Z]{58}$/)
  assert.match(first.recipient, /^age1[02-9ac-hj-np-z]{58}$/)
  assert.notEqual(first.identity, second.identity)
  assert.notEqual(first.recipient, second.recipient)
})
