/**
 * Clients that run, all in one process, each with sockets of its own: `members.ts HOME...`. Says `{ "ready": true }` once every one has the layer; on
 * `revoke HOME MEMBER` it makes that change at the server of HOME, as an administrator's command would, and says `{ "appliedAtMs" }`. Ends with its
 * standard input.
 */
import { createInterface } from "node:readline"
import { systemClock } from "#core/clock.ts"
import { readServerList, routes } from "#core/wire.ts"
import { Home } from "#member/home.ts"
import { openLayerSession } from "#member/layer-session.ts"
import { silentLog } from "#member/log.ts"
import { Member } from "#member/member.ts"
import { KeyRing } from "../../nodes/key-ring.ts"
import { makeChange } from "../../nodes/make-change.ts"

async function start(directory: string): Promise<Member> {
  const member = await Member.start({ home: await Home.open(directory), clock: systemClock, log: silentLog })
  for (const server of member.apiAddresses())
    await member.directory.consider((await member.api.json(server, { path: routes.servers }, readServerList)).servers)
  const [manifest] = member.catalogs.catalog.images.values()
  const layer = manifest?.layers.find(({ kind }) => kind === "full")
  if (manifest === undefined || layer === undefined) throw new Error("the site has no image")
  await (await openLayerSession(member, { manifest, layer }, member.layers)).whenComplete()
  return member
}

async function revoke(directory: string, memberId: string): Promise<void> {
  const home = await Home.open(directory)
  const keys = await KeyRing.open({ homeKeys: home.path("keys"), files: [] }, () => Promise.reject(new Error("these keys have none")))
  const { applied } = await makeChange({ home, clock: systemClock, log: silentLog, keys }, () => ({
    site: (document) => ({ ...document, revoked: [...document.revoked, memberId] }),
  }))
  if (!applied) throw new Error("the change was not applied")
  console.log(JSON.stringify({ appliedAtMs: Date.now() }))
}

const members = await Promise.all(process.argv.slice(2).map(start))
console.log(JSON.stringify({ ready: true }))
for await (const line of createInterface({ input: process.stdin })) {
  const [, directory = "", memberId = ""] = line.split(" ")
  await revoke(directory, memberId)
}
await Promise.all(members.map((member) => member.close()))
