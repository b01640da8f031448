import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { test } from "node:test"
import { commands } from "../../cli/commands.ts"
import { manPages } from "../../cli/man-page.ts"

const pages = manPages(commands, "1.2.3")
const pageOf = (file: string) => pages.find((page) => page.file === file)?.text ?? assert.fail(file)

test("the program and each command have a page, with every option, argument and example", () => {
  assert.equal(new Set(pages.map(({ file }) => file)).size, commands.length + 1)
  const plain = (text: string) => text.replaceAll("\\-", "-").replaceAll("\\(aq", "'").replaceAll("\\e", "\\")
  for (const { name, options, examples, arguments: taken } of commands) {
    const text = plain(pageOf(`imagegrid-${name.replaceAll(" ", "-")}.1`))
    for (const title of ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "SEE ALSO"])
      assert.match(text, new RegExp(`^\\.SH ${title}$`, "m"), name)
    for (const { flags } of options) assert.ok(text.includes(flags), `${name}: ${flags}`)
    for (const argument of taken) assert.ok(text.includes(argument.name), `${name}: ${argument.name}`)
    for (const example of examples) assert.ok(text.includes(example), `${name}: ${example}`)
    assert.ok(plain(pageOf("imagegrid.1")).includes(`imagegrid ${name}`), name)
  }
})

test("no line of them is taken for a request but those that are", () => {
  for (const { file, text } of pages)
    for (const line of text.split("\n")) assert.match(line, /^(?:\.(?:TH|SH|SS|TP|PP|EX|EE)\b.*|[^.'].*|)$/, `${file}: ${line}`)
})

test("groff renders them without a warning", (context) => {
  const isThere = spawnSync("groff", ["--version"]).status === 0
  if (!isThere) return context.skip("groff is not installed")
  for (const { file, text } of pages) {
    const { stderr, stdout, status } = spawnSync("groff", ["-man", "-Tutf8", "-ww", "-rF0"], { input: text, encoding: "utf8" })
    assert.deepEqual([status, stderr], [0, ""], file)
    assert.match(stdout, /NAME/)
  }
})
