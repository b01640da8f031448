import assert from "node:assert/strict"
import { test } from "node:test"
import type { Admission } from "#crypto/admission.ts"
import { handshake } from "./handshake.ts"
import { admissionOf, authorityOf, memberOf, ownOf } from "./site.ts"

const [old, newest] = [await authorityOf("the old authority"), await authorityOf("the newest authority")]
const [serverOfOld, serverOfNewest] = [
  await memberOf(old, "server", { role: "server" }),
  await memberOf(newest, "server", { role: "server" }),
]
const both = { authorities: [newest.der, old.der] }
const away = await memberOf(old, "client")
const knowsOldAlone = admissionOf(old, ownOf(away))
const knowsBoth = admissionOf(old, ownOf(away), both)

/** The certificate that the server shows, where the handshake comes to its end. */
async function shown(server: Admission, client: Admission): Promise<Buffer | null> {
  let certificate: Buffer | null = null
  const { read } = await handshake(server, client.tlsClientOptions(["server"]), {
    observe: (socket) => socket.once("secureConnect", () => (certificate = socket.getPeerX509Certificate()?.raw ?? null)),
  })
  return read === "welcome" ? certificate : null
}

test("a server shows a certificate of the newest authority to who knows it, and of the old one to who was away since", async () => {
  const server = admissionOf(newest, ownOf(serverOfNewest), both)
  assert.equal(await shown(server, knowsOldAlone), null, "without a certificate of the old authority")
  server.update({ alternates: [serverOfOld.der] })
  assert.deepEqual(await shown(server, knowsOldAlone), serverOfOld.der)
  assert.deepEqual(await shown(server, knowsBoth), serverOfNewest.der)
})

test("once the old authority is dropped, its certificates are neither shown nor admitted", async () => {
  const server = admissionOf(newest, ownOf(serverOfNewest), both)
  server.update({ alternates: [serverOfOld.der] })
  assert.ok((await shown(server, knowsOldAlone)) !== null)
  server.update({ authorities: [newest.der] })
  assert.equal(await shown(server, knowsOldAlone), null)
  assert.equal(await shown(server, knowsBoth), null, "its own certificate is of the old authority")
})

test("a name that is no authority's gets the newest certificate, and opens nothing to a stranger", async () => {
  const server = admissionOf(newest, ownOf(serverOfNewest), both)
  server.update({ alternates: [serverOfOld.der] })
  for (const servername of ["example.org", "0".repeat(32)])
    assert.equal((await handshake(server, { ...knowsBoth.tlsClientOptions(), servername })).read, "welcome")
  const stranger = await authorityOf("a stranger's authority")
  const { servername } = knowsOldAlone.tlsClientOptions()
  const intruder = admissionOf(stranger, ownOf(await memberOf(stranger, "intruder"))).tlsClientOptions()
  assert.equal((await handshake(server, { ...intruder, servername, rejectUnauthorized: false })).read, "")
})
