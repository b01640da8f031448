import assert from "node:assert/strict"
import { X509Certificate } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { systemClock } from "../../core/clock.ts"
import { groupName, imageRef } from "../../core/identifiers.ts"
import { lockKey, unlockKey } from "../../crypto/key-file.ts"
import { networkKeyDigest } from "../../crypto/network-key.ts"
import { imageIdentity } from "../../client/open-image.ts"
import { authoritiesOf, POINTER_SALT, seedsFrom } from "../../member/catalog-keeper.ts"
import { keysDirectory, type Home } from "../../member/home.ts"
import { joinSite } from "../../member/join.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { outdatedOf } from "../../member/renewal.ts"
import { decodeInvite } from "../../crypto/invite.ts"
import { DEFAULT_GROUP } from "../../nodes/create-site.ts"
import { replaceGroupKey } from "../../nodes/groups.ts"
import { KeyRing } from "../../nodes/key-ring.ts"
import { finishChange } from "../../nodes/make-change.ts"
import { publishImage } from "../../nodes/publish.ts"
import { rotateSigningKeys, type SigningRole } from "../../nodes/rotate-signing-key.ts"
import {
  dropOldAuthorities,
  dropOldNetworkKeys,
  lockedOutByDrop,
  rotateAuthority,
  rotateNetworkKey,
  rotateOnlineKeys,
  rotatePointer,
  type RotateParts,
} from "../../nodes/rotate.ts"
import { decodeChange, encodeChange } from "../../trust/change-file.ts"
import { newestRoot, targetsOf } from "../../trust/files.ts"
import { keyIdOfSeed } from "../../trust/metadata.ts"
import { clockOff, comesBack, runServer, TestSite } from "../member/site.ts"
import { until } from "../swarm/dht-grid.ts"
import { forgedByThief } from "./thief.ts"

/** A member that was away comes back, lacks nothing and has what the first server has. */
async function assertCatchesUp(site: TestSite, home: Home): Promise<void> {
  const member = await comesBack(home)
  try {
    assert.deepEqual(outdatedOf(member), [])
    assert.equal(member.catalogs.catalog.seq, site.server.member.catalogs.catalog.seq)
    assert.deepEqual(outdatedOf(site.server.member), [], "the first server itself")
  } finally {
    await member.close()
  }
}

/** A server that was away comes back, fetches what it lacks from its fellow, and signs a timestamp that the others take. */
async function assertServerCatchesUp(site: TestSite, home: Home): Promise<void> {
  await using server = await runServer(home)
  const { member } = server
  const { catalogs } = site.server.member
  await until(() => outdatedOf(member).length === 0 && member.catalogs.catalog.seq >= catalogs.catalog.seq)
  const { online } = member.secrets
  assert.ok(online)
  const before = catalogs.catalog.timestampVersion
  const longLife = 100 * 365 * 24 * 3_600_000
  await member.catalogs.keepFresh(longLife)
  await until(async () => {
    await catalogs.refresh()
    return catalogs.catalog.timestampVersion > before
  })
  assert.deepEqual(catalogs.catalog.files, member.catalogs.catalog.files)
}

async function publish(parts: RotateParts, site: TestSite, image: string): Promise<void> {
  const directory = join(site.directory, `tree-${image.replace(":", "-")}`)
  mkdirSync(directory)
  writeFileSync(join(directory, "file"), image)
  const { signal } = new AbortController()
  const made = await publishImage({ ...parts, signal }, { directory, ref: imageRef(image), groups: [DEFAULT_GROUP] })
  assert.ok(made.applied)
}

