/** The danger: a full disk lets things be done that no log tells of. Most needs root, for a small file system of its own. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test, type TestContext } from "node:test"
import { address } from "../../core/address.ts"
import { systemClock } from "../../core/clock.ts"
import { GridError } from "../../core/errors.ts"
import { CATALOG_BYTES_MAX, routes } from "../../core/wire.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { TestSite } from "../member/site.ts"
import { auditLog, entriesOf, eventOf } from "./audit-home.ts"

const skip = process.getuid?.() !== 0 && "needs root to mount a small file system"

function smallFileSystem(context: TestContext): string {
  const at = mkdtempSync(join(tmpdir(), "imagegrid-small-"))
  assert.equal(spawnSync("mount", ["-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", at]).status, 0)
  context.after(() => {
    assert.equal(spawnSync("umount", ["-l", at]).status, 0)
    rmSync(at, { recursive: true })
  })
  return at
}

test("a change of the site that can't be recorded is not taken", async () => {
  await using site = await TestSite.start()
  const home = await site.join("client")
  const refusing = () => Promise.reject(new GridError("DISK_FULL", "no room for the log"))
  const member = await Member.start({ home, clock: systemClock, log: silentLog, recordChange: refusing }, { network: "api-only" })
  const before = { seq: member.catalogs.catalog.seq, bytes: await home.catalogBytes(CATALOG_BYTES_MAX) }
  await site.server.member.catalogs.keepFresh(Infinity)
  const { failures } = await member.catalogs.refresh()
  assert.ok(failures.some((failure) => failure instanceof GridError && failure.code === "DISK_FULL"))
  assert.equal(member.catalogs.catalog.seq, before.seq)
  assert.ok((await home.catalogBytes(CATALOG_BYTES_MAX)).equals(before.bytes))
  await member.close()
})

/** Leaves no room at all. */
function fill(path: string): void {
  spawnSync("dd", ["if=/dev/zero", `of=${path}`, "bs=4096"])
}

test(
  "an append that finds no room is refused with DISK_FULL, leaves the log as it was, and works when there is room",
  { skip },
  async (context) => {
    const directory = smallFileSystem(context)
    const log = auditLog(directory)
    await log.append([eventOf("a", 1)])
    const before = readFileSync(join(directory, "audit.jsonl"))
    fill(join(directory, "ballast"))
    // More than what is left of the file's last block.
    const many = Array.from({ length: 100 }, (_, at) => eventOf("a", at))
    await assert.rejects(log.append(many), { code: "DISK_FULL", message: /make room/ })
    assert.ok(readFileSync(join(directory, "audit.jsonl")).equals(before))
    rmSync(join(directory, "ballast"))
    await log.append(many)
    const { entries, fault } = await log.check()
    assert.deepEqual([entries, fault], [101, null])
    assert.equal(log.fault, null)
  },
)

test("a cut line that is mended on a full disk is recorded as soon as there is room", { skip }, async (context) => {
  const directory = smallFileSystem(context)
  const path = join(directory, "audit.jsonl")
  const pad = (characters: number) => ({ ...eventOf("a", 1), what: { pad: "x".repeat(characters) } })
  await auditLog(directory).append([pad(0)])
  // The second line ends 50 bytes before the file's block does.
  await auditLog(directory).append([pad(4_096 - 50 - 2 * statSync(path).size)])
  assert.equal(statSync(path).size, 4_096 - 50)
  appendFileSync(path, '{"seq":3,')
  fill(join(directory, "ballast"))
  const log = auditLog(directory)
  await log.start()
  assert.match(log.fault ?? "", /bytes free and \d+ bytes more are needed/)
  await assert.rejects(log.append([eventOf("a", 2)]), { code: "DISK_FULL" })
  rmSync(join(directory, "ballast"))
  await log.append([eventOf("a", 2)])
  const entries = await entriesOf(log)
  assert.deepEqual(
    entries.map(({ event, what }) => [event, what["cutBytes"]]),
    [
      ["joined", undefined],
      ["joined", undefined],
      ["log-repaired", 9],
      ["joined", undefined],
    ],
  )
  assert.equal((await log.check()).fault, null)
})

test(
  "a server without room renews nobody and takes no report, and a running one without room makes no invite",
  { skip },
  async (context) => {
    const small = smallFileSystem(context)
    await using site = await TestSite.start(systemClock, {}, small)
    const home = await site.join("client")
    const member = await Member.start({ home, clock: systemClock, log: silentLog }, { network: "api-only" })
    const server = address(site.server.apiAddress)
    const renew = () => member.api.bytes(server, { method: "POST", path: routes.renew, body: { clockMs: systemClock.nowMs() } })
    const log = auditLog(site.home.directory)
    fill(join(small, "ballast"))
    // Until nothing fits into the last block of the log any more.
    const until = async (): Promise<unknown> => {
      for (let act = 0; act < 100; act++) await renew()
      return null
    }
    await assert.rejects(until(), { code: "DISK_FULL" })
    const before = await log.check()
    await assert.rejects(renew(), { code: "DISK_FULL" })
    const body = { event: "deployed", image: "os/small:1", tookMs: 1 }
    await assert.rejects(member.api.bytes(server, { method: "POST", path: routes.reports, body }), { code: "DISK_FULL" })
    await assert.rejects(site.invite(), { code: "DISK_FULL" })
    assert.deepEqual(await log.check(), before)
    assert.equal(before.fault, null)
    rmSync(join(small, "ballast"))
    await renew()
    assert.equal((await log.check()).entries, before.entries + 1)
    await member.close()
  },
)
