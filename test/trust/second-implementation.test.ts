import assert from "node:assert/strict"
import { test } from "node:test"
import { secondOpinion } from "../../scripts/tuf-check/second-opinion.ts"

test("a TUF implementation that we did not write takes every state of a site's history, and refuses each with one bit changed", async (t) => {
  const opinion = await secondOpinion()
  if (opinion.kind === "skipped") {
    t.skip(opinion.why)
    return
  }
  t.diagnostic(`${opinion.by}: ${opinion.verified} files in ${opinion.states} states, ${opinion.refused} changed ones refused`)
  if (!opinion.whole) t.diagnostic(`python-tuf itself was not asked: ${opinion.missing.join("; ")}`)
  assert.equal(opinion.states, 6)
  assert.ok(opinion.verified > 40 && opinion.refused > 300)
})
