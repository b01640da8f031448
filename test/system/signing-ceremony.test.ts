/** People who sign for a site, each at a machine of their own: directories stand for machines, and a change's file for what is carried between them. */
import assert from "node:assert/strict"
import { copyFileSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { lockKey } from "../../crypto/key-file.ts"
import { keyIdOf } from "../../trust/metadata.ts"
import { loopback, TestGrid, type Outcome } from "./grid.ts"
import { makeTree } from "./trees.ts"

/** Scrypt as the program works it takes a second a key; here nobody guesses. */
const CHEAP = 10
const api = ["--api", "127.0.0.1:0", ...loopback] as const
const { IMAGEGRID_HOME: _, ...env } = process.env

/** A person's machine: no home, no network, one key that a passphrase protects. */
class Machine {
  readonly directory: string
  readonly #grid: TestGrid
  readonly #key: string

  constructor(grid: TestGrid, person: string, key = `${person}.key`) {
    this.#grid = grid
    this.directory = grid.home(person)
    this.#key = join(this.directory, key)
    mkdirSync(this.directory, { mode: 0o700 })
    writeFileSync(this.passphraseFile, `${person}'s own words\n`, { mode: 0o600 })
  }

  get passphraseFile(): string {
    return join(this.directory, "passphrase")
  }

  get publicFile(): string {
    return this.#key.replace(/key$/, "pub")
  }

  get keyId(): string {
    return keyIdOf(readFileSync(this.publicFile, "utf8").trim())
  }

  get keyWords(): string[] {
    return ["--key", this.#key, "--passphrase-file", this.passphraseFile]
  }

  /** Takes a key out of a home for good, and protects it. */
  async takeKey(home: string, name: string): Promise<void> {
    renameSync(join(home, "keys", `${name}.pub`), this.publicFile)
    renameSync(join(home, "keys", `${name}.key`), this.#key)
    await this.#protect()
  }

  async #protect(): Promise<void> {
    const seed = Buffer.from(readFileSync(this.#key, "utf8").trim(), "hex")
    writeFileSync(this.#key, await lockKey(seed, readFileSync(this.passphraseFile, "utf8").trim(), CHEAP))
  }

  async makeKey(): Promise<void> {
    assert.equal(this.#grid.outcome(["trust", "key", this.#key, "--unprotected"]).code, 0)
    await this.#protect()
  }

  /** Signs the file where it is carried to, and carries it back. */
  sign(file: string, more: readonly string[] = ["--yes"]): Outcome {
    const here = join(this.directory, "received.change")
    copyFileSync(file, here)
    const outcome = this.#grid.outcome(["trust", "sign", here, ...this.keyWords, ...more], { env })
    copyFileSync(here, file)
    return outcome
  }
}

const refusal = ({ code, events }: Outcome) => [code, events.at(-1)?.["code"]]

test("two of three holders replace a root key of a running site, and a client that was away meanwhile still deploys", async () => {
  await using grid = new TestGrid()
  makeTree(grid.home("tree"), 50_000)
  const server = await grid.site(["--root-keys", "3", "--root-threshold", "2"])
  const home = ["--home", grid.home("server-1")]
  await grid.joinClient("client")
  const [anna, ben, carla, dora] = ["anna", "ben", "carla", "dora"].map((person) => new Machine(grid, person)) as [
    Machine,
    Machine,
    Machine,
    Machine,
  ]
  for (const [position, person] of [anna, ben, carla].entries()) await person.takeKey(grid.home("server-1"), `root-${position + 1}`)
  await dora.makeKey()
  assert.deepEqual(
    readdirSync(grid.home("server-1/keys")).filter((name) => name.startsWith("root")),
    [],
  )

  // Carla leaves. Anna proposes at the server, with her key on a stick; the others get the file.
  const file = grid.home("root.change")
  const propose = ["trust", "propose", file, "--role", "root", "--add-key", dora.publicFile, ...home, ...anna.keyWords]
  assert.deepEqual(refusal(grid.outcome([...propose, "--remove-key", "00000000"])), [64, "USAGE"])
  assert.deepEqual(refusal(grid.outcome([...propose, "--threshold", "5"])), [64, "USAGE"])
  const proposed = grid.outcome([...propose, "--remove-key", carla.keyId.slice(0, 8)])
  assert.equal(proposed.code, 0, proposed.stderr)
  const { missing } = proposed.events.at(-1) as { readonly missing: readonly { readonly by: string; readonly signatures: number }[] }
  assert.deepEqual(
    missing.map(({ by, signatures }) => [by, signatures]),
    [
      ["former root", 1],
      ["role", 1],
    ],
  )
  assert.deepEqual(refusal(grid.outcome(propose)), [73, "OUTPUT_EXISTS"])
  assert.deepEqual(refusal(grid.outcome(["trust", "apply", file, ...home])), [77, "SIGNATURES_MISSING"])

  const stranger = new Machine(grid, "stranger")
  await stranger.makeKey()
  assert.deepEqual(refusal(stranger.sign(file)), [77, "KEY_MISSING"])
  assert.deepEqual(refusal(dora.sign(file, [])), [64, "USAGE"], "nobody can be asked, and nobody said yes")
  const byDora = dora.sign(file)
  const read = byDora.events.find(({ event }) => event === "change")
  const created = JSON.parse(readFileSync(grid.home("server-1/member.json"), "utf8")) as { readonly rootDigest: string }
  assert.equal(read?.["rootDigest"], created.rootDigest)
  const changes = read?.["changes"] as string[]
  for (const [mark, person] of [
    ["+", dora],
    ["-", carla],
    [" ", anna],
  ] as const)
    assert.ok(
      changes.some((line) => line.endsWith(` ${mark} ${person.keyId.slice(0, 16)}`)),
      changes.join("\n"),
    )
  assert.equal(byDora.events.at(-1)?.["event"], "change-waits", "the new one signs, and the root before asks for one more of its own")
  // A home at hand vouches for the site, and another site's home for nothing.
  await grid.run(["site", "create", "other", "--home", grid.home("other"), ...api])
  assert.deepEqual(refusal(ben.sign(file, ["--yes", "--home", grid.home("other")])), [65, "CATALOG_INVALID"])
  assert.equal(ben.sign(file, ["--yes", "--home", grid.home("client")]).events.at(-1)?.["event"], "change-complete")
  assert.deepEqual(refusal(grid.outcome(["trust", "apply", file, "--home", grid.home("other")])), [65, "CATALOG_INVALID"])
  assert.equal(grid.outcome(["trust", "apply", file, ...home]).events.at(-1)?.["event"], "change-applied")
  assert.equal(grid.outcome(["trust", "apply", file, ...home]).events.at(-1)?.["event"], "change-unchanged")

  // Carla's key counts no more: neither for a new change nor in an old file.
  const next = grid.home("renewal.change")
  grid.outcome(["trust", "propose", next, "--role", "root", "--renew", ...home, ...dora.keyWords])
  assert.deepEqual(refusal(carla.sign(next)), [77, "KEY_MISSING"])
  assert.equal(ben.sign(next).code, 0)
  assert.equal(grid.outcome(["trust", "apply", next, ...home]).code, 0)

  await grid.run(["publish", grid.home("tree"), "os:1", ...home])
  const target = grid.home("target")
  const deployed = grid.outcome(["deploy", "os:1", "--home", grid.home("client"), "--target", target, "--seed-until", "done"])
  assert.equal(deployed.code, 0, deployed.stderr)
  await server[Symbol.asyncDispose]()
})

test("where two must sign a publisher's images, a publication waits for the second, and needs the layers where it is applied", async () => {
  await using grid = new TestGrid()
  makeTree(grid.home("tree"), 50_000)
  await grid.run(["site", "create", "demo", "--home", grid.home("server-1"), ...api])
  const home = ["--home", grid.home("server-1")]
  const ben = new Machine(grid, "ben")
  await ben.makeKey()
  const roleFile = grid.home("publisher.change")
  const words = ["trust", "propose", roleFile, "--role", "publisher", "--add-key", ben.publicFile, "--threshold", "2"]
  assert.equal(grid.outcome([...words, ...home]).events.at(-1)?.["event"], "change-waits")
  assert.equal(ben.sign(roleFile).code, 0)
  assert.equal(grid.outcome(["trust", "apply", roleFile, ...home]).code, 0)

  const file = grid.home("os.change")
  const published = grid.outcome(["publish", grid.home("tree"), "os:1", "--out", file, ...home])
  assert.deepEqual([published.code, published.events.at(-1)?.["event"]], [0, "change-waits"])
  assert.deepEqual(grid.outcome(["images", ...home]).events, [])
  const read = ben.sign(file).events.find(({ event }) => event === "change")?.["changes"] as string[]
  assert.match(read.join("\n"), /\+ os:1: \d+ entries.*\n.*\+ grant of os:1 to group default, generation 1/)

  const layers = grid.home("server-1/layers")
  renameSync(layers, `${layers}-elsewhere`)
  assert.deepEqual(refusal(grid.outcome(["trust", "apply", file, ...home])), [69, "SEEDERS_MISSING"])
  renameSync(`${layers}-elsewhere`, layers)
  assert.equal(grid.outcome(["trust", "apply", file, ...home]).code, 0)

  await grid.server("server-1")
  await grid.joinClient("client")
  const deployed = grid.outcome(["deploy", "os:1", "--home", grid.home("client"), "--target", grid.home("target"), "--seed-until", "done"])
  assert.equal(deployed.code, 0, deployed.stderr)
})