for (const roles of [["snapshot"], ["timestamp"], ["timestamp", "snapshot"]] as const)
  test(`rotate ${roles.join(" ")}: a client and a server that were away take the new keys and go on`, async () => {
    await using site = await TestSite.start()
    const client = await site.join("client")
    const second = await site.joinServer("second", "server")
    const before = newestRoot(site.server.member.catalogs.catalog.files)
    assert.ok((await rotateOnlineKeys(await site.parts(), roles)).applied)
    const after = newestRoot(site.server.member.catalogs.catalog.files)
    for (const role of ["snapshot", "timestamp"] as const)
      assert.equal(before.roles[role].keyids[0] !== after.roles[role].keyids[0], (roles as readonly string[]).includes(role))
    assert.equal(Object.keys(after.keys).length, 4, "keys that are not used are not listed")
    await assertCatchesUp(site, client)
    await assertServerCatchesUp(site, second)
  })

test("rotate timestamp works in a home whose server does not run, and the server goes on with it", async () => {
  await using site = await TestSite.start()
  const parts = await site.parts()
  await site.server[Symbol.asyncDispose]()
  assert.ok((await rotateOnlineKeys(parts, ["timestamp"])).applied)
  await site.restart(systemClock)
  assert.equal(site.server.member.catalogs.catalog.rootVersion, 2)
  assert.deepEqual(outdatedOf(site.server.member), [])
})

test("rotate pointer: the new pointer and the old one lead to the newest catalog, and who was away gets the key", async () => {
  await using site = await TestSite.start()
  const [client, second] = [await site.join("client"), await site.joinServer("second", "server")]
  const before = site.server.member.catalogs.catalog.site.pointerKey
  assert.ok((await rotatePointer(await site.parts())).applied)
  const { member } = site.server
  const { seq, site: document } = member.catalogs.catalog
  assert.notEqual(document.pointerKey, before)
  for (const key of [before, document.pointerKey]) await until(async () => (await member.dht.getPointer(key, POINTER_SALT))?.seq === seq)
  await assertCatchesUp(site, client)
  await assertServerCatchesUp(site, second)
})

test("rotate authority: who was away since is let in with the old certificate and gets a new one; so is who holds an older invite", async () => {
  await using site = await TestSite.start()
  const [client, mirror, second] = [
    await site.join("client"),
    await site.joinServer("mirror", "mirror"),
    await site.joinServer("second", "server"),
  ]
  const invite = decodeInvite(await site.invite())
  assert.ok((await rotateAuthority(await site.parts())).applied)
  const { member } = site.server
  await until(() => outdatedOf(member).length === 0)
  const [newest, old] = authoritiesOf(member.catalogs.catalog).map((der) => new X509Certificate(der))
  assert.ok(newest && old)
  assert.ok(new X509Certificate(member.certificate.der).checkIssued(newest))
  await assertCatchesUp(site, client)
  await assertCatchesUp(site, mirror)
  assert.ok(new X509Certificate((await client.certificate()).der).checkIssued(newest))
  const free = { host: "127.0.0.1", port: 0 }
  const options = { directory: join(site.directory, "late"), listen: { api: null, swarm: free, dht: free } }
  await assertCatchesUp(
    site,
    await joinSite(invite, { clock: systemClock, random: (count) => crypto.getRandomValues(Buffer.alloc(count)) }, options),
  )
  await assertServerCatchesUp(site, second)
})

test("rotate authority --drop-old: says whom it locks out, and who was away until then is told to join again", async () => {
  await using site = await TestSite.start()
  const [prompt, late] = [await site.join("prompt"), await site.join("late")]
  const parts = await site.parts()
  await assert.rejects(dropOldAuthorities(parts), { code: "USAGE", message: /one authority/ })
  await rotateAuthority(parts)
  await until(() => outdatedOf(site.server.member).length === 0)
  await assertCatchesUp(site, prompt)
  const reasons = await lockedOutByDrop(parts)
  assert.equal(reasons.length, 1)
  assert.match(reasons[0] ?? "", /away since .* need a new invite; after/)
  assert.ok((await dropOldAuthorities(parts)).applied)
  await assertCatchesUp(site, prompt)
  const member = await Member.start({ home: late, clock: systemClock, log: silentLog }, { network: "api-only" })
  try {
    const { answers, failures } = await member.catalogs.refresh()
    assert.equal(answers, 0)
    assert.ok(
      failures.some((failure) => /join again with a new invite/.test(String(failure))),
      failures.join("\n"),
    )
    await assert.rejects(member.renew(), { code: "CERTIFICATE_INVALID", message: /join again with a new invite/ })
  } finally {
    await member.close()
  }
})

