import assert from "node:assert/strict"
import { test } from "node:test"
import { exitCodes, GridError, type RefusalCode, refusals } from "#core/errors.ts"
import { errorTable } from "./error-table.ts"
import { rootFile, sourceFiles } from "./source-files.ts"

const codes = Object.keys(refusals) as RefusalCode[]

test("README.md lists every error code with its exit code and meaning (scripts/node scripts/error-table.ts prints the table)", () => {
  const rows = rootFile("README.md")
    .split("\n")
    .filter((line) => /^\| `?[A-Z][A-Z_]+`? \|/.test(line))
    .map((line) => line.replaceAll("`", ""))
  assert.deepEqual(rows, errorTable().slice(2))
})

test("each error code has a kind of exit, and no two kinds share an exit code", () => {
  for (const code of codes) {
    assert.match(code, /^[A-Z]+(?:_[A-Z]+)*$/)
    assert.ok(refusals[code].exit in exitCodes, code)
  }
  assert.equal(new Set(Object.values(exitCodes)).size, Object.keys(exitCodes).length)
})

test("each code is refused with somewhere in the program", () => {
  const program = [...sourceFiles()].filter(([path]) => !/^(?:test|bench|scripts)\//.test(path) && path !== "core/errors.ts")
  const unused = codes.filter((code) => !program.some(([, text]) => text.includes(`"${code}"`)))
  assert.deepEqual(unused, [])
})

test("a GridError has its code, its exit code and both what it means and what happened in its message", () => {
  for (const code of codes) {
    const error = new GridError(code, "what happened")
    assert.equal(error.exitCode, exitCodes[refusals[code].exit])
    assert.equal(error.message, `${refusals[code].meaning}: what happened`)
  }
})
