/** A test that registers a secret and prints it, when it is told to: for leak-search.test.ts, to see that it is noticed. */
import { randomBytes } from "node:crypto"
import { test } from "node:test"
import { registerSecrets } from "./secrets.ts"

test("passes, whatever it prints", (t) => {
  const bytes = randomBytes(32)
  registerSecrets([{ what: "a planted secret", bytes }])
  if (process.env["LEAKY_FIXTURE_PRINTS"] === "a secret") t.diagnostic(bytes.toString("base64"))
})
