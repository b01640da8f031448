/**
 * The danger: a mirror in somebody else's hands, who reads its whole disk and the whole memory of its process. It has served all the bytes of a
 * deploy, and there is nothing of the tree, of the image's key and of the group's key in it. The same search finds all of them where they are.
 */
import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { bech32Bytes } from "./bech32.ts"
import { imageIdentity } from "../../client/open-image.ts"
import { systemClock } from "../../core/clock.ts"
import { address } from "../../core/address.ts"
import { layerOf } from "../../core/documents.ts"
import { sealingKeyFromSecret } from "../../crypto/identity.ts"
import { Home } from "../../member/home.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { storedCatalog } from "../../member/stored-catalog.ts"
import { statusOf } from "../../nodes/fellows.ts"
import { until } from "../member/site.ts"
import { loopback, TestGrid } from "./grid.ts"
import { foundInMemory, foundOnDisk, memoryUnreadable, type Needles } from "./process-memory.ts"
import { makeTree, noise } from "./trees.ts"

const unreadable = process.platform === "linux" ? memoryUnreadable(process.pid) : "the memory of a process is read by /proc, on Linux"

test(
  "a mirror that has served a whole deploy holds nothing of it that it could read, on disk or in memory",
  {
    skip: unreadable ?? false,
  },
  async (t) => {
    await using grid = new TestGrid()
    const marker = randomBytes(64)
    const text = Buffer.from("all work and no play makes a tree compress well\n".repeat(2_000))
    makeTree(grid.home("tree"), 3_000_000)
    mkdirSync(grid.home("tree/secret-chamber"))
    writeFileSync(grid.home("tree/secret-chamber/marker-of-the-tree"), Buffer.concat([text, marker, text]))

    const server = await grid.site()
    await grid.run(["publish", grid.home("tree"), "os:1", "--home", grid.home("server-1"), "--wait-copies", "1"])
    await grid.run(["join", await grid.invite(["--role", "mirror"]), "--home", grid.home("mirror"), "--api", "127.0.0.1:0", ...loopback])
    const mirror = await grid.server("mirror")
    const [serverPid, mirrorPid] = [server.pid, mirror.pid]
    assert.ok(serverPid !== null && mirrorPid !== null)
    const refusal = memoryUnreadable(mirrorPid)
    if (refusal !== null) return t.skip(refusal)

    const home = await Home.open(grid.home("server-1"))
    const mirrorHome = await Home.open(grid.home("mirror"))
    const { catalog } = await storedCatalog(home, systemClock.nowMs())
    const manifest = catalog.images.get("os:1")
    const secrets = await home.secrets()
    const [group] = secrets.groups
    assert.ok(manifest !== undefined && group !== undefined && secrets.online !== undefined)
    const identity = imageIdentity({ catalog, manifest }, { site: home.site, secrets })
    assert.ok(identity !== null)
    const closed: Needles = new Map([
      ["the marker", marker],
      ["the marker as hex", Buffer.from(marker.toString("hex"))],
      ["the text around it", text.subarray(0, 96)],
      ["the noise in the tree", noise(3_000_000, "tree").subarray(1_000_000, 1_000_064)],
      ["the name of a file", Buffer.from("marker-of-the-tree")],
      ["the image's key", Buffer.from(identity)],
      ["the image's key as UTF-16", Buffer.from(identity, "utf16le")],
      ["the image's key as bytes", bech32Bytes(identity)],
      ["the group's key", Buffer.from(group.secretKey)],
      ["the group's key as UTF-16", Buffer.from(group.secretKey, "utf16le")],
      ["the group's key as bytes", Buffer.from(group.secretKey, "hex")],
      ...Object.entries(secrets.online).flatMap(([name, keys]): [string, Buffer][] =>
        keys.flatMap((key): [string, Buffer][] => [
          [`the site's key for ${name}`, Buffer.from(key)],
          [`the site's key for ${name} as bytes`, Buffer.from(key, "hex")],
        ]),
      ),
    ])
    assert.equal(sealingKeyFromSecret(bech32Bytes(identity)).publicKeyHex, bech32Bytes(manifest.recipient).toString("hex"))

    // That the search finds what is there: in the server, which holds the keys, and in the tree itself.
    const inServer = foundInMemory(serverPid, closed).found
    assert.ok(inServer.includes("the group's key"), inServer.join())
    assert.ok(foundOnDisk(grid.home("server-1"), closed).found.includes("the group's key"))
    const inTree = ["the marker", "the name of a file", "the noise in the tree", "the text around it"]
    assert.deepEqual(foundOnDisk(grid.home("tree"), closed).found, inTree)

    const asking = await Member.start({ home, clock: systemClock, log: silentLog }, { network: "api-only" })
    const mirrorApi = address(String((await mirror.event("server-running"))["api"]))
    await until(
      "the mirror has verified all layers",
      async () => (await statusOf(asking, mirrorApi)).layers.length === manifest.layers.length,
    )
    await asking.close()
    await until("the server knows of the mirror", () =>
      readFileSync(grid.home("server-1/servers.json"), "utf8").includes(mirrorHome.memberId),
    )
    await grid.joinClient("client")
    server.kill("SIGKILL")
    await server.ended()

    const words = ["deploy", "os:1", "--home", grid.home("client"), "--target", grid.home("root"), "--seed-until", "forever"]
    const deploy = grid.start(words)
    await deploy.event("good")
    const downloaded = await deploy.event("downloaded")
    assert.ok(Number(downloaded["fromOrigins"]) >= layerOf(manifest, "full").sealedBytes, "all bytes came from the mirror")
    assert.ok(foundOnDisk(grid.home("root"), closed).found.includes("the marker"))
    assert.ok(deploy.pid !== null && foundInMemory(deploy.pid, closed).found.includes("the group's key"))

    // What the mirror may know, and what it seeds: found, or the search would prove nothing.
    const sealed = readFileSync(join(grid.home("mirror"), "layers", layerOf(manifest, "full").infohash, "layer.age"))
    const open: Needles = new Map([
      ["its own id", Buffer.from(mirrorHome.memberId)],
      ["a piece of the sealed layer", sealed.subarray(sealed.length - 64)],
      ["the recipient that layers are sealed to", Buffer.from(manifest.recipient)],
    ])
    const all: Needles = new Map([...closed, ...open])
    const onDisk = foundOnDisk(grid.home("mirror"), all)
    assert.deepEqual(onDisk.found, [...open.keys()].sort())
    assert.ok(onDisk.searchedBytes > 3_000_000)
    const inMemory = foundInMemory(mirrorPid, all)
    t.diagnostic(`${inMemory.searchedBytes} bytes of the mirror's memory were searched, ${onDisk.searchedBytes} of its disk`)
    assert.deepEqual(
      inMemory.found.filter((name) => closed.has(name)),
      [],
    )
    assert.ok(
      inMemory.found.includes("its own id") && inMemory.found.includes("the recipient that layers are sealed to"),
      inMemory.found.join(),
    )
    // A mirror stages nothing anywhere else.
    assert.equal(existsSync(join("/dev/shm", `imagegrid-${mirrorHome.memberId.slice(0, 12)}`)), false)
    deploy.kill("SIGTERM")
    await deploy.ended()
  },
)
