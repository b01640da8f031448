import assert from "node:assert/strict"
import { test } from "node:test"
import { deadNames, labName, ownNames } from "../../bench/lab/leftovers.ts"

const names = [
  labName(17, "bridge"),
  labName(17, 1),
  labName(4_242, 1),
  "imagegrid-lab-x-1",
  "imagegrid-lab-17",
  "other-17-1",
  "imagegrid-lab-0017x-2",
]

test("what labs left whose process is gone is cleared away, and nothing else", () => {
  assert.deepEqual(
    deadNames(names, (pid) => pid === 4_242),
    [labName(17, "bridge"), labName(17, 1)],
  )
})

test("nothing of a lab that runs is cleared away", () => {
  assert.deepEqual(
    deadNames(names, () => true),
    [],
  )
  assert.deepEqual(deadNames([labName(process.pid, 1)]), [])
})

test("a lab removes its own and no other's", () => {
  assert.deepEqual(ownNames(names, 17), [labName(17, "bridge"), labName(17, 1)])
  assert.deepEqual(ownNames(names, 1), [])
})
