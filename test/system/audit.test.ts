import assert from "node:assert/strict"
import { globSync, readFileSync, writeFileSync } from "node:fs"
import { test } from "node:test"
import { systemClock } from "../../core/clock.ts"
import { targetPath } from "../../core/documents.ts"
import { imageRef } from "../../core/identifiers.ts"
import { Home, keysDirectory } from "../../member/home.ts"
import { silentLog } from "../../member/log.ts"
import type { AuditEntry } from "../../nodes/audit-entry.ts"
import { KeyRing } from "../../nodes/key-ring.ts"
import { makeChange } from "../../nodes/make-change.ts"
import { openCatalog } from "../../trust/catalog.ts"
import { TestGrid, type Outcome } from "./grid.ts"
import { makeTree } from "./trees.ts"

const noPassphrase = () => Promise.reject(new Error("no key of this site has a passphrase"))

function entriesIn({ events }: Outcome): AuditEntry[] {
  return events.filter(({ event }) => event === "entry").map(({ entry }) => entry as AuditEntry)
}

test("publishing, granting, joining and deploying are listed with who did it, on every server, and no secret with them", async () => {
  await using grid = new TestGrid()
  makeTree(grid.home("tree"), 300_000)
  await grid.site(["--groups", "lab"])
  const second = await grid.joinServer("server-2")
  await grid.run(["publish", grid.home("tree"), "os/small:1", "--home", grid.home("server-1"), "--wait-copies", "2"])
  const home = await Home.open(grid.home("server-1"))
  const keys = await KeyRing.open({ homeKeys: keysDirectory(home.directory), files: [] }, noPassphrase)
  const granted = await makeChange({ home, clock: systemClock, log: silentLog, keys }, (files) => {
    const grants = openCatalog(files, { trusted: files }, systemClock.nowMs()).grants.get("os/small:1")
    assert.ok(grants !== undefined)
    const more = { ...grants, grants: [...grants.grants, { group: "lab", generation: 1, sealed: "AAAA" }] }
    const documents = new Map([[targetPath.grants(imageRef("os/small:1")), more]])
    return { publishers: new Map([["publisher", { documents }]]) }
  })
  assert.equal(granted.applied, true)
  const invite = await grid.invite()
  await grid.run(["join", invite, "--home", grid.home("client"), "--swarm", "127.0.0.1:0", "--dht", "127.0.0.1:0"])
  const deploy = (image: string, target: string) =>
    grid.outcome(["deploy", image, "--home", grid.home("client"), "--target", grid.home(target), "--seed-until", "done"])
  assert.equal(deploy("os/small", "root").code, 0)
  assert.equal(deploy("os/small", "root").events.at(-1)?.["code"], "TARGET_NOT_EMPTY")

  const outcome = grid.outcome(["audit", "--verify", "--home", grid.home("server-1")])
  assert.equal(outcome.code, 0, outcome.stderr)
  const clientId = (await Home.open(grid.home("client"))).memberId
  const secondId = (await Home.open(grid.home("server-2"))).memberId
  const publisher = openCatalog(granted.files, { trusted: granted.files }, systemClock.nowMs()).roles.at(-1)?.keyIds
  const here = entriesIn(outcome)
  // A client reports to one server, whichever it asks first.
  for (const [event, code] of [
    ["deployed", undefined],
    ["deploy-failed", "TARGET_NOT_EMPTY"],
  ] as const) {
    const elsewhere = entriesIn(grid.outcome(["audit", "--home", grid.home("server-2"), "--event", event]))
    const [entry, ...more] = [...here.filter((one) => one.event === event), ...elsewhere]
    assert.deepEqual([entry?.actor, entry?.from, more.length], [{ kind: "member", ids: [clientId] }, "127.0.0.1", 0])
    assert.deepEqual([entry?.what["image"], entry?.what["code"]], ["os/small:1", code])
  }
  const told = here.filter(({ event }) => !event.startsWith("deploy"))
  assert.deepEqual(
    told.map(({ event, actor }) => [event, actor.kind]),
    [
      ["site-created", "member"],
      ["invited", "member"],
      ["joined", "invite"],
      ["published", "keys"],
      ["granted", "keys"],
      ["granted", "keys"],
      ["invited", "member"],
      ...(told.length === 8 ? [["joined", "invite"]] : []),
    ],
  )
  for (const { event, actor, from } of told) {
    if (actor.kind === "keys") assert.deepEqual(actor.ids, publisher)
    if (event === "invited") assert.deepEqual([actor.ids, from], [[home.memberId], null])
    else if (event !== "site-created") assert.equal(from, "127.0.0.1")
  }
  assert.deepEqual(told[2]?.what, { memberId: secondId, role: "server", groups: "default" })
  assert.deepEqual(told[5]?.what, { image: "os/small:1", group: "lab", generation: 1 })

  // The second server tells of the same changes, by the same keys, and that it heard of them from the first.
  const api = String((await second.event("server-running"))["api"])
  const there = entriesIn(grid.outcome(["audit", "--home", grid.home("server-2")])).filter(({ actor }) => actor.kind === "keys")
  assert.deepEqual(
    there.map(({ event, what }) => [event, what["image"]]),
    told.filter(({ actor }) => actor.kind === "keys").map(({ event, what }) => [event, what["image"]]),
  )
  for (const { actor, from } of there) {
    assert.deepEqual(actor.ids, publisher)
    assert.ok(from !== api && (from === null || from.startsWith("127.0.0.1:")), String(from))
  }

  const log = readFileSync(grid.home("server-1/audit.jsonl"), "utf8") + readFileSync(grid.home("server-2/audit.jsonl"), "utf8")
  const secrets = globSync(["*/keys/*.key", "*/keys/secrets.json"], { cwd: grid.directory }).flatMap((file) =>
    [...readFileSync(grid.home(file), "utf8").matchAll(/[0-9a-f]{64}/g)].map(String),
  )
  assert.ok(secrets.length >= 15, `${secrets.length} secrets were found to look for`)
  for (const secret of [...secrets, invite.slice(12, 60), "imagegrid1:", "AGE-SECRET-KEY", "AAAA"]) assert.ok(!log.includes(secret), secret)
})