test("rotate authority --drop-old names servers that were away, for ever, and other members for a week", async () => {
  await using site = await TestSite.start()
  const second = await site.joinServer("second", "server")
  const parts = await site.parts()
  {
    await using running = await runServer(second)
    await until(() => site.server.member.directory.records().length === 2 && running.member.directory.records().length === 2)
  }
  await rotateAuthority(parts)
  const [members, server, ...more] = await lockedOutByDrop(parts)
  assert.match(members ?? "", /Members who were away/)
  assert.ok(server?.includes(second.memberId), server)
  assert.deepEqual(more, [])
  await site.server[Symbol.asyncDispose]()
  const inAWeek = clockOff(7 * 24 * 3_600_000 + 60_000)
  assert.deepEqual(
    await lockedOutByDrop({ ...parts, clock: inAWeek }),
    [server],
    "by then no old certificate lives, and a server never lapses",
  )
})

test("rotate network: both keys are taken until the old one is dropped, and who was away gets the new one", async () => {
  await using site = await TestSite.start()
  const [client, laterClient, second] = [await site.join("client"), await site.join("later"), await site.joinServer("second", "server")]
  const parts = await site.parts()
  assert.ok((await rotateNetworkKey(parts)).applied)
  const { member } = site.server
  const [newest, old] = member.catalogs.catalog.site.networkKeys
  assert.ok(newest !== undefined && old !== undefined)
  // A client that has not heard of it yet, with its DHT open.
  const behind = await Member.start({ home: client, clock: systemClock, log: silentLog })
  try {
    await until(() => behind.dht.nodeCount() > 0 && member.dht.nodeCount() > 0)
    await behind.catalogs.refresh()
    await behind.renew()
    assert.equal(networkKeyDigest(Buffer.from((await client.secrets()).networkKeys[0] ?? "", "hex")), newest)
    assert.ok((await dropOldNetworkKeys(parts)).applied)
    await behind.catalogs.refresh()
    assert.deepEqual(behind.catalogs.catalog.site.networkKeys, [newest])
    await until(async () => (await behind.dht.getPointer(member.catalogs.catalog.site.pointerKey, POINTER_SALT)) !== null)
  } finally {
    await behind.close()
  }
  await assert.rejects(dropOldNetworkKeys(parts), { code: "USAGE" })
  await assertCatchesUp(site, laterClient)
  await assertServerCatchesUp(site, second)
})

test("rotate group: who was away opens what was granted before and after", async () => {
  await using site = await TestSite.start()
  const [client, second] = [await site.join("client"), await site.joinServer("second", "server")]
  const parts = await site.parts()
  await publish(parts, site, "debian:1")
  assert.ok((await replaceGroupKey(parts, DEFAULT_GROUP)).applied)
  await publish(parts, site, "debian:2")
  const member = await comesBack(client)
  try {
    const { catalog } = member.catalogs
    for (const image of ["debian:1", "debian:2"]) {
      const manifest = catalog.images.get(image)
      assert.ok(manifest)
      assert.ok(imageIdentity({ catalog, manifest }, { site: client.site, secrets: member.secrets }) !== null, image)
    }
    assert.deepEqual(
      catalog.grants.get("debian:2")?.grants.map(({ generation }) => generation),
      [2],
    )
  } finally {
    await member.close()
  }
  await assert.rejects(replaceGroupKey(parts, groupName("nobody")), { code: "GROUP_UNKNOWN" })
  await assertServerCatchesUp(site, second)
})

