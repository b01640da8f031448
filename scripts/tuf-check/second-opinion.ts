/**
 * What a TUF implementation that we did not write says of a site that this program made: `python-tuf` where it is installed, else its
 * library of keys and canonical JSON, else nobody, which is told and is no success.
 */
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { randomBytes } from "node:crypto"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { systemClock } from "#core/clock.ts"
import { imageRef, siteName } from "#core/identifiers.ts"
import { keysDirectory, type Home } from "#member/home.ts"
import { silentLog } from "#member/log.ts"
import { storedCatalog } from "#member/stored-catalog.ts"
import { countRoots, fileOf } from "#trust/files.ts"
import { METADATA_PATH, ROOT_PATH, TARGET_PREFIX, type CatalogFiles } from "#trust/catalog-file.ts"
import { keyIdOfSeed, tufKeyOf } from "#trust/metadata.ts"
import { pathsOfPattern } from "#trust/name-patterns.ts"
import type { Edits } from "#trust/change.ts"
import { createSite, DEFAULT_GROUP } from "#nodes/create-site.ts"
import { createKeyFile, KeyRing } from "#nodes/key-ring.ts"
import { makeChange } from "#nodes/make-change.ts"
import { publishImage } from "#nodes/publish.ts"

export type SecondOpinion =
  /** `whole`: the verifier is a TUF client, and not a library of keys alone. `refused`: changed sets that it refused, each of which it had to. */
  | {
      readonly kind: "verified"
      readonly by: string
      readonly whole: boolean
      readonly states: number
      readonly verified: number
      readonly refused: number
      /** What could not be imported. */
      readonly missing: readonly string[]
    }
  | { readonly kind: "skipped"; readonly why: string }

const SCRIPT = fileURLToPath(new URL("../check-tuf.py", import.meta.url))
/** Debian installs its packages for its own Python, which need not be the first on the PATH. */
const PYTHONS = ["python3", "/usr/bin/python3"]

/** @throws {Error} when the other implementation refuses what we made, or takes what was changed */
export async function secondOpinion(): Promise<SecondOpinion> {
  const work = mkdtempSync(join(tmpdir(), "imagegrid-tuf-"))
  try {
    const states = join(work, "states")
    for (const [position, files] of (await siteHistory(work)).entries()) writeState(join(states, String(position + 1)), files)
    const opinions = PYTHONS.map((python) => ask(python, states))
    const verified = opinions.filter((opinion) => opinion.kind === "verified")
    return verified.find(({ whole }) => whole) ?? verified[0] ?? opinions[0] ?? { kind: "skipped", why: "no Python" }
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** The catalog of a new site after each thing that happened to it. */
async function siteHistory(work: string): Promise<CatalogFiles[]> {
  const free = { host: "127.0.0.1", port: 0 }
  const home = await createSite(
    { clock: systemClock, random: randomBytes },
    {
      directory: join(work, "home"),
      site: siteName("demo"),
      groups: [],
      rootKeys: { count: 3, threshold: 2 },
      listen: { api: free, swarm: free, dht: free },
    },
  )
  const tree = join(work, "tree")
  mkdirSync(tree)
  writeFileSync(join(tree, "hostname"), "node\n")
  const history: CatalogFiles[] = []
  const keep = async () => {
    history.push((await storedCatalog(home, systemClock.nowMs())).catalog.files)
  }
  const publish = async (image: string) => {
    const parts = { ...(await partsOf(home)), random: randomBytes, signal: new AbortController().signal }
    await publishImage(parts, { directory: tree, ref: imageRef(image), groups: [DEFAULT_GROUP] })
    await keep()
  }
  const change = async (edits: Edits) => {
    const { applied } = await makeChange(await partsOf(home), () => edits)
    if (!applied) throw new Error("a change of the history was not applied: its signatures are not complete")
    await keep()
  }
  await keep()
  await publish("os:1")

  const root = randomBytes(32)
  await createKeyFile(join(keysDirectory(home.directory), "root-4.key"), root, null)
  await change({
    root: (body) => {
      const [, ...kept] = body.roles.root.keyids
      return {
        ...body,
        keys: { ...body.keys, [keyIdOfSeed(root)]: tufKeyOf(root) },
        roles: { ...body.roles, root: { keyids: [...kept, keyIdOfSeed(root)], threshold: 2 } },
      }
    },
  })
  const hpc = randomBytes(32)
  await createKeyFile(join(keysDirectory(home.directory), "hpc.key"), hpc, null)
  await change({
    site: (document) => ({ ...document, revoked: ["ab".repeat(16)] }),
    delegations: ({ keys, roles }) => ({
      keys: { ...keys, [keyIdOfSeed(hpc)]: tufKeyOf(hpc) },
      roles: [
        { name: "hpc", keyids: [keyIdOfSeed(hpc)], threshold: 1, terminating: true, paths: pathsOfPattern("hpc/*") },
        ...roles,
      ] as typeof roles,
    }),
  })
  await publish("hpc/tools:1")
  await publish("os:2")
  return history
}

async function partsOf(home: Home) {
  const keys = await KeyRing.open({ homeKeys: keysDirectory(home.directory), files: [] }, () => Promise.reject(new Error("no passphrase")))
  return { home, clock: systemClock, log: silentLog, keys }
}

/** As a TUF repository stands in a directory, with the names that it has without consistent snapshots. */
function writeState(directory: string, files: CatalogFiles): void {
  const put = (path: string, bytes: Buffer) => {
    mkdirSync(dirname(join(directory, path)), { recursive: true })
    writeFileSync(join(directory, path), bytes)
  }
  const roots = countRoots(files)
  for (const [path, bytes] of files) put(path.startsWith(TARGET_PREFIX) ? path : path.slice(dirname(METADATA_PATH("x")).length + 1), bytes)
  put("root.json", fileOf(files, ROOT_PATH(roots)))
}

function ask(python: string, states: string): SecondOpinion {
  const run = spawnSync(python, [SCRIPT, states, String(systemClock.nowMs())], { encoding: "utf8", timeout: 120_000 })
  if (run.error !== undefined) return { kind: "skipped", why: `${python}: ${run.error.message}` }
  if (run.status !== 0) throw new Error(`${python} ${SCRIPT} ended with ${run.status}: ${run.stderr.trim()}`)
  const said = JSON.parse(run.stdout) as {
    readonly by: string | null
    readonly missing: readonly string[]
    readonly states?: number
    readonly verified?: number
    readonly refused?: number
  }
  const { by, missing, states: stateCount = 0, verified = 0, refused = 0 } = said
  if (by === null) return { kind: "skipped", why: `${python} has neither python-tuf nor securesystemslib (${missing.join("; ")})` }
  if (stateCount === 0 || verified === 0 || refused === 0) throw new Error(`${by} says that it verified nothing: ${run.stdout}`)
  return { kind: "verified", by, whole: by.startsWith("python-tuf"), states: stateCount, verified, refused, missing }
}
