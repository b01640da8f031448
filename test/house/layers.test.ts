import assert from "node:assert/strict"
import { describe, test } from "node:test"
import { layerViolations, rooms } from "./layers.ts"
import { sourceFiles } from "./source-files.ts"

/** A house in order: one file in each room. */
const tidy = new Map([
  ...rooms.map((room) => [`${room}/door.ts`, "export const door = 1\n"] as const),
  ["swarm/core/step.ts", "export const step = 1\n"] as const,
  ["crypto/admission.ts", 'import { createSecureContext } from "node:tls"\nexport const context = createSecureContext\n'] as const,
  ["test/all.test.ts", 'import "../cli/door.ts"\n'] as const,
])

function planted(path: string, text: string): string[] {
  return layerViolations(new Map([...tidy, [path, text]]))
}

describe("the direction of imports", () => {
  test("is kept by every file of this house", () => {
    assert.deepEqual(layerViolations(sourceFiles()), [])
  })

  test("was looked at in every room, and imports were seen in it", () => {
    const files = sourceFiles()
    for (const room of rooms) {
      const inRoom = [...files].filter(([path]) => path.startsWith(`${room}/`))
      assert.ok(inRoom.length > 0, `${room}/ has files`)
    }
    // Turned upside down, the same files violate: so the imports between rooms are found.
    const lifted = new Map([...files].map(([path, text]) => [path, text.replaceAll("#core/", "#cli/")]))
    assert.ok(layerViolations(lifted).length > 50)
  })

  test("finds nothing wrong in a tidy house", () => {
    assert.deepEqual(layerViolations(tidy), [])
  })

  for (const room of rooms)
    test(`fails when ${room}/ is empty`, () => {
      const without = new Map([...tidy].filter(([path]) => !path.startsWith(`${room}/`)))
      assert.ok(layerViolations(without).some((violation) => violation.startsWith(`${room}/ has no files`)))
    })

  for (const [kind, path, text] of [
    ["an upward import by alias", "core/bad.ts", 'import { door } from "#crypto/door.ts"'],
    ["an upward import by a relative path", "core/bad.ts", 'import { door } from "../crypto/door.ts"'],
    ["an upward import by an alias that climbs", "core/bad.ts", 'import { door } from "#core/../crypto/door.ts"'],
    ["an upward import over several lines", "crypto/bad.ts", 'import {\n  door,\n  type Door,\n} from "#swarm/door.ts"'],
    ["an upward import type", "crypto/bad.ts", 'import type { Door } from "#swarm/door.ts"'],
    ["an upward import() type", "crypto/bad.ts", 'export type Door = import("#swarm/door.ts").Door'],
    ["an upward dynamic import", "crypto/bad.ts", 'const { door } = await import("#swarm/door.ts")'],
    ["an upward dynamic import over several lines", "crypto/bad.ts", 'const { door } = await import(\n  "#swarm/door.ts"\n)'],
    ["an upward dynamic import of a template", "crypto/bad.ts", "const { door } = await import(`#swarm/door.ts`)"],
    ["an upward import for its effect", "crypto/bad.ts", 'import "#swarm/door.ts"'],
    ["an upward export from", "crypto/bad.ts", 'export { door } from "#swarm/door.ts"'],
    ["an upward export of everything", "crypto/bad.ts", 'export * from "#swarm/door.ts"'],
    ["an upward export type", "crypto/bad.ts", 'export type { Door } from "#swarm/door.ts"'],
    ["an upward require", "crypto/bad.ts", 'const { door } = require("../swarm/door.ts")'],
    ["an upward namespace import", "crypto/bad.ts", 'import * as swarm from "#swarm/door.ts"'],
    ["a default import beside others", "crypto/bad.ts", 'import swarm, { door } from "#swarm/door.ts"'],
    ["an import with single quotes", "crypto/bad.ts", "import { door } from '#swarm/door.ts'"],
    ["nodes importing client", "nodes/bad.ts", 'import { door } from "#client/door.ts"'],
    ["client importing nodes", "client/bad.ts", 'import { door } from "#nodes/door.ts"'],
    ["swarm importing store", "swarm/bad.ts", 'import { door } from "#store/door.ts"'],
    ["image importing trust", "image/bad.ts", 'import { door } from "#trust/door.ts"'],
    ["member importing nodes", "member/bad.ts", 'import { door } from "#nodes/door.ts"'],
    ["member importing grid", "member/bad.ts", 'import { door } from "#grid/door.ts"'],
    ["swarm importing grid", "swarm/bad.ts", 'import { door } from "#grid/door.ts"'],
    ["a clock in the grid's core", "grid/core/bad.ts", "export const now = Date.now()"],
    ["node:net in the grid's core", "grid/core/bad.ts", 'import { connect } from "node:net"'],
    ["the program importing a test", "client/bad.ts", 'import "../test/all.test.ts"'],
    ["a computed import", "client/bad.ts", "await import(`#${room}/door.ts`)"],
    ["an import by a variable", "client/bad.ts", "await import(path)"],
    ["an import of a file that is not there", "client/bad.ts", 'import { door } from "#core/missing.ts"'],
    ["the version read below cli", "core/bad.ts", 'import manifest from "../package.json" with { type: "json" }'],
    ["a file in no room", "attic/bad.ts", "export {}"],
    ["a package in core", "core/bad.ts", 'import tar from "tar"'],
    ["node:fs in core", "core/bad.ts", 'import { readFileSync } from "node:fs"'],
    ["node:fs in crypto", "crypto/bad.ts", 'import { readFileSync } from "node:fs"'],
    ["fs by its old name in crypto", "crypto/bad.ts", 'import { readFileSync } from "fs"'],
    ["node:fs/promises in trust", "trust/bad.ts", 'import { readFile } from "node:fs/promises"'],
    ["node:net in the swarm's core", "swarm/core/bad.ts", 'import { connect } from "node:net"'],
    ["node:dgram in the swarm's core", "swarm/core/bad.ts", 'import { createSocket } from "node:dgram"'],
    ["node:child_process in crypto", "crypto/bad.ts", 'import { spawn } from "node:child_process"'],
    ["node:tls outside admission", "crypto/bad.ts", 'import { connect } from "node:tls"'],
    ["node:fs in admission", "crypto/admission.ts", 'import { readFileSync } from "node:fs"'],
    ["the swarm's core importing its shell", "swarm/core/bad.ts", 'import { door } from "../door.ts"'],
    ["process.env in crypto", "crypto/bad.ts", "export const home = process.env.HOME"],
    ["Date.now in trust", "trust/bad.ts", "export const now = Date.now()"],
    ["new Date() in trust", "trust/bad.ts", "export const now = new Date()"],
    ["Math.random in the swarm's core", "swarm/core/bad.ts", "export const die = Math.random()"],
    ["console in crypto", "crypto/bad.ts", 'console.log("key")'],
    ["a timer in the swarm's core", "swarm/core/bad.ts", "setTimeout(step, 10)"],
  ] as const)
    test(`fails on ${kind}`, () => {
      const violations = planted(path, text)
      assert.equal(violations.length, 1, violations.join("\n"))
      assert.ok(violations[0]?.startsWith(path), violations[0])
    })

  for (const [kind, path, text] of [
    ["imports downward", "cli/good.ts", 'import { door } from "#core/door.ts"\nimport type { Door } from "#client/door.ts"'],
    ["imports inside a room", "swarm/good.ts", 'import { step } from "./core/step.ts"'],
    ["imports of packages above core", "client/good.ts", 'import tar from "tar"\nimport { readFileSync } from "node:fs"'],
    ["clocks and files where they belong", "store/good.ts", 'import "node:fs"\nexport const now = Date.now()'],
    ["words in comments", "crypto/good.ts", '// Date.now is passed in\n/** import { a } from "#swarm/door.ts" */\nexport const a = 1'],
    ["path patterns that look like comments", "trust/good.ts", 'export const pattern = "images/*/*"\nexport const other = "grants/*/*"'],
    ["a date from a given time", "trust/good.ts", "export const at = new Date(nowMs)"],
    ["the version read in cli", "cli/good.ts", 'import manifest from "../package.json" with { type: "json" }'],
    ["anything in bench", "bench/good.ts", 'import "../cli/door.ts"\nimport "../test/all.test.ts"\nconsole.log(Date.now())'],
  ] as const)
    test(`allows ${kind}`, () => {
      assert.deepEqual(planted(path, text), [])
    })
})
