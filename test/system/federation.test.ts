import assert from "node:assert/strict"
import { test } from "node:test"
import { until } from "../member/site.ts"
import { loopback, TestGrid, type Outcome } from "./grid.ts"
import { makeTree } from "./trees.ts"

const lastOf = ({ code, events }: Outcome): [number | null, unknown] => [code, events.at(-1)?.["code"] ?? events.at(-1)?.["event"]]

test("two sites agree; a client of one deploys the other's image from its own site's copy when the other site is gone", async () => {
  await using grid = new TestGrid()
  makeTree(grid.home("tree"), 400_000)
  const held: unknown[] = []
  const demo = await grid.site([], "demo")
  demo.onLog((line) => line.includes("layer held") && held.push(line))
  await grid.run(["site", "create", "cineca", "--home", grid.home("cineca"), "--api", "127.0.0.1:0", ...loopback])
  const cineca = await grid.server("cineca")
  const at = (home: string) => ["--home", grid.home(home)]
  await grid.run(["join", await grid.invite([], "demo"), ...at("client"), ...loopback])

  await grid.run(["federate", "invite", grid.home("demo.offer"), ...at("demo")])
  await grid.run(["federate", "invite", grid.home("cineca.offer"), ...at("cineca")])
  const unasked = grid.outcome(["federate", "accept", grid.home("demo.offer"), "--shares", "rhel*", ...at("cineca")])
  assert.deepEqual(lastOf(unasked), [64, "USAGE"])
  await grid.run(["federate", "accept", grid.home("demo.offer"), "--shares", "rhel*", "--yes", ...at("cineca")])
  await grid.run(["federate", "accept", grid.home("cineca.offer"), "--mirrors", "rhel*", "--yes", ...at("demo")])
  const stands = (home: string) => grid.outcome(["federate", "list", ...at(home)]).events[0]?.["state"]
  await until("both sites count it", () => stands("demo") === "in force" && stands("cineca") === "in force")

  await grid.run(["publish", grid.home("tree"), "rhel:9", "--group", "default,demo/default", ...at("cineca")])
  await grid.run(["publish", grid.home("tree"), "own:1", "--group", "default,demo/default", ...at("cineca")])
  const images = () =>
    grid.outcome(["images", ...at("client")]).events.flatMap(({ event, image, mayOpen }) => (event === "image" ? [[image, mayOpen]] : []))
  await until("the client is shown it", () => images().length > 0)
  assert.deepEqual(images(), [["cineca/rhel:9", true]], "what is not shared is not shown")

  await until("demo's server holds both layers", () => held.length === 2)

  await cineca[Symbol.asyncDispose]()
  const deploy = ["deploy", "cineca/rhel", ...at("client"), "--target", grid.home("target"), "--seed-until", "done"]
  const deployed = grid.outcome(deploy)
  assert.equal(deployed.code, 0, deployed.stderr)
  assert.deepEqual(lastOf(grid.outcome(["verify", ...at("client"), "--target", grid.home("target")]))[0], 0)
  assert.deepEqual(lastOf(grid.outcome(["deploy", "cineca/own", ...at("client"), "--target", grid.home("no")])), [66, "IMAGE_UNKNOWN"])

  await grid.run(["federate", "remove", "cineca", ...at("demo")])
  const over = ["deploy", "cineca/rhel", ...at("client"), "--target", grid.home("late"), "--seed-until", "done"]
  assert.deepEqual(lastOf(grid.outcome(over)), [66, "SITE_UNKNOWN"])
})