test("a server whose log was changed says so loudly, refuses nothing, and verify names the line", async () => {
  await using grid = new TestGrid()
  const before = await grid.site()
  await grid.joinClient("client")
  before.kill("SIGTERM")
  await before.ended()
  const path = grid.home("server-1/audit.jsonl")
  writeFileSync(path, readFileSync(path, "utf8").replace('"role":"client"', '"role":"server"'))
  const after = grid.start(["server", "run", "--home", grid.home("server-1")])
  const said: string[] = []
  after.onLog((line) => said.push(line))
  await after.event("server-running")
  assert.ok(
    said.some((line) => line.includes("THE AUDIT LOG DOES NOT HOLD") && line.includes("audit.jsonl line 3")),
    said.join("\n"),
  )
  await grid.joinClient("another")
  const listed = grid.outcome(["audit", "--home", grid.home("server-1")])
  assert.deepEqual([listed.code, entriesIn(listed).length], [0, 5])
  assert.match(listed.stderr, /the log does not hold: audit\.jsonl line 3/)
  const verified = grid.outcome(["audit", "--home", grid.home("server-1"), "--verify"])
  assert.deepEqual([verified.code, verified.events.at(-1)?.["code"]], [65, "AUDIT_BROKEN"])
  assert.match(String(verified.events.at(-1)?.["message"]), /audit\.jsonl line 3: .*entry 2 or this one was changed/)
})

test("audit refuses a client's home and a time out of form, and says when nobody else can bear it out", async () => {
  await using grid = new TestGrid()
  await grid.site()
  await grid.joinClient("client")
  assert.equal(grid.outcome(["audit", "--home", grid.home("client")]).events.at(-1)?.["code"], "ROLE_WRONG")
  assert.equal(grid.outcome(["audit", "--home", grid.home("server-1"), "--since", "soon"]).events.at(-1)?.["code"], "USAGE")
  assert.deepEqual(entriesIn(grid.outcome(["audit", "--home", grid.home("server-1"), "--since", "2100-01-01"])), [])
  const alone = grid.outcome(["audit", "--home", grid.home("server-1"), "--verify"])
  assert.equal(alone.code, 0)
  assert.match(alone.stderr, /no other server says what it saw of this log/)
  assert.equal(alone.events.at(-1)?.["entries"], 3)
})
