/**
 * What this client has done to a target, kept in its home and never in the target. It is durable before the target is touched,
 * so an interrupted deployment is told from a stranger's files, and "good" is written only after the tree was verified.
 */
import { createHash } from "node:crypto"
import { Type, type Static } from "typebox"
import { Digest, Hex20, Label, PATH_PATTERN_LENGTH_MAX, PATH_PATTERNS_MAX, WholeNumber } from "#core/documents.ts"
import { reader } from "#core/schema.ts"
import type { Home } from "#member/home.ts"

const Path = Type.String({ maxLength: 4096 })

const DeploymentRecord = Type.Object(
  {
    format: Type.Literal("imagegrid-deployment-1"),
    /** Real path of the target directory, and which directory that was. */
    target: Path,
    device: Type.String({ pattern: "^\\d{1,20}$" }),
    inode: Type.String({ pattern: "^\\d{1,20}$" }),
    /** That published the image. */
    site: Label,
    name: Type.String({ maxLength: 128 }),
    version: Type.String({ maxLength: 64 }),
    fullInfohash: Hex20,
    indexInfohash: Hex20,
    /** Of the image's index, opened. */
    indexSha256: Digest,
    /** Of that with this host's overrides laid over it. */
    laidSha256: Digest,
    /** Of the index of the tree as it was left: with local changes that were kept. */
    expectedSha256: Digest,
    /** Patterns of paths that updates do not touch (image/path-patterns.ts). */
    excluded: Type.Array(Type.String({ maxLength: PATH_PATTERN_LENGTH_MAX }), { maxItems: 2 * PATH_PATTERNS_MAX }),
    /** The name of the host that it is for. */
    host: Type.String({ maxLength: 253 }),
    /** Empty where nothing is staged. */
    stage: Path,
    /** `updating`: what was made anew is taking its places. */
    state: Type.Union([Type.Literal("unpacking"), Type.Literal("good"), Type.Literal("updating")]),
    changedAtMs: WholeNumber,
    /** Under way, or, in a good tree, what it was before the last one: null where there is nothing to go back to. */
    update: Type.Union([
      Type.Null(),
      Type.Object(
        {
          /** Names its directory of work in the target. */
          id: Type.String({ pattern: "^[0-9a-f]{16}$" }),
          /** What made it. */
          act: Type.Union([Type.Literal("update"), Type.Literal("rollback")]),
          version: Type.String({ maxLength: 64 }),
          indexInfohash: Hex20,
          indexSha256: Digest,
          laidSha256: Digest,
          expectedSha256: Digest,
        },
        { additionalProperties: false },
      ),
    ]),
  },
  { additionalProperties: false },
)
export type DeploymentRecord = Static<typeof DeploymentRecord>

const readRecord = reader(DeploymentRecord, "STATE_DAMAGED", "deployment record")
const RECORD_BYTES_MAX = 64 * 1024

function fileOf(target: string): string {
  return `deployments/${createHash("sha256").update(target).digest("hex").slice(0, 32)}.json`
}

/** The record of this target, or null where this client never deployed to it. @throws {GridError} STATE_DAMAGED */
export async function readDeployment(home: Home, target: string): Promise<DeploymentRecord | null> {
  const stored = await home.readState(fileOf(target), RECORD_BYTES_MAX)
  return stored === null ? null : readRecord(stored)
}

export async function saveDeployment(home: Home, record: DeploymentRecord): Promise<void> {
  await home.saveState(fileOf(record.target), record)
}

/** Every record of this home, damaged ones left out. */
export async function listDeployments(home: Home): Promise<DeploymentRecord[]> {
  const records: DeploymentRecord[] = []
  for (const name of await home.listState("deployments")) {
    const stored = await home.readState(`deployments/${name}`, RECORD_BYTES_MAX)
    if (stored !== null) records.push(readRecord(stored))
  }
  return records
}