for (const role of [{ kind: "root" }, { kind: "targets" }, { kind: "publisher", name: "publisher" }] as const satisfies SigningRole[])
  test(`rotate ${role.kind}: the new file signs, the old one is retired and signs no more, and who was away goes on`, async () => {
    await using site = await TestSite.start()
    const client = await site.join("client")
    const directory = keysDirectory(site.home.directory)
    const old = await site.parts()
    const made = await rotateSigningKeys({ ...old, newPassphrase: () => assert.fail("the old key has no passphrase") }, role)
    assert.ok(made.applied)
    assert.deepEqual(made.keyFiles, [{ old: join(directory, `${role.kind}.key`), new: join(directory, `${role.kind}-2.key`) }])
    const names = readdirSync(directory)
    for (const name of [`${role.kind}-2.key`, `${role.kind}-2.pub`, `${role.kind}.key.retired`, `${role.kind}.pub.retired`])
      assert.ok(names.includes(name), `${name} in ${names.join()}`)
    assert.ok(!names.includes(`${role.kind}.key`))
    const { files } = site.server.member.catalogs.catalog
    assert.ok(targetsOf(files).version === (role.kind === "root" ? 1 : 2))
    if (role.kind === "publisher") await assert.rejects(publish(old, site, "debian:1"), { code: "KEY_MISSING" })
    // Each of these needs the new keys: one of the root, one of targets and a publication.
    const renewed = await site.parts()
    assert.ok((await rotateOnlineKeys(renewed, ["timestamp"])).applied)
    assert.ok((await rotatePointer(renewed)).applied)
    await publish(renewed, site, "debian:2")
    await assertCatchesUp(site, client)
    if (role.kind === "publisher") return
    const again = await rotateSigningKeys({ ...renewed, newPassphrase: () => assert.fail("none") }, role)
    assert.deepEqual(
      again.keyFiles.map((file) => file.new),
      [join(directory, `${role.kind}-3.key`)],
    )
  })

test("where the root asks for two signatures, the change waits for the other holder, and until then the old key stays", async () => {
  await using site = await TestSite.start(systemClock, { rootKeys: { count: 2, threshold: 2 } })
  const client = await site.join("client")
  const directory = keysDirectory(site.home.directory)
  const elsewhere = join(site.directory, "elsewhere.key")
  for (const kind of ["key", "pub"]) renameSync(join(directory, `root-2.${kind}`), elsewhere.replace(/key$/, kind))
  const parts = await site.parts()
  for (const role of ["targets", "root"] as const) {
    const made = await rotateSigningKeys({ ...parts, newPassphrase: () => assert.fail("none") }, { kind: role })
    assert.equal(made.applied, false)
    for (const { old, new: successor } of made.keyFiles) assert.ok(existsSync(old) && existsSync(successor))
    const carried = decodeChange(encodeChange(made))
    const keys = await KeyRing.open({ homeKeys: null, files: [elsewhere] }, () => assert.fail("none"))
    const before = newestRoot(site.server.member.catalogs.catalog.files)
    assert.ok((await finishChange({ ...parts, keys }, carried.files, carried.change)).applied)
    const after = newestRoot(site.server.member.catalogs.catalog.files)
    assert.equal(before.roles[role].keyids.filter((id) => after.roles[role].keyids.includes(id)).length, role === "root" ? 1 : 0)
  }
  await assertCatchesUp(site, client)
})

test("a key with a passphrase gets a successor with one", async () => {
  await using site = await TestSite.start()
  const directory = keysDirectory(site.home.directory)
  const path = join(directory, "publisher.key")
  const quickToTry = 10
  writeFileSync(path, await lockKey(Buffer.from(readFileSync(path, "utf8").trim(), "hex"), "old words", quickToTry))
  const keys = await KeyRing.open({ homeKeys: directory, files: [] }, async () => "old words")
  const parts = { ...(await site.parts()), keys, newPassphrase: async () => "new words" }
  const mistyped = await KeyRing.open({ homeKeys: directory, files: [] }, async () => "other words")
  const role = { kind: "publisher", name: "publisher" } as const
  await assert.rejects(rotateSigningKeys({ ...parts, keys: mistyped }, role), { code: "KEY_LOCKED" })
  assert.ok(!readdirSync(directory).includes("publisher-2.key"), "nothing was made for who can't open the old one")
  const made = await rotateSigningKeys(parts, role)
  assert.ok(made.applied)
  const [file] = made.keyFiles
  assert.ok(file)
  const opened = await unlockKey(readFileSync(file.new), "new words", file.new)
  assert.ok(site.server.member.catalogs.catalog.roles.find(({ name }) => name === "publisher")?.keyIds.includes(keyIdOfSeed(opened)))
})

test("a home that holds no key of a role can't replace it", async () => {
  await using site = await TestSite.start()
  const second = await site.joinServer("second", "server")
  const parts = { ...(await site.parts()), home: second, newPassphrase: () => assert.fail("none") }
  await assert.rejects(rotateSigningKeys(parts, { kind: "root" }), { code: "KEY_MISSING" })
  const client = await site.join("client")
  await assert.rejects(rotatePointer({ ...parts, home: client }), { code: "KEY_MISSING", message: /use a server's home/ })
  assert.equal(site.server.member.catalogs.catalog.rootVersion, 1)
})

test("a server that published while it was cut off, and comes back after the online keys were replaced, loses nothing", async () => {
  await using site = await TestSite.start()
  const second = await site.joinServer("second", "server")
  const parts = await site.parts()
  await publish({ ...parts, home: second }, site, "debian:1")
  assert.ok((await rotateOnlineKeys(parts, ["snapshot", "timestamp"])).applied)
  await using server = await runServer(second)
  for (const { member } of [server, site.server])
    await until(() => member.catalogs.catalog.rootVersion === 2 && member.catalogs.catalog.images.has("debian:1"))
  assert.deepEqual(outdatedOf(server.member), [])
})

test("a thief of the online keys who signs the highest version of all is behind again once they are replaced", async () => {
  await using site = await TestSite.start()
  const [client, second] = [await site.join("client"), await site.joinServer("second", "server")]
  const { catalogs } = site.server.member
  const online = await site.home.onlineKeys()
  const seeds = seedsFrom(online)(newestRoot(catalogs.catalog.files))
  assert.ok(seeds)
  assert.equal(await catalogs.consider(await forgedByThief(catalogs.catalog.files, seeds), null), true)
  assert.equal(catalogs.catalog.timestampVersion, 2 ** 31 - 1)
  const longLife = 100 * 365 * 24 * 3_600_000
  await assert.rejects(catalogs.keepFresh(longLife), { code: "CATALOG_INVALID" }, "there is no next version")
  // The client met the forgery too.
  const victim = await comesBack(client)
  assert.equal(victim.catalogs.catalog.snapshotVersion, 2 ** 31 - 1)
  await victim.close()
  const parts = await site.parts()
  assert.ok((await rotateOnlineKeys(parts, ["snapshot", "timestamp"])).applied)
  assert.deepEqual([catalogs.catalog.timestampVersion, catalogs.catalog.snapshotVersion], [1, 1])
  await publish(parts, site, "debian:1")
  assert.equal(catalogs.catalog.timestampVersion, 2)
  await assertCatchesUp(site, client)
  await assertServerCatchesUp(site, second)
  assert.equal(
    await catalogs.consider(await forgedByThief(catalogs.catalog.files, seeds), null).catch(() => false),
    false,
    "the old keys sign no more",
  )
  assert.equal(keyIdOfSeed(seeds.timestampSeed) === newestRoot(catalogs.catalog.files).roles.timestamp.keyids[0], false)
})
